//! File formats: each is turned into the shape in which the AWS CLI prints the same things, so that
//! there is one reader of rules and one of inventories.
//!
//! What was made up here says, in two hidden fields, where it stood in the file: [`PATH`] is the JSON
//! path of an object, [`NAMES`] maps the CLI's field names to the file's own.

mod cloudformation;
mod rules;
mod terraform;
mod yaml;

pub(super) use yaml::parse as parse_yaml;

use super::PolicyError;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::path::Path;

/// Hidden field: the JSON path of this object in its file.
pub(super) const PATH: &str = "@path";
/// Hidden field: names of fields in the file, by their names here.
pub(super) const NAMES: &str = "@names";
/// Hidden field of a permission or entry: what its file does not determine, so that it cannot be read.
pub(super) const UNKNOWN: &str = "@unknown";
/// Hidden field of a permission: the rule's own id.
pub(super) const RULE_ID: &str = "@rule";

/// A document in the CLI's shape. What the CLI itself has printed stays as it is.
pub(super) fn normalise(file: &Path, document: Value) -> Result<Value, PolicyError> {
    let has = |key: &str| document.get(key).is_some();
    if has("Resources") {
        cloudformation::shape(file, &document)
    } else if has("planned_values") || (has("values") && has("format_version")) {
        Ok(terraform::shape(&document))
    } else if has("SecurityGroupRules")
        || document.get(0).is_some_and(|first| first.get("SecurityGroupRuleId").is_some())
    {
        rules::shape(file, &document)
    } else {
        Ok(document)
    }
}

/// The listings of a document in the making.
#[derive(Default)]
struct Shape {
    groups: Vec<Value>,
    acls: Vec<Value>,
    interfaces: Vec<Value>,
    subnets: Vec<Value>,
    vpcs: Vec<Value>,
    prefix_lists: Vec<Value>,
    /// Where a group or ACL stands, by its id: files may be large.
    places: HashMap<String, usize>,
}

impl Shape {
    fn push_group(&mut self, id: &str, group: Value) {
        self.places.insert(format!("group {id}"), self.groups.len());
        self.groups.push(group);
    }

    fn push_acl(&mut self, id: &str, acl: Value) {
        self.places.insert(format!("acl {id}"), self.acls.len());
        self.acls.push(acl);
    }

    fn group(&mut self, id: &str) -> Option<&mut Value> {
        self.groups.get_mut(*self.places.get(&format!("group {id}"))?)
    }

    fn acl(&mut self, id: &str) -> Option<&mut Value> {
        self.acls.get_mut(*self.places.get(&format!("acl {id}"))?)
    }

    /// The document. Empty listings are left out.
    fn finish(self) -> Value {
        let lists = [
            ("SecurityGroups", self.groups),
            ("NetworkAcls", self.acls),
            ("NetworkInterfaces", self.interfaces),
            ("Subnets", self.subnets),
            ("Vpcs", self.vpcs),
            ("PrefixLists", self.prefix_lists),
        ];
        let mut document = Map::new();
        for (name, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            document.insert(name.into(), Value::Array(list));
        }
        Value::Object(document)
    }
}

/// An object out of the fields of another: `(name here, name there)`. Null and empty ones are left out.
fn picked(from: &Value, path: String, fields: &[(&str, &str)]) -> Value {
    let mut names = Map::new();
    let mut object = Map::new();
    for (name, theirs) in fields {
        names.insert((*name).into(), json!(theirs));
        if let Some(value) = from.get(*theirs).filter(|value| !is_blank(value)) {
            object.insert((*name).into(), value.clone());
        }
    }
    object.insert(PATH.into(), path.into());
    object.insert(NAMES.into(), names.into());
    Value::Object(object)
}

/// Null, or an empty text, as Terraform writes what is not set.
fn is_blank(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

/// A list of objects with one field each, out of a list of its values. The path is that of the value.
fn wrapped(values: Option<&Value>, path: &str, field: &str) -> Value {
    let items = values.and_then(Value::as_array).into_iter().flatten();
    let object = |(i, value): (usize, &Value)| {
        let mut object = json!({PATH: format!("{path}[{i}]"), NAMES: {field: ""}});
        object[field] = value.clone();
        object
    };
    items.enumerate().map(object).collect()
}

/// Appends to the list in a field of an object.
fn append(object: &mut Value, field: &str, item: Value) {
    if let Some(list) = object.get_mut(field).and_then(Value::as_array_mut) {
        list.push(item);
    }
}
