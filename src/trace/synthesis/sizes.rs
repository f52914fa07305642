//! How many packets a flow carries, and how many bytes a packet has.

use super::random::{Random, exp2, log2};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Packets with data in a flow. Written `fixed:N`, `zipf:S:MAX`, `pareto:A:MIN:MAX` or `list:N,N,...`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum FlowSizes {
    /// All the same.
    Fixed(u32),
    /// Size k with a probability proportional to `k^-s`, `s` in thousandths, up to a largest.
    Zipf(u32, u32),
    /// Heavy-tailed: Pareto of this shape in thousandths, with a smallest, cut at a largest (Crovella and
    /// Bestavros, 1997, found shapes of 1.0 to 1.3 for web transfers).
    Pareto(u32, u32, u32),
    /// One of these, evenly: the quantiles of something measured.
    List(Vec<u32>),
}

/// Bytes of a frame on the wire, with the check sequence of 4 bytes that captures leave out, so that 64 is the
/// smallest. Written `N`, `imix` or `mix:NxWEIGHT,...`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct PacketSizes(pub(super) Vec<(u16, u32)>);

/// Largest frame with the check sequence: jumbo.
const MAX_FRAME: u16 = 9018;
const MIN_FRAME: u16 = 64;
/// A Zipf table has so many entries at most.
const MAX_ZIPF: u32 = 65_536;
/// RFC 6985 calls it "simple IMIX": 7 small, 4 medium, 1 large.
const IMIX: [(u16, u32); 3] = [(64, 7), (594, 4), (1518, 1)];

impl PacketSizes {
    /// All of one size; `None` if no frame has that size.
    pub fn fixed(bytes: u16) -> Option<Self> {
        (MIN_FRAME..=MAX_FRAME).contains(&bytes).then(|| PacketSizes(vec![(bytes, 1)]))
    }

    /// 64, 594 and 1,518 bytes as 7 : 4 : 1.
    pub fn imix() -> Self {
        PacketSizes(IMIX.to_vec())
    }

    /// The largest of them.
    pub(super) fn largest(&self) -> u16 {
        self.0.iter().map(|(bytes, _)| *bytes).max().unwrap_or(MIN_FRAME)
    }
}

impl FromStr for PacketSizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no packet size: write a number from {MIN_FRAME} to {MAX_FRAME}, `imix`, or `mix:64x7,594x4`"
            )
        };
        if text == "imix" {
            return Ok(PacketSizes::imix());
        }
        let Some(list) = text.strip_prefix("mix:") else {
            return text.parse().ok().and_then(PacketSizes::fixed).ok_or_else(wrong);
        };
        let one = |part: &str| {
            let (bytes, weight) = part.split_once('x')?;
            let (bytes, weight) = (bytes.parse().ok()?, weight.parse().ok()?);
            ((MIN_FRAME..=MAX_FRAME).contains(&bytes) && (1..=1_000_000).contains(&weight)).then_some((bytes, weight))
        };
        let sizes: Option<Vec<_>> = list.split(',').map(one).collect();
        sizes.filter(|sizes| sizes.len() <= 1000).map(PacketSizes).ok_or_else(wrong)
    }
}

impl fmt::Display for PacketSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [(bytes, _)] => write!(f, "{bytes}"),
            sizes if sizes == IMIX => write!(f, "imix"),
            sizes => {
                let parts: Vec<String> = sizes.iter().map(|(bytes, weight)| format!("{bytes}x{weight}")).collect();
                write!(f, "mix:{}", parts.join(","))
            }
        }
    }
}

impl FromStr for FlowSizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = match text.split(':').collect::<Vec<_>>().as_slice() {
            ["fixed", n] => n.parse().ok().map(FlowSizes::Fixed),
            ["zipf", s, max] => thousandths(s).zip(max.parse().ok()).map(|(s, max)| FlowSizes::Zipf(s, max)),
            ["pareto", a, min, max] => match (thousandths(a), min.parse(), max.parse()) {
                (Some(a), Ok(min), Ok(max)) => Some(FlowSizes::Pareto(a, min, max)),
                _ => None,
            },
            ["list", list] => {
                list.split(',').map(|n| n.parse().ok()).collect::<Option<Vec<u32>>>().map(FlowSizes::List)
            }
            _ => None,
        };
        let sound = |sizes: &FlowSizes| match sizes {
            FlowSizes::Fixed(n) => *n > 0,
            FlowSizes::Zipf(s, max) => (1..=10_000).contains(s) && (1..=MAX_ZIPF).contains(max),
            FlowSizes::Pareto(a, min, max) => (100..=10_000).contains(a) && *min > 0 && min <= max && *max <= 1 << 30,
            FlowSizes::List(list) => !list.contains(&0) && list.len() <= 65_536,
        };
        found.filter(sound).ok_or_else(|| {
            format!(
                "`{text}` is no flow size: write fixed:10, zipf:1.2:1000 (exponent, largest: at most {MAX_ZIPF}), \
                 pareto:1.2:3:100000 (shape, smallest, largest) or list:1,2,9"
            )
        })
    }
}

/// `1.25` as 1250: exact, where a float would round.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) || whole.len() > 4 {
        return None;
    }
    Some(whole.parse::<u32>().ok()? * 1000 + format!("{fraction:0<3}").parse::<u32>().ok()?)
}

impl fmt::Display for FlowSizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimal = |n: &u32| format!("{}.{:03}", n / 1000, n % 1000);
        match self {
            FlowSizes::Fixed(n) => write!(f, "fixed:{n}"),
            FlowSizes::Zipf(s, max) => write!(f, "zipf:{}:{max}", decimal(s)),
            FlowSizes::Pareto(a, min, max) => write!(f, "pareto:{}:{min}:{max}", decimal(a)),
            FlowSizes::List(list) => {
                write!(f, "list:{}", list.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
            }
        }
    }
}

/// The forms that serde wants.
macro_rules! as_text {
    ($name:ty) => {
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(sizes: $name) -> String {
                sizes.to_string()
            }
        }
    };
}
as_text!(FlowSizes);
as_text!(PacketSizes);

/// Sizes prepared for drawing: a cumulative table, or a formula.
pub(super) enum Draw {
    Table { sizes: Vec<u32>, cumulative: Vec<u64> },
    Pareto { shape: u64, min: u32, max: u32 },
}

impl Draw {
    pub(super) fn flows(sizes: &FlowSizes) -> Self {
        match sizes {
            FlowSizes::Fixed(n) => Draw::table([(*n, 1)]),
            FlowSizes::Zipf(s, max) => {
                // k^-s as a share of 2^40, so that 65,536 of them fit 64 bits and none is nothing for s <= 2.
                let weight = |k: u32| {
                    let power = exp2(log2(u64::from(k)) * u64::from(*s) / 1000);
                    ((1u128 << 71) / power) as u64
                };
                Draw::table((1..=*max).map(|k| (k, weight(k))))
            }
            FlowSizes::Pareto(shape, min, max) => Draw::Pareto { shape: u64::from(*shape), min: *min, max: *max },
            FlowSizes::List(list) => Draw::table(list.iter().map(|n| (*n, 1))),
        }
    }

    /// Bytes of frames without the check sequence.
    pub(super) fn packets(sizes: &PacketSizes) -> Self {
        Draw::table(sizes.0.iter().map(|(bytes, weight)| (u32::from(*bytes) - 4, u64::from(*weight))))
    }

    fn table(entries: impl IntoIterator<Item = (u32, u64)>) -> Self {
        let mut total = 0;
        let (sizes, cumulative) = entries
            .into_iter()
            .map(|(size, weight)| {
                total += weight;
                (size, total)
            })
            .unzip();
        Draw::Table { sizes, cumulative }
    }

    #[inline]
    pub(super) fn draw(&self, random: &mut Random) -> u32 {
        match self {
            Draw::Table { sizes, .. } if sizes.len() == 1 => sizes[0],
            Draw::Table { sizes, cumulative } => {
                let total = cumulative.last().copied().unwrap_or(0);
                let point = ((u128::from(random.draw()) * u128::from(total)) >> 64) as u64;
                let at = if sizes.len() <= 8 {
                    cumulative.iter().filter(|end| **end <= point).count()
                } else {
                    cumulative.partition_point(|end| *end <= point)
                };
                sizes[at]
            }
            // min * u^(-1/shape)
            Draw::Pareto { shape, min, max } => {
                let power = exp2(random.neg_log2() * 1000 / shape);
                ((power * u128::from(*min)) >> 31).min(u128::from(*max)) as u32
            }
        }
    }

    /// About the mean: of a thousand draws from a seed of its own.
    pub(super) fn mean(&self) -> u64 {
        let mut random = Random::new(0);
        (0..1000).map(|_| u64::from(self.draw(&mut random))).sum::<u64>() / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(sizes: &str) -> Vec<u32> {
        let draw = Draw::flows(&sizes.parse().unwrap());
        let mut random = Random::new(3);
        (0..100_000).map(|_| draw.draw(&mut random)).collect()
    }

    #[test]
    fn zipf_has_its_ratios() {
        let sizes = draws("zipf:1:100");
        let count = |k| sizes.iter().filter(|size| **size == k).count() as f64;
        for k in [2, 4, 10] {
            let ratio = count(1) / count(k) / f64::from(k);
            assert!((0.9..1.1).contains(&ratio), "{k}: {ratio}");
        }
        assert!(sizes.iter().all(|size| (1..=100).contains(size)));
    }

    #[test]
    fn pareto_has_its_tail() {
        let sizes = draws("pareto:1.5:10:1000000");
        for (above, share) in [(20, 0.353_6), (40, 0.125), (160, 0.015_6)] {
            let found = sizes.iter().filter(|size| **size >= above).count() as f64 / sizes.len() as f64;
            assert!((found / share - 1.0).abs() < 0.1, "{above}: {found}");
        }
    }

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in ["fixed:3", "zipf:1.200:1000", "pareto:1.050:3:9", "list:1,2,9"] {
            assert_eq!(text.parse::<FlowSizes>().unwrap().to_string(), text);
        }
        for text in ["64", "imix", "mix:64x1,1518x3"] {
            assert_eq!(text.parse::<PacketSizes>().unwrap().to_string(), text);
        }
        for text in ["", "fixed", "fixed:0", "zipf:1", "zipf:99:9", "zipf:1.2:99999", "pareto:1:9:3", "list:", "list:0"]
        {
            assert!(text.parse::<FlowSizes>().unwrap_err().contains("fixed:10"), "{text}");
        }
        for text in ["63", "9019", "mix:", "mix:64", "mix:64x0", "x"] {
            assert!(text.parse::<PacketSizes>().unwrap_err().contains("imix"), "{text}");
        }
    }
}
