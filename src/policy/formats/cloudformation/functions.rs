//! The functions of a template, as far as it determines them (CloudFormation user guide, "Intrinsic function
//! reference").

use ipnet::IpNet;
use serde_json::{Map, Value};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

/// Longest text that a function makes. Nothing that rules are made of is longer.
const LONGEST: usize = 4096;
/// Functions that are evaluated in all: a template of CloudFormation's largest size, many times over.
const MOST: u32 = 2_000_000;
/// Attributes that are each the value of another. More are a circle.
const DEEPEST: u32 = 8;

/// A template, to look names up in.
pub(super) struct Template<'a> {
    root: &'a Value,
    /// Conditions that were evaluated; `None` while they are, so that a circle ends.
    conditions: RefCell<HashMap<String, Option<bool>>>,
    evaluated: Cell<u32>,
    /// How many attributes are being looked up, each for another.
    attributes: Cell<u32>,
}

/// What became of a value.
enum Found {
    /// It is this.
    Is(Value),
    /// It is as if it were not there.
    NoValue,
    /// The template does not say.
    Unknown,
}

impl From<Option<Value>> for Found {
    fn from(value: Option<Value>) -> Found {
        value.map_or(Found::Unknown, Found::Is)
    }
}

impl<'a> Template<'a> {
    pub fn new(root: &'a Value) -> Self {
        Template { root, conditions: RefCell::default(), evaluated: Cell::new(0), attributes: Cell::new(0) }
    }

    /// A value with the results of functions in their place; null where it is `AWS::NoValue`. A function that cannot
    /// be evaluated stays. Recursion is bounded by the parser, circles by [`DEEPEST`].
    pub fn resolved(&self, value: &Value) -> Value {
        self.resolve(value).unwrap_or(Value::Null)
    }

    /// `None` for `AWS::NoValue`.
    fn resolve(&self, value: &Value) -> Option<Value> {
        match value {
            Value::Array(items) => Some(items.iter().filter_map(|item| self.resolve(item)).collect()),
            Value::Object(fields) => match function(value) {
                Some((name, argument)) => match self.evaluate(name, argument) {
                    Found::Is(value) => Some(value),
                    Found::NoValue => None,
                    Found::Unknown => Some(value.clone()),
                },
                None => {
                    let fields = fields.iter().filter_map(|(key, value)| Some((key.clone(), self.resolve(value)?)));
                    Some(fields.collect::<Map<_, _>>().into())
                }
            },
            other => Some(other.clone()),
        }
    }

    fn evaluate(&self, name: &str, argument: &Value) -> Found {
        self.evaluated.set(self.evaluated.get() + 1);
        if self.evaluated.get() > MOST {
            return Found::Unknown;
        }
        match name {
            "Ref" if argument == "AWS::NoValue" => Found::NoValue,
            "Ref" => argument.as_str().and_then(|name| self.named(name)).into(),
            "Fn::GetAtt" => self.attribute_of(argument).into(),
            "Fn::If" => match argument[0].as_str().and_then(|name| self.condition(name)) {
                Some(holds) => match argument.get(if holds { 1 } else { 2 }) {
                    Some(chosen) => self.resolve(chosen).map_or(Found::NoValue, Found::Is),
                    None => Found::Unknown,
                },
                None => Found::Unknown,
            },
            "Fn::Sub" => self.substituted(argument).map(Value::String).into(),
            "Fn::Join" => self.joined(argument).map(Value::String).into(),
            "Fn::Split" => {
                let parts = || {
                    let text = text_of(&self.resolved(argument.get(1)?))?;
                    Some(text.split(argument[0].as_str().filter(|by| !by.is_empty())?).map(Value::from).collect())
                };
                parts().into()
            }
            "Fn::Select" => {
                let index = text_of(&self.resolved(&argument[0])).and_then(|index| index.parse::<usize>().ok());
                index.and_then(|index| self.resolved(&argument[1]).as_array()?.get(index).cloned()).into()
            }
            "Fn::FindInMap" => self.found_in_map(argument).into(),
            "Fn::Cidr" => self.subnets(argument).into(),
            _ => Found::Unknown,
        }
    }

    /// What a name stands for: a resource's logical name, or a parameter's default.
    fn named(&self, name: &str) -> Option<Value> {
        if self.root["Resources"].get(name).is_some() {
            return Some(name.into());
        }
        let parameter = self.root["Parameters"].get(name)?;
        let default = parameter.get("Default")?;
        let kind = parameter["Type"].as_str().unwrap_or_default();
        match default.as_str() {
            // The default is the name of what holds the value.
            _ if kind.starts_with("AWS::SSM::") => None,
            // Lists are written with commas.
            Some(text) if kind.starts_with("List<") || kind == "CommaDelimitedList" => {
                Some(text.split(',').map(|item| Value::from(item.trim())).collect())
            }
            _ => Some(default.clone()),
        }
    }

    /// An attribute of a resource: its id, or a property that it was given.
    fn attribute_of(&self, argument: &Value) -> Option<Value> {
        let (name, attribute) = match argument {
            Value::String(text) => text.split_once('.')?,
            list => (list.get(0)?.as_str()?, list.get(1)?.as_str()?),
        };
        let resource = self.root["Resources"].get(name)?;
        let kind = resource["Type"].as_str()?.strip_prefix("AWS::EC2::")?;
        let property = match (kind, attribute) {
            ("VPC" | "Subnet", "CidrBlock") => "CidrBlock",
            ("Subnet" | "SecurityGroup", "VpcId") => "VpcId",
            ("NetworkInterface", "PrimaryPrivateIpAddress") | ("Instance", "PrivateIp") => "PrivateIpAddress",
            (
                "SecurityGroup" | "NetworkAcl" | "PrefixList" | "Subnet" | "VPC" | "NetworkInterface",
                "GroupId" | "Id" | "PrefixListId" | "SubnetId" | "VpcId",
            ) => {
                return Some(name.into());
            }
            _ => return None,
        };
        if self.attributes.get() == DEEPEST {
            return None;
        }
        self.attributes.set(self.attributes.get() + 1);
        let value = self.resolved(resource["Properties"].get(property).unwrap_or(&Value::Null));
        self.attributes.set(self.attributes.get() - 1);
        (!value.is_null() && function(&value).is_none()).then_some(value)
    }

    /// Whether a condition holds, if parameters' defaults say.
    pub fn condition(&self, name: &str) -> Option<bool> {
        if let Some(known) = self.conditions.borrow().get(name) {
            return *known;
        }
        self.conditions.borrow_mut().insert(name.into(), None);
        let holds = self.holds(self.root["Conditions"].get(name)?);
        self.conditions.borrow_mut().insert(name.into(), holds);
        holds
    }

    fn holds(&self, value: &Value) -> Option<bool> {
        let (name, argument) = function(value)?;
        let all = || argument.as_array().into_iter().flatten().map(|one| self.holds(one));
        match name {
            "Condition" => self.condition(argument.as_str()?),
            "Fn::Equals" => {
                Some(text_of(&self.resolved(argument.get(0)?))? == text_of(&self.resolved(argument.get(1)?))?)
            }
            "Fn::Not" => Some(!self.holds(argument.get(0)?)?),
            // One that does not hold settles it, whatever the others are.
            "Fn::And" if all().any(|one| one == Some(false)) => Some(false),
            "Fn::And" => all().collect::<Option<Vec<_>>>().map(|_| true),
            "Fn::Or" if all().any(|one| one == Some(true)) => Some(true),
            "Fn::Or" => all().collect::<Option<Vec<_>>>().map(|_| false),
            _ => None,
        }
    }

    /// `${Name}` and `${Name.Attribute}` in a text, or of a map beside it; `${!Name}` is `${Name}` itself.
    fn substituted(&self, argument: &Value) -> Option<String> {
        let (text, own) = match argument {
            Value::String(text) => (text.as_str(), None),
            list => (list.get(0)?.as_str()?, list.get(1)),
        };
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            let (name, after) = after.split_once('}')?;
            out.push_str(before);
            let value = match (name.strip_prefix('!'), own.and_then(|own| own.get(name))) {
                (Some(literal), _) => format!("${{{literal}}}").into(),
                (None, Some(own)) => self.resolved(own),
                (None, None) if name.contains('.') => self.attribute_of(&name.into())?,
                (None, None) => self.named(name)?,
            };
            out.push_str(&text_of(&value)?);
            if out.len() > LONGEST {
                return None;
            }
            rest = after;
        }
        Some(out + rest)
    }

    fn joined(&self, argument: &Value) -> Option<String> {
        let parts = self.resolved(argument.get(1)?);
        let parts: Option<Vec<String>> = parts.as_array()?.iter().map(text_of).collect();
        Some(parts?.join(argument.get(0)?.as_str()?)).filter(|text| text.len() <= LONGEST)
    }

    fn found_in_map(&self, argument: &Value) -> Option<Value> {
        let part = |i: usize| text_of(&self.resolved(argument.get(i)?));
        let found = || self.root["Mappings"].get(part(0)?)?.get(part(1)?)?.get(part(2)?).cloned();
        found().or_else(|| Some(self.resolved(argument.get(3)?.get("DefaultValue")?)))
    }

    /// So many subnets of a block, each with so many bits for hosts.
    fn subnets(&self, argument: &Value) -> Option<Value> {
        let part = |i: usize| text_of(&self.resolved(argument.get(i)?));
        let block: IpNet = part(0)?.parse().ok()?;
        let count: usize = part(1)?.parse().ok().filter(|count| *count <= 256)?;
        let host_bits: u8 = if argument.get(2).is_some() { part(2)?.parse().ok()? } else { 8 };
        let length = block.max_prefix_len().checked_sub(host_bits)?;
        let subnets: Vec<Value> = block.subnets(length).ok()?.take(count).map(|net| net.to_string().into()).collect();
        (subnets.len() == count).then(|| subnets.into())
    }
}

/// The function that an object is a call of.
fn function(value: &Value) -> Option<(&str, &Value)> {
    let (name, argument) = value.as_object().filter(|fields| fields.len() == 1)?.iter().next()?;
    let is_function = name.starts_with("Fn::") || matches!(name.as_str(), "Ref" | "Condition");
    is_function.then_some((name, argument))
}

/// True for a call of a function.
pub(super) fn is_function(value: &Value) -> bool {
    function(value).is_some()
}

/// A function that is left in a value, in words.
pub(super) fn unknown(value: &Value) -> Option<String> {
    if let Some((name, argument)) = function(value) {
        let of = argument.as_str().or_else(|| argument.get(0)?.as_str()).unwrap_or_default();
        return Some(format!("{name} {:?}", of.chars().take(60).collect::<String>()));
    }
    match value {
        Value::Array(items) => items.iter().find_map(unknown),
        Value::Object(fields) => fields.values().find_map(unknown),
        _ => None,
    }
}

pub(super) fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}
