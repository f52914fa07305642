//! Instants in packet time, as a scenario writes them.

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use std::str::FromStr;

const SECOND_NS: u64 = 1_000_000_000;

/// `"90s"`, `"1.5m"`, `"250ms"`: so long after the first packet. `"2026-11-23T13:03:52.5Z"`: RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instant {
    /// So many ns after the trace's first packet.
    AfterStart(u64),
    /// So many ns after 1970.
    SinceEpoch(u64),
}

impl Instant {
    /// In ns since 1970, for a trace that begins at `start_ns`.
    pub fn resolve(self, start_ns: u64) -> u64 {
        match self {
            Instant::AfterStart(ns) => start_ns.saturating_add(ns),
            Instant::SinceEpoch(ns) => ns,
        }
    }
}

impl FromStr for Instant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = offset(text).map(Instant::AfterStart).or_else(|| date_time(text).map(Instant::SinceEpoch));
        found.ok_or_else(|| {
            format!("`{text}` is no instant: write how long after the first packet (\"90s\", \"250ms\", \"1.5m\", \"2h\"), or a time as in RFC 3339 (\"2026-11-23T13:03:52.5Z\")")
        })
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

fn offset(text: &str) -> Option<u64> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let unit_ns = match unit {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => SECOND_NS,
        "m" => 60 * SECOND_NS,
        "h" => 3600 * SECOND_NS,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    // Exact: no floating point, so that an instant can be given to the nanosecond.
    let scale = 10u128.pow(fraction.len() as u32);
    let parts = whole.parse::<u128>().ok()? * scale + fraction.parse::<u128>().ok()?;
    u64::try_from(parts * unit_ns as u128 / scale).ok()
}

/// RFC 3339, section 5.6.
fn date_time(text: &str) -> Option<u64> {
    let parsed: toml::value::Datetime = text.parse().ok()?;
    let (date, time) = (parsed.date?, parsed.time?);
    let minutes_east = match parsed.offset? {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let days = days_since_epoch(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let clock = (i64::from(time.hour) * 60 + i64::from(time.minute) - minutes_east) * 60;
    let seconds = u64::try_from(days * 86_400 + clock).ok()? + u64::from(time.second.unwrap_or(0));
    seconds.checked_mul(SECOND_NS)?.checked_add(u64::from(time.nanosecond.unwrap_or(0)))
}

/// Days from 1970-01-01 in the Gregorian calendar: years are counted from March, so that the leap day
/// ends them.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_exact() {
        for (text, ns) in [
            ("0s", 0),
            ("90s", 90 * SECOND_NS),
            ("0.000000001s", 1),
            ("1.5m", 90 * SECOND_NS),
            ("250ms", 250_000_000),
            ("2h", 7200 * SECOND_NS),
            ("7ns", 7),
        ] {
            assert_eq!(text.parse(), Ok(Instant::AfterStart(ns)), "{text}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-23T13:03:52Z", 1_795_439_032),
            ("2026-11-23T14:03:52+01:00", 1_795_439_032),
        ] {
            assert_eq!(text.parse(), Ok(Instant::SinceEpoch(seconds * SECOND_NS)), "{text}");
        }
    }

    #[test]
    fn what_is_no_instant_is_said_with_what_is_one() {
        for text in [
            "",
            "90",
            "s",
            "-1s",
            "1.s",
            ".5s",
            "1e3s",
            "9d",
            "2026-11-23",
            "2026-11-23T13:03:52",
            "99999999999999999999s",
        ] {
            let error = text.parse::<Instant>().unwrap_err();
            assert!(error.contains("90s") && error.contains("RFC 3339"), "{text}: {error}");
        }
    }
}
