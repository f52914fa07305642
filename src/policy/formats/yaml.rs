//! CloudFormation's YAML, short-form tags included, as JSON.

use crate::policy::PolicyError;
use serde_json::{Map, Value, json};
use serde_yaml_ng::Value as Yaml;
use std::path::Path;

/// Largest YAML file that is read. CloudFormation takes templates of at most 1 MB.
const MAX_BYTES: usize = 4 << 20;

/// Deepest nesting, as for JSON.
const MAX_DEPTH: usize = 128;

/// Parses YAML. Aliases that would blow up are refused by the parser.
pub fn parse(file: &Path, text: &[u8]) -> Result<Value, PolicyError> {
    if text.len() > MAX_BYTES {
        return Err(PolicyError::TooLarge { file: file.into(), limit_mib: MAX_BYTES >> 20 });
    }
    // The parser's time grows with size times depth of brackets, before it looks at its own limit of depth.
    if brackets(text) > MAX_DEPTH {
        let problem = format!("nor YAML: brackets are nested more than {MAX_DEPTH} deep");
        return Err(PolicyError::NotJson { file: file.into(), line: 1, column: 0, problem });
    }
    let not_yaml = |error: serde_yaml_ng::Error| {
        let (line, column) = error.location().map_or((1, 0), |at| (at.line(), at.column()));
        PolicyError::NotJson { file: file.into(), line, column, problem: format!("nor YAML: {error}") }
    };
    serde_yaml_ng::from_slice(text).map(to_json).map_err(not_yaml)
}

/// How deep brackets are nested at most; those in texts and comments count as well.
fn brackets(text: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0);
    for byte in text {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

/// Recursion is bounded by the parser's own limit of depth.
fn to_json(yaml: Yaml) -> Value {
    match yaml {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => value.into(),
        Yaml::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), ..) => value.into(),
            (None, Some(value), _) => value.into(),
            (None, None, value) => json!(value),
        },
        Yaml::String(text) => text.into(),
        Yaml::Sequence(items) => items.into_iter().map(to_json).collect(),
        Yaml::Mapping(fields) => fields.into_iter().map(|(key, value)| (key_of(key), to_json(value))).collect(),
        Yaml::Tagged(tagged) => long_form(&tagged.tag.to_string(), to_json(tagged.value)),
    }
}

fn key_of(key: Yaml) -> String {
    match to_json(key) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// `!Ref x` is `{"Ref": x}`, `!GetAtt a.b` is `{"Fn::GetAtt": ["a", "b"]}`, other tags are `Fn::` functions
/// (CloudFormation user guide, "Intrinsic function reference").
fn long_form(tag: &str, value: Value) -> Value {
    let mut object = Map::new();
    match (tag.trim_start_matches('!'), &value) {
        (name @ ("Ref" | "Condition"), _) => object.insert(name.into(), value),
        ("GetAtt", Value::String(text)) => {
            let parts: Vec<&str> = text.splitn(2, '.').collect();
            object.insert("Fn::GetAtt".into(), json!(parts))
        }
        (name, _) => object.insert(format!("Fn::{name}"), value),
    };
    Value::Object(object)
}
