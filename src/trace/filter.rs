//! Which frames an expression selects: the language of `tcpdump`, as in pcap-filter(7), compiled by libpcap.

use super::Frames;
use std::fmt;
use thiserror::Error;

/// An expression that libpcap compiles, such as `tcp port 443 and host 10.0.1.10`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

/// What is wrong with an expression, and where.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub struct FilterError {
    expression: String,
    /// Where it goes wrong, in characters; its length if it ends too early. `None` if that is not to be told.
    place: Option<usize>,
    problem: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.problem)?;
        match self.place {
            Some(place) => write!(f, "\n    {}\n    {:place$}^", self.expression, ""),
            None => Ok(()),
        }
    }
}

impl std::str::FromStr for Filter {
    type Err = FilterError;

    fn from_str(expression: &str) -> Result<Self, FilterError> {
        compiled::check(expression).map(|()| Filter(expression.to_owned()))
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Filter {
    /// A filter that is ready for frames: one for each thread.
    pub fn matcher(&self) -> Matcher<'_> {
        Matcher { expression: &self.0, programs: Vec::new() }
    }
}

/// A filter, compiled for each link type that it has met.
pub struct Matcher<'a> {
    expression: &'a str,
    programs: Vec<(u32, Option<compiled::Program>)>,
}

impl Matcher<'_> {
    /// True if the frame is selected. Nothing is selected of a link type of which the expression makes no sense.
    /// Lengths that the expression asks for are those captured.
    #[inline]
    pub fn selects(&mut self, frame: &[u8], link_type: u32) -> bool {
        let known = self.programs.iter().position(|(known, _)| *known == link_type);
        let at = known.unwrap_or_else(|| {
            self.programs.push((link_type, compiled::compile(self.expression, link_type).ok()));
            self.programs.len() - 1
        });
        self.programs[at].1.as_ref().is_some_and(|program| program.filter(frame))
    }
}

impl Frames<'_> {
    /// Of every frame, in trace order, whether the filter selects it as it was captured: before tunnels are opened.
    pub fn selected_by(&self, filter: &Filter) -> Vec<bool> {
        let mut matcher = filter.matcher();
        self.list().iter().map(|frame| matcher.selects(self.bytes(frame), frame.link_type.into())).collect()
    }
}

#[cfg(feature = "filter")]
mod compiled {
    use super::FilterError;
    use pcap::{Capture, Linktype};

    pub(super) type Program = pcap::BpfProgram;

    /// Link types that an expression is tried with: it must make sense for one.
    const USUAL: [u32; 5] = [1, 101, 113, 276, 0];

    /// What may follow the beginning of an expression.
    const ENDS: [&str; 8] = ["", " 1", " tcp", " 10.0.0.1", " host 10.0.0.1", " = 1", " 1 = 1", " 0:0:0:0:0:1"];

    pub(super) fn compile(expression: &str, link_type: u32) -> Result<Program, pcap::Error> {
        // Raw IP is the one link type that libpcap calls by another number than files do.
        let link_type = if link_type == 101 { 12 } else { link_type };
        Capture::dead(Linktype(link_type as i32))?.compile(expression, true)
    }

    pub(super) fn check(expression: &str) -> Result<(), FilterError> {
        let mut first = None;
        for link_type in USUAL {
            match compile(expression, link_type) {
                Ok(_) => return Ok(()),
                Err(error) => drop(first.get_or_insert(error)),
            }
        }
        let problem = match first {
            Some(pcap::Error::PcapError(text)) => text,
            Some(error) => error.to_string(),
            None => String::new(),
        };
        let place = Some(place(expression));
        Err(FilterError { expression: expression.to_owned(), place, problem })
    }

    /// Where an expression goes wrong, which libpcap does not tell: its first word that no longer is the beginning of
    /// anything that compiles.
    fn place(expression: &str) -> usize {
        let wrong = words(expression).find(|(_, end)| !is_beginning(&expression[..*end]));
        let at = wrong.map_or(expression.trim_end().len(), |(start, _)| start);
        expression[..at].chars().count()
    }

    /// Where each word begins and ends. Parentheses stand for themselves.
    fn words(text: &str) -> impl Iterator<Item = (usize, usize)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let rest = &text[at..];
            let start = at + rest.len() - rest.trim_start().len();
            let word = &text[start..];
            let is_single = |c: char| matches!(c, '(' | ')');
            let len = match word.chars().next()? {
                c if is_single(c) => c.len_utf8(),
                _ => word.find(|c: char| c.is_whitespace() || is_single(c)).unwrap_or(word.len()),
            };
            at = start + len;
            Some((start, at))
        })
    }

    fn is_beginning(text: &str) -> bool {
        let open = text.matches('(').count().saturating_sub(text.matches(')').count());
        let compiles = |end: &str| compile(&format!("{text}{end}{}", ")".repeat(open)), USUAL[0]).is_ok();
        ENDS.iter().any(|end| compiles(end))
    }
}

#[cfg(not(feature = "filter"))]
mod compiled {
    use super::FilterError;
    use std::convert::Infallible;

    pub(super) struct Program(Infallible);

    impl Program {
        pub(super) fn filter(&self, _: &[u8]) -> bool {
            match self.0 {}
        }
    }

    pub(super) fn compile(expression: &str, _: u32) -> Result<Program, FilterError> {
        Err(FilterError {
            expression: expression.to_owned(),
            place: None,
            problem: "this ctbench was built without filters; build it with `--features filter`, which needs libpcap \
                      (Debian: libpcap-dev)"
                .into(),
        })
    }

    pub(super) fn check(expression: &str) -> Result<(), FilterError> {
        compile(expression, 0).map(drop)
    }
}
