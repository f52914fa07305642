//! The notation of what is swept: `rules=10,100,1k`, `flows=1k..1M*10`, `burst=8..32+8`.

use std::fmt;

/// A number that is swept, in the order of the CSV's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Axis {
    Rules,
    Flows,
    Churn,
    Burst,
    Capacity,
    Pps,
}

impl Axis {
    pub(super) const ALL: [Axis; 6] = [Axis::Rules, Axis::Flows, Axis::Churn, Axis::Burst, Axis::Capacity, Axis::Pps];

    /// Its name on the command line and in the CSV.
    pub(super) fn name(self) -> &'static str {
        match self {
            Axis::Rules => "rules",
            Axis::Flows => "flows",
            Axis::Churn => "churn",
            Axis::Burst => "burst",
            Axis::Capacity => "capacity",
            Axis::Pps => "pps",
        }
    }

    /// The largest value that makes sense.
    fn most(self) -> u64 {
        match self {
            Axis::Rules => crate::policy::synthetic::MOST_PASSING_RULES as u64,
            Axis::Burst => crate::engine::MAX_BURST as u64,
            Axis::Capacity => 1 << 32,
            Axis::Flows | Axis::Churn => u64::from(u32::MAX),
            Axis::Pps => 1_000_000_000_000,
        }
    }
}

/// More values of one axis are a mistake.
const MOST_VALUES: usize = 10_000;

/// An axis with its values, as written: `NAME=VALUES`.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Over {
    pub axis: Axis,
    /// In the order given, each once.
    pub values: Vec<u64>,
}

impl fmt::Debug for Over {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}={:?}", self.axis.name(), self.values)
    }
}

/// Reads `NAME=VALUES`.
pub(super) fn over(text: &str) -> Result<Over, String> {
    let names = || Axis::ALL.map(Axis::name).join(", ");
    let (name, list) = text.split_once('=').ok_or_else(|| format!("NAME=VALUES, where NAME is one of {}", names()))?;
    let axis = Axis::ALL.into_iter().find(|axis| axis.name() == name);
    let axis = axis.ok_or_else(|| format!("nothing called `{name}` can be swept; there are {}", names()))?;
    let mut values = Vec::new();
    for item in list.split(',') {
        for value in range(item)? {
            if value == 0 || value > axis.most() {
                return Err(format!("{name} = {value}: 1 to {}", axis.most()));
            }
            if !values.contains(&value) {
                values.push(value);
            }
            if values.len() > MOST_VALUES {
                return Err(format!("more than {MOST_VALUES} values of {name}"));
            }
        }
    }
    Ok(Over { axis, values })
}

/// One number, or several: `1..8` each, `8..32+8` in steps, `5..1000*2` in multiples. The end counts if it is hit.
fn range(item: &str) -> Result<Box<dyn Iterator<Item = u64>>, String> {
    let Some((from, rest)) = item.split_once("..") else {
        return Ok(Box::new(std::iter::once(number(item)?)));
    };
    let from = number(from)?;
    let (to, next): (_, Box<dyn Fn(u64) -> Option<u64>>) = match (rest.split_once('+'), rest.split_once('*')) {
        (Some((to, step)), _) => {
            let step = number(step)?;
            (number(to)?, Box::new(move |n| n.checked_add(step)))
        }
        (_, Some((to, factor))) => {
            let wrong = || format!("`{factor}` is no factor above 1");
            let factor = factor.parse::<f64>().ok().filter(|factor| *factor > 1.0 && factor.is_finite());
            let factor = factor.ok_or_else(wrong)?;
            // A small factor would stand still on small numbers.
            (number(to)?, Box::new(move |n| Some(((n as f64 * factor).round() as u64).max(n.checked_add(1)?))))
        }
        _ => (number(rest)?, Box::new(|n| n.checked_add(1))),
    };
    if from == 0 || from > to || next(from) == Some(from) {
        return Err(format!("`{item}` is no range: FROM..TO, FROM..TO+STEP or FROM..TO*FACTOR, upwards from 1"));
    }
    Ok(Box::new(std::iter::successors(Some(from), move |n| next(*n).filter(|n| *n <= to))))
}

/// A whole number, perhaps of thousands (`k`), millions (`M`) or milliards (`G`).
fn number(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let unit = |c| match c {
        'k' => Some(1_000),
        'M' => Some(1_000_000),
        'G' => Some(1_000_000_000),
        _ => None,
    };
    let (digits, unit) = match text.chars().last().and_then(unit) {
        Some(unit) => (&text[..text.len() - 1], unit),
        None => (text, 1),
    };
    let value = digits.parse::<u64>().ok().and_then(|value| value.checked_mul(unit));
    value.ok_or_else(|| format!("`{text}` is no number such as 250, 10k or 1M"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<u64> {
        over(text).unwrap().values
    }

    #[test]
    fn lists_and_ranges() {
        assert_eq!(values("rules=5,250, 10k"), [5, 250, 10_000]);
        assert_eq!(values("burst=1..4"), [1, 2, 3, 4]);
        assert_eq!(values("burst=8..32+8,1"), [8, 16, 24, 32, 1]);
        assert_eq!(values("rules=5..100*2"), [5, 10, 20, 40, 80]);
        assert_eq!(values("flows=1k..1M*10,1k"), [1_000, 10_000, 100_000, 1_000_000]);
        assert_eq!(values("rules=1..5*1.1"), [1, 2, 3, 4, 5]);
        assert_eq!(over("pps=2G").unwrap(), Over { axis: Axis::Pps, values: vec![2_000_000_000] });
    }

    #[test]
    fn mistakes_say_what_is_meant() {
        for (text, says) in [
            ("rules", "NAME=VALUES"),
            ("colour=3", "rules, flows, churn, burst, capacity, pps"),
            ("rules=", "no number"),
            ("rules=-3", "no number"),
            ("rules=0", "1 to 32766"),
            ("burst=65", "1 to 64"),
            ("rules=9..5", "no range"),
            ("rules=1..9*1", "no factor"),
            ("rules=1..9*nan", "no factor"),
            ("rules=1..9+0", "no range"),
            ("flows=99999999999999999999", "no number"),
            ("flows=18446744073709551615G", "no number"),
            ("flows=1..4G", "more than 10000"),
        ] {
            let error = over(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
