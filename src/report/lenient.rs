//! How the fields of a result are read: what is no number is NaN or none, and no text moves a terminal's cursor.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A count, or `null` where nobody counted.
pub(super) fn counted<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(0))
}

/// A JSON value on one line, strings without quotes.
pub fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        Value::Array(items) => items.iter().map(text_of).collect::<Vec<_>>().join(", "),
        other => plain(&other.to_string()),
    }
}

/// Text from a file may hold what moves a terminal's cursor or turns the direction of writing.
pub fn plain(text: &str) -> String {
    let moves = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if moves(c) { '\u{fffd}' } else { c }).collect()
}

pub(super) fn printable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(|text| plain(&text))
}

pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

pub(super) fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[f64; 2], D::Error> {
    let bounds = <[Option<f64>; 2]>::deserialize(deserializer)?;
    Ok(bounds.map(|bound| bound.unwrap_or(f64::NAN)))
}

/// Rates; what is not a number, or no rate, is no sample.
pub(super) fn numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f64>, D::Error> {
    let numbers = Vec::<Option<f64>>::deserialize(deserializer)?;
    Ok(numbers.into_iter().flatten().filter(|number| *number > 0.0).collect())
}

pub(super) fn nan() -> f64 {
    f64::NAN
}

pub(super) fn nans() -> [f64; 2] {
    [f64::NAN; 2]
}

pub(super) fn symmetric() -> String {
    "symmetric".into()
}

pub(super) fn closed() -> String {
    "closed".into()
}
