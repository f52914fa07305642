//! Walking through a JSON document with the path in hand, so that every error says where.

use super::PolicyError;
use serde_json::Value;
use std::path::Path;

/// A place in a policy file.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    file: &'a Path,
    path: String,
    value: &'a Value,
}

impl<'a> Cursor<'a> {
    /// The whole document.
    pub(super) fn root(file: &'a Path, value: &'a Value) -> Self {
        Cursor { file, path: String::new(), value }
    }

    /// An error about this place.
    pub(super) fn error(&self, allowed: impl Into<String>) -> PolicyError {
        let mut value = self.value.to_string();
        if value.len() > 80 {
            value = value.chars().take(77).collect::<String>() + "...";
        }
        let path = if self.path.is_empty() { "(whole file)".to_owned() } else { self.path.clone() };
        PolicyError::Value { file: self.file.to_owned(), path, value, allowed: allowed.into() }
    }

    /// A member; `None` if it is absent or null.
    pub(super) fn get(&self, key: &str) -> Option<Cursor<'a>> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        let dot = if self.path.is_empty() { "" } else { "." };
        Some(Cursor { file: self.file, path: format!("{}{dot}{key}", self.path), value })
    }

    /// A member that must be there.
    pub(super) fn need(&self, key: &str) -> Result<Cursor<'a>, PolicyError> {
        self.get(key).ok_or_else(|| self.error(format!("an object with a member {key}")))
    }

    /// The items of a list.
    pub(super) fn items(&self) -> Result<Vec<Cursor<'a>>, PolicyError> {
        let items = self.value.as_array().ok_or_else(|| self.error("a list"))?;
        let item = |(i, value)| Cursor { file: self.file, path: format!("{}[{i}]", self.path), value };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// The items of a member that may be absent.
    pub(super) fn items_of(&self, key: &str) -> Result<Vec<Cursor<'a>>, PolicyError> {
        self.get(key).map_or(Ok(Vec::new()), |list| list.items())
    }

    pub(super) fn text(&self) -> Result<&'a str, PolicyError> {
        self.value.as_str().ok_or_else(|| self.error("a string"))
    }

    pub(super) fn boolean(&self) -> Result<bool, PolicyError> {
        self.value.as_bool().ok_or_else(|| self.error("true or false"))
    }

    /// A whole number in a range.
    pub(super) fn number(&self, low: i64, high: i64) -> Result<i64, PolicyError> {
        let number = self.value.as_i64().filter(|number| (low..=high).contains(number));
        number.ok_or_else(|| self.error(format!("a whole number from {low} to {high}")))
    }

    /// A number, or a string that holds one: AWS prints protocol numbers as strings.
    pub(super) fn as_text(&self) -> Result<String, PolicyError> {
        match self.value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            _ => Err(self.error("a string")),
        }
    }

    pub(super) fn is_list(&self) -> bool {
        self.value.is_array()
    }
}
