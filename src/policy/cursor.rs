//! A place in a JSON document that knows its path, so that every error can say where.

use super::PolicyError;
use super::formats::{NAMES, PATH};
use serde_json::Value;
use std::ops::RangeInclusive;
use std::path::Path;

/// Longest part of a value that an error repeats, in characters.
const SHOWN: usize = 60;

/// A JSON value and the way to it from the top of its file.
#[derive(Clone)]
pub(super) struct Cursor<'a> {
    file: &'a Path,
    path: String,
    value: &'a Value,
}

impl<'a> Cursor<'a> {
    /// The top of a document.
    pub fn top(file: &'a Path, value: &'a Value) -> Self {
        Cursor { file, path: String::new(), value }
    }

    /// The file.
    pub fn file(&self) -> &'a Path {
        self.file
    }

    /// As in `SecurityGroups[0].IpPermissions[2].FromPort`.
    pub fn path(&self) -> &str {
        if self.path.is_empty() { "top level" } else { &self.path }
    }

    /// The value itself.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// A field of this object; `None` if it is absent or null, as the CLI prints either.
    pub fn optional(&self, name: &str) -> Result<Option<Cursor<'a>>, PolicyError> {
        let object = self.value.as_object().ok_or_else(|| self.bad("an object"))?;
        let value = object.get(name).filter(|value| !value.is_null());
        Ok(value.map(|value| Cursor::at(self.file, value, || self.path_of(name))))
    }

    /// A field of this object that must be there.
    pub fn field(&self, name: &str) -> Result<Cursor<'a>, PolicyError> {
        self.optional(name)?.ok_or_else(|| self.missing(name, "AWS always prints it"))
    }

    /// The elements of this list.
    pub fn items(&self) -> Result<impl ExactSizeIterator<Item = Cursor<'a>> + use<'a>, PolicyError> {
        let list = self.value.as_array().ok_or_else(|| self.bad("a list"))?;
        let (file, path) = (self.file, self.path.clone());
        Ok(list.iter().enumerate().map(move |(i, value)| Cursor::at(file, value, || format!("{path}[{i}]"))))
    }

    /// The elements of a list in a field; none if the field is absent, as in old listings.
    pub fn list(&self, name: &str) -> Result<impl Iterator<Item = Cursor<'a>> + use<'a>, PolicyError> {
        let list = self.optional(name)?.map(|list| list.items()).transpose()?;
        Ok(list.into_iter().flatten())
    }

    /// This string.
    pub fn text(&self) -> Result<&'a str, PolicyError> {
        self.value.as_str().ok_or_else(|| self.bad("a string"))
    }

    /// This whole number, within a range; `allowed` is the range in words.
    pub fn integer(&self, range: RangeInclusive<i64>, allowed: &str) -> Result<i64, PolicyError> {
        self.value.as_i64().filter(|n| range.contains(n)).ok_or_else(|| self.bad(allowed))
    }

    /// This truth value.
    pub fn boolean(&self) -> Result<bool, PolicyError> {
        self.value.as_bool().ok_or_else(|| self.bad("true or false"))
    }

    /// This identifier: what the verdict CSV can hold without quoting.
    pub fn id(&self) -> Result<&'a str, PolicyError> {
        let id = self.text()?;
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !id.is_empty() && id.chars().all(fits) { Ok(id) } else { Err(self.bad("letters, digits, '-', '_', '.'")) }
    }

    /// The error that this value is not allowed here.
    pub fn bad(&self, allowed: impl Into<String>) -> PolicyError {
        PolicyError::Value {
            file: self.file.into(),
            path: self.path().into(),
            value: shown(self.value),
            allowed: allowed.into(),
        }
    }

    /// The error that this object lacks a field.
    pub fn missing(&self, name: &str, why: impl Into<String>) -> PolicyError {
        PolicyError::Missing { file: self.file.into(), path: self.path_of(name), allowed: why.into() }
    }

    /// A value, with the path that it carries if it was made of something else in the file.
    fn at(file: &'a Path, value: &'a Value, path: impl FnOnce() -> String) -> Self {
        let own = value.get(PATH).and_then(Value::as_str);
        Cursor { file, path: own.map_or_else(path, str::to_owned), value }
    }

    fn path_of(&self, name: &str) -> String {
        let name = match self.value.get(NAMES).and_then(|names| names.get(name)).and_then(Value::as_str) {
            Some("") => return self.path.clone(),
            Some(theirs) => theirs,
            None => name,
        };
        if self.path.is_empty() { name.into() } else { format!("{}.{name}", self.path) }
    }
}

/// A value as an error repeats it: short, and escaped so that it cannot play tricks on a terminal.
fn shown(value: &Value) -> String {
    match value {
        // A function that a template's reader could not resolve.
        Value::Object(fields) => match fields.keys().next().filter(|key| *key == "Ref" || key.starts_with("Fn::")) {
            Some(function) if fields.len() == 1 => format!("the unresolved {:?}", shortened(function)),
            _ => "an object".into(),
        },
        Value::Array(_) => "a list".into(),
        Value::String(text) if text.chars().nth(SHOWN).is_some() => {
            format!("{:?}...", text.chars().take(SHOWN).collect::<String>())
        }
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}
