//! ClassBench filter sets: rules by the thousand, for scale (Taylor and Turner, "ClassBench: A Packet Classification
//! Benchmark", INFOCOM 2005; IPv6 as in ClassBench-ng).
//!
//! A line is a filter, the first that matches wins:
//! `@source/length destination/length low : high low : high protocol/mask [flags/mask]`, source ports before
//! destination ports. It says nothing of accept or drop: here, all accept.
//!
//! Rules look at the end outside only. So a filter becomes two: for packets on their way in, by its source block; on
//! their way out, by its destination block; by protocol and destination ports in both. What a filter asks beyond this
//! is left out, which makes it wider: how many are wider is a warning.

use super::{Loaded, PolicyError, Rule, RuleSet, World};
use crate::packet::{Direction, protocol};
use ipnet::IpNet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Filters beyond this many do not fit a rule index, each being up to four rules.
const MOST_FILTERS: usize = 1 << 21;

/// The longest line that may be a filter.
const MAX_LINE: u64 = 1 << 10;

/// Reads a filter set. `None` if the file is something else: no `@` comes first.
pub(super) fn load(path: &Path, world: World) -> Result<Option<Loaded>, PolicyError> {
    let io_error = |source| PolicyError::Read { file: path.into(), source };
    let mut input = BufReader::new(File::open(path).map_err(io_error)?);
    if input.fill_buf().map_err(io_error)?.trim_ascii_start().first() != Some(&b'@') {
        return Ok(None);
    }
    let mut rules = RuleSet::new(world);
    let mut wider = Wider::default();
    let mut filters = 0;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if std::io::Read::take(&mut input, MAX_LINE).read_until(b'\n', &mut line).map_err(io_error)? == 0 {
            break;
        }
        let text = String::from_utf8_lossy(&line);
        if text.trim().is_empty() {
            continue;
        }
        filters += 1;
        let wrong = |(field, value, allowed): Wrong| PolicyError::Filter {
            file: path.into(),
            line: number,
            field,
            value: value.chars().take(60).collect(),
            allowed,
        };
        if filters > MOST_FILTERS {
            return Err(wrong(("filter", filters.to_string(), "at most 2,097,152 filters")));
        }
        let filter = Filter::parse(text.trim()).map_err(wrong)?;
        wider.add(&filter);
        filter.push_to(&mut rules, filters);
    }
    Ok(Some(Loaded { rules, warnings: wider.warnings(path, filters) }))
}

/// Field, value, what is allowed.
type Wrong = (&'static str, String, &'static str);
type Ports = (u16, u16);

const ALL_PORTS: Ports = (0, u16::MAX);

/// A line.
struct Filter {
    source: IpNet,
    destination: IpNet,
    source_ports: Ports,
    destination_ports: Ports,
    protocol: Option<u8>,
    /// It looks at TCP flags.
    flags: bool,
}

impl Filter {
    fn parse(line: &str) -> Result<Filter, Wrong> {
        let mut words = line.split_whitespace();
        let source = words.next().unwrap_or_default();
        let source = source.strip_prefix('@').ok_or(("filter", source.to_owned(), "a line that begins with @"))?;
        let source = block("source", source)?;
        let destination = block("destination", words.next().unwrap_or_default())?;
        if source.addr().is_ipv6() != destination.addr().is_ipv6() {
            return Err(("destination", destination.to_string(), "a block of the source's address family"));
        }
        let source_ports = ports("source ports", &mut words)?;
        let destination_ports = ports("destination ports", &mut words)?;
        let (value, mask) = masked("protocol", words.next().unwrap_or_default())?;
        let protocol = match (mask, u8::try_from(value)) {
            (0, _) => None,
            (0xff, Ok(number)) => Some(number),
            _ => return Err(("protocol", format!("{value:#x}/{mask:#x}"), "a number and mask 0xFF, or mask 0x00")),
        };
        let flags = words.next().map(|word| masked("flags", word)).transpose()?.is_some_and(|(_, mask)| mask != 0);
        match words.next() {
            Some(more) => Err(("end of line", more.into(), "nothing after the flags")),
            None => Ok(Filter { source, destination, source_ports, destination_ports, protocol, flags }),
        }
    }

    /// One rule a direction; two where ports are asked for of any protocol: those of TCP and of UDP.
    fn push_to(&self, rules: &mut RuleSet, number: usize) {
        let ports = (self.destination_ports != ALL_PORTS).then_some(self.destination_ports);
        let protocols = match (self.protocol, ports) {
            (None, Some(_)) => vec![Some(protocol::TCP), Some(protocol::UDP)],
            (protocol, _) => vec![protocol],
        };
        for (direction, remote) in [(Direction::In, self.source), (Direction::Out, self.destination)] {
            for protocol in &protocols {
                let ports = ports.filter(|_| has_ports(*protocol));
                let name = format!("filter:{number}");
                rules.push(direction, Rule { remote, protocol: *protocol, ports, allow: true, name });
            }
        }
    }
}

fn has_ports(protocol: Option<u8>) -> bool {
    matches!(protocol, Some(protocol::TCP | protocol::UDP))
}

/// How many filters ask for more than rules can say.
#[derive(Default)]
struct Wider {
    both_ends: usize,
    source_ports: usize,
    other_ports: usize,
    flags: usize,
}

impl Wider {
    fn add(&mut self, filter: &Filter) {
        let blocks = [filter.source, filter.destination];
        self.both_ends += usize::from(blocks.iter().all(|block| block.prefix_len() != 0));
        self.source_ports += usize::from(filter.source_ports != ALL_PORTS);
        let portless = filter.protocol.is_some() && !has_ports(filter.protocol);
        self.other_ports += usize::from(portless && filter.destination_ports != ALL_PORTS);
        self.flags += usize::from(filter.flags);
    }

    fn warnings(&self, path: &Path, filters: usize) -> Vec<String> {
        let say = |(count, what): (usize, &str)| {
            let file = path.display();
            (count > 0).then(|| format!("{file}: {count} of {filters} filters are wider than written: {what}"))
        };
        let all = [
            (self.both_ends, "they name both ends, and rules look at the end outside only"),
            (self.source_ports, "they name source ports"),
            (self.other_ports, "they name ports of a protocol that has none"),
            (self.flags, "they name TCP flags"),
        ];
        all.into_iter().filter_map(say).collect()
    }
}

fn block(field: &'static str, text: &str) -> Result<IpNet, Wrong> {
    let block: IpNet =
        text.parse().map_err(|_| (field, text.to_owned(), "an address and a length, as in 198.51.100.0/24"))?;
    // Generators leave host bits in.
    Ok(block.trunc())
}

/// `low : high`, with or without spaces.
fn ports<'a>(field: &'static str, words: &mut impl Iterator<Item = &'a str>) -> Result<Ports, Wrong> {
    let mut text = words.next().unwrap_or_default().to_owned();
    while !text.contains(':') || text.ends_with(':') {
        let Some(word) = words.next() else { break };
        text += word;
    }
    let range = || {
        let (low, high) = text.split_once(':')?;
        let range: Ports = (low.parse().ok()?, high.parse().ok()?);
        (range.0 <= range.1).then_some(range)
    };
    range().ok_or_else(|| (field, text.clone(), "low : high, each 0 to 65535, the lower first"))
}

/// `0x06/0xFF`
fn masked(field: &'static str, word: &str) -> Result<(u32, u32), Wrong> {
    let hex = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    let both = || {
        let (value, mask) = word.split_once('/')?;
        Some((hex(value)?, hex(mask)?))
    };
    both().ok_or_else(|| (field, word.to_owned(), "hexadecimal value and mask, as in 0x06/0xFF"))
}
