//! CloudFormation templates: resources by logical name, `Ref` and `Fn::GetAtt` resolved to it.

use super::{NAMES, PATH, Shape, append};
use serde_json::{Map, Value, json};

/// The rules and the inventory of a template.
pub fn shape(template: &Value) -> Value {
    let mut shape = Shape::default();
    let resources = || template["Resources"].as_object().into_iter().flatten();
    let with = |visit: &dyn Fn(&str, &str, &Value, &mut Shape), shape: &mut Shape| {
        for (name, resource) in resources() {
            let kind = resource["Type"].as_str().unwrap_or_default();
            if let Some(kind) = kind.strip_prefix("AWS::EC2::") {
                visit(name, kind, &resolved(&resource["Properties"], template), shape);
            }
        }
    };
    // Rules that stand alone come after what they belong to.
    with(&own, &mut shape);
    with(&alone, &mut shape);
    shape.finish()
}

/// A value with parameters' defaults and logical names in the place of functions. What cannot be
/// resolved stays, to be refused where it is needed. Recursion is bounded by the parser.
fn resolved(value: &Value, template: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| resolved(item, template)).collect(),
        Value::Object(fields) => match fields.iter().next() {
            Some((function, argument)) if fields.len() == 1 => {
                function_value(function, argument, template).unwrap_or_else(|| all_fields(fields, template))
            }
            _ => all_fields(fields, template),
        },
        other => other.clone(),
    }
}

fn all_fields(fields: &Map<String, Value>, template: &Value) -> Value {
    fields.iter().map(|(key, value)| (key.clone(), resolved(value, template))).collect::<Map<_, _>>().into()
}

fn function_value(function: &str, argument: &Value, template: &Value) -> Option<Value> {
    match function {
        "Ref" => named(argument.as_str()?, template),
        "Fn::GetAtt" => {
            let name = match argument {
                Value::String(text) => text.split('.').next()?,
                list => list.get(0)?.as_str()?,
            };
            named(name, template)
        }
        "Fn::Sub" => substituted(argument.as_str()?, template).map(Value::String),
        "Fn::Join" => {
            let separator = argument.get(0)?.as_str()?;
            let parts = resolved(argument.get(1)?, template);
            let parts: Option<Vec<String>> = parts.as_array()?.iter().map(text_of).collect();
            Some(parts?.join(separator).into())
        }
        "Fn::Select" => {
            let index = text_of(argument.get(0)?)?.parse::<usize>().ok()?;
            resolved(argument.get(1)?, template).get(index).cloned()
        }
        "Fn::FindInMap" => {
            let path = resolved(argument, template);
            let part = |i: usize| path.get(i).and_then(text_of);
            template["Mappings"].get(part(0)?)?.get(part(1)?)?.get(part(2)?).cloned()
        }
        _ => None,
    }
}

/// What a name stands for: a resource's logical name, or a parameter's default.
fn named(name: &str, template: &Value) -> Option<Value> {
    if name == "AWS::NoValue" {
        return Some(Value::Null);
    }
    if template["Resources"].get(name).is_some() {
        return Some(name.into());
    }
    let parameter = template["Parameters"].get(name)?;
    let default = parameter.get("Default")?;
    match (parameter["Type"].as_str(), default.as_str()) {
        // Lists are written with commas.
        (Some(kind), Some(text)) if kind.starts_with("List<") || kind == "CommaDelimitedList" => {
            Some(text.split(',').map(|item| Value::from(item.trim())).collect())
        }
        _ => Some(default.clone()),
    }
}

/// `${Name}` and `${Name.Attribute}` in a text.
fn substituted(text: &str, template: &Value) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}')?;
        out.push_str(before);
        out.push_str(&text_of(&named(name.split('.').next()?, template)?)?);
        rest = after;
    }
    Some(out + rest)
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Templates may write numbers as texts and texts as numbers.
fn number(value: &Value) -> Value {
    match value.as_str().map(str::parse::<i64>) {
        Some(Ok(number)) => number.into(),
        _ => value.clone(),
    }
}

fn text(value: &Value) -> Value {
    text_of(value).map_or_else(|| value.clone(), Value::String)
}

/// True where YAML or JSON says so, as a text too.
fn truth(value: &Value) -> Value {
    match value.as_str() {
        Some("true") => true.into(),
        Some("false") => false.into(),
        _ => value.clone(),
    }
}

fn items(value: &Value) -> impl Iterator<Item = (usize, &Value)> {
    value.as_array().into_iter().flatten().enumerate()
}

fn own(name: &str, kind: &str, properties: &Value, shape: &mut Shape) {
    let path = format!("Resources.{name}.Properties");
    let list = |key: &str, field: &str| -> Value {
        items(&properties[key])
            .map(|(i, id)| json!({field: id, PATH: format!("{path}.{key}[{i}]"), NAMES: {field: ""}}))
            .collect()
    };
    match kind {
        "SecurityGroup" => {
            let permissions = |key: &str| -> Value {
                items(&properties[key]).map(|(i, rule)| permission(rule, format!("{path}.{key}[{i}]"))).collect()
            };
            // Without an egress rule a new group keeps the one that allows everything to IPv4 (VPC guide,
            // "Security group rules"), and to IPv6, which matters only where there is any.
            let all = json!([{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
                "Ipv6Ranges": [{"CidrIpv6": "::/0"}], PATH: path}]);
            let egress = match properties.get("SecurityGroupEgress") {
                Some(_) => permissions("SecurityGroupEgress"),
                None => all,
            };
            shape.push_group(
                name,
                json!({PATH: path, "GroupId": name, "GroupName": properties["GroupName"],
                "VpcId": properties["VpcId"], "IpPermissions": permissions("SecurityGroupIngress"),
                "IpPermissionsEgress": egress}),
            );
        }
        "NetworkAcl" => shape.push_acl(
            name,
            json!({PATH: path, "NetworkAclId": name, "VpcId": properties["VpcId"],
            "Associations": [], "Entries": []}),
        ),
        "VPC" => shape.vpcs.push(json!({PATH: path, "CidrBlock": properties["CidrBlock"]})),
        "Subnet" => {
            let mut subnet = json!({PATH: path, "SubnetId": name, "VpcId": properties["VpcId"],
                "CidrBlock": properties["CidrBlock"]});
            if properties.get("Ipv6CidrBlock").is_some_and(Value::is_string) {
                subnet["Ipv6CidrBlockAssociationSet"] =
                    json!([{PATH: path, "Ipv6CidrBlock": properties["Ipv6CidrBlock"]}]);
            }
            shape.subnets.push(subnet);
        }
        "PrefixList" => {
            let entries: Value = items(&properties["Entries"])
                .map(|(i, entry)| json!({"Cidr": entry["Cidr"], PATH: format!("{path}.Entries[{i}]")}))
                .collect();
            shape.prefix_lists.push(json!({PATH: path, "PrefixListId": name, "Entries": entries,
                "PrefixListName": properties["PrefixListName"], "MaxEntries": number(&properties["MaxEntries"])}));
        }
        "NetworkInterface" | "Instance" => {
            let mut addresses: Vec<Value> = items(&properties["PrivateIpAddresses"])
                .map(|(i, one)| {
                    let path = format!("{path}.PrivateIpAddresses[{i}]");
                    json!({"PrivateIpAddress": one["PrivateIpAddress"], PATH: path})
                })
                .collect();
            if !properties["PrivateIpAddress"].is_null() {
                addresses.push(json!({"PrivateIpAddress": properties["PrivateIpAddress"], PATH: path}));
            }
            // An instance with interfaces of its own description is known by those.
            if kind == "Instance" && properties.get("NetworkInterfaces").is_some() {
                return;
            }
            let ipv6: Value = items(&properties["Ipv6Addresses"])
                .map(|(i, one)| json!({"Ipv6Address": one["Ipv6Address"], PATH: format!("{path}.Ipv6Addresses[{i}]")}))
                .collect();
            let groups = if kind == "Instance" { "SecurityGroupIds" } else { "GroupSet" };
            shape.interfaces.push(json!({PATH: path, "NetworkInterfaceId": name, "SubnetId": properties["SubnetId"],
                "Groups": list(groups, "GroupId"), "PrivateIpAddresses": addresses, "Ipv6Addresses": ipv6}));
        }
        _ => {}
    }
}

fn alone(name: &str, kind: &str, properties: &Value, shape: &mut Shape) {
    let path = format!("Resources.{name}.Properties");
    let owner = |key: &str| properties[key].as_str().unwrap_or_default();
    match kind {
        "SecurityGroupIngress" | "SecurityGroupEgress" => {
            let list = if kind == "SecurityGroupIngress" { "IpPermissions" } else { "IpPermissionsEgress" };
            let permission = permission(properties, path.clone());
            match shape.group(owner("GroupId")) {
                Some(group) => append(group, list, permission),
                // A rule of a group that is managed elsewhere.
                None => {
                    let mut group = json!({PATH: path, "GroupId": properties["GroupId"], "IpPermissions": [],
                        "IpPermissionsEgress": []});
                    append(&mut group, list, permission);
                    shape.push_group(owner("GroupId"), group);
                }
            }
        }
        "NetworkAclEntry" => {
            let mut entry = json!({PATH: path, NAMES: {"IcmpTypeCode": "Icmp"},
                "RuleNumber": number(&properties["RuleNumber"]), "RuleAction": properties["RuleAction"],
                "Protocol": text(&properties["Protocol"]), "CidrBlock": properties["CidrBlock"],
                "Ipv6CidrBlock": properties["Ipv6CidrBlock"],
                "Egress": if properties["Egress"].is_null() { json!(false) } else { truth(&properties["Egress"]) }});
            let pair = |key: &str, first: &str, second: &str| {
                let object = &properties[key];
                json!({PATH: format!("{path}.{key}"), first: number(&object[first]), second: number(&object[second])})
            };
            if !properties["PortRange"].is_null() {
                entry["PortRange"] = pair("PortRange", "From", "To");
            }
            if !properties["Icmp"].is_null() {
                entry["IcmpTypeCode"] = pair("Icmp", "Type", "Code");
            }
            match shape.acl(owner("NetworkAclId")) {
                Some(acl) => append(acl, "Entries", entry),
                None => {
                    let acl = json!({PATH: path, "NetworkAclId": properties["NetworkAclId"],
                        "Associations": [], "Entries": [entry]});
                    shape.push_acl(owner("NetworkAclId"), acl);
                }
            }
        }
        "SubnetNetworkAclAssociation" => {
            if let Some(acl) = shape.acl(owner("NetworkAclId")) {
                append(acl, "Associations", json!({PATH: path, "SubnetId": properties["SubnetId"]}));
            }
        }
        _ => {}
    }
}

/// A rule. Ingress names its peers `Source...`, egress `Destination...`.
fn permission(rule: &Value, path: String) -> Value {
    let mut made = json!({PATH: path, "IpProtocol": text(&rule["IpProtocol"]),
        "FromPort": number(&rule["FromPort"]), "ToPort": number(&rule["ToPort"])});
    for (list, here, theirs) in [
        ("IpRanges", "CidrIp", ["CidrIp", ""]),
        ("Ipv6Ranges", "CidrIpv6", ["CidrIpv6", ""]),
        ("PrefixListIds", "PrefixListId", ["SourcePrefixListId", "DestinationPrefixListId"]),
        ("UserIdGroupPairs", "GroupId", ["SourceSecurityGroupId", "DestinationSecurityGroupId"]),
    ] {
        let there = theirs.into_iter().filter(|name| !rule[*name].is_null());
        made[list] = there.map(|name| json!({PATH: path, NAMES: {here: name}, here: rule[name]})).collect();
    }
    made
}
