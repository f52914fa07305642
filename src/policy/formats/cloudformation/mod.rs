//! CloudFormation templates: resources by logical name, functions evaluated where the template determines them.
//!
//! A rule that it does not determine says so in [`UNKNOWN`].

mod functions;

use super::{NAMES, PATH, Shape, UNKNOWN, append};
use crate::policy::PolicyError;
use functions::{Template, is_function, text_of, unknown};
use serde_json::{Value, json};
use std::path::Path;

/// A resource that is made, as far as is known.
struct Resource<'a> {
    name: &'a str,
    kind: &'a str,
    properties: Value,
    /// The condition of which the template does not say whether it holds.
    condition: Option<String>,
}

/// The rules and the inventory of a template.
///
/// # Errors
/// If it has to be expanded first.
pub fn shape(file: &Path, template: &Value) -> Result<Value, PolicyError> {
    let functions = Template::new(template);
    let mut resources = Vec::new();
    for (name, resource) in template["Resources"].as_object().into_iter().flatten() {
        if name.starts_with("Fn::") {
            return Err(PolicyError::Value {
                file: file.into(),
                path: format!("Resources.{name}"),
                value: "a loop over resources".into(),
                allowed:
                    "resources one by one, as `aws cloudformation get-template --template-stage Processed` prints them"
                        .into(),
            });
        }
        let Some(kind) = resource["Type"].as_str().and_then(|kind| kind.strip_prefix("AWS::EC2::")) else { continue };
        let condition = resource["Condition"].as_str();
        let holds = condition.map_or(Some(true), |name| functions.condition(name));
        if holds == Some(false) {
            continue;
        }
        let condition = condition.filter(|_| holds.is_none()).map(|name| format!("condition {name:?}"));
        resources.push(Resource { name, kind, properties: functions.resolved(&resource["Properties"]), condition });
    }
    let mut shape = Shape::default();
    resources.iter().for_each(|resource| own(resource, &mut shape));
    // Rules that stand alone come after what they belong to.
    resources.iter().for_each(|resource| alone(resource, &mut shape));
    Ok(shape.finish())
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

/// What keeps a rule from being known: a function in it, or the condition of its resource.
fn mark(mut made: Value, from: &Value, resource: &Resource) -> Value {
    // Of the rest of it, only what was taken over matters.
    let whole = is_function(from).then(|| unknown(from)).flatten();
    if let Some(what) = resource.condition.clone().or(whole).or_else(|| unknown(&made)) {
        made[UNKNOWN] = what.into();
    }
    made
}

/// An address or block, or null where the template does not determine it: then it is known to nobody.
fn known(value: &Value) -> Value {
    if unknown(value).is_some() { Value::Null } else { value.clone() }
}

/// True where YAML or JSON says so, as a text too.
fn truth(value: &Value) -> Value {
    match value.as_str() {
        Some("true") => true.into(),
        Some("false") => false.into(),
        _ => value.clone(),
    }
}

/// The items of a list. What should be a list and is none counts as its only item: a function that is left, or an
/// object that somebody wrote without brackets.
fn items(value: &Value) -> impl Iterator<Item = (usize, &Value)> {
    let list = match value {
        Value::Array(items) => items.as_slice(),
        Value::Null => &[],
        one => std::slice::from_ref(one),
    };
    list.iter().enumerate()
}

fn own(resource: &Resource, shape: &mut Shape) {
    let Resource { name, kind, properties, .. } = resource;
    let (name, kind) = (*name, *kind);
    let path = format!("Resources.{name}.Properties");
    let list = |key: &str, field: &str| -> Value {
        items(&properties[key])
            .map(|(i, id)| json!({field: id, PATH: format!("{path}.{key}[{i}]"), NAMES: {field: ""}}))
            .collect()
    };
    match kind {
        "SecurityGroup" => {
            let permissions = |key: &str| -> Value {
                items(&properties[key])
                    .map(|(i, rule)| permission(rule, format!("{path}.{key}[{i}]"), resource))
                    .collect()
            };
            // Without an egress rule a new group keeps the one that allows everything to IPv4 (VPC guide,
            // "Security group rules"), and to IPv6, which matters only where there is any.
            let all = json!({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
                "Ipv6Ranges": [{"CidrIpv6": "::/0"}], PATH: path});
            let all = json!([mark(all, &Value::Null, resource)]);
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
        "VPC" => shape.vpcs.push(json!({PATH: path, "CidrBlock": known(&properties["CidrBlock"])})),
        "Subnet" => {
            let mut subnet = json!({PATH: path, "SubnetId": name, "VpcId": properties["VpcId"],
                "CidrBlock": known(&properties["CidrBlock"])});
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
                .map(|(i, one)| (format!("{path}.PrivateIpAddresses[{i}]"), known(&one["PrivateIpAddress"])))
                .filter(|(_, address)| !address.is_null())
                .map(|(path, address)| json!({"PrivateIpAddress": address, PATH: path}))
                .collect();
            let own = known(&properties["PrivateIpAddress"]);
            if !own.is_null() {
                addresses.push(json!({"PrivateIpAddress": own, PATH: path}));
            }
            // An instance with interfaces of its own description is known by those.
            if kind == "Instance" && properties.get("NetworkInterfaces").is_some() {
                for (i, interface) in items(&properties["NetworkInterfaces"]) {
                    let path = format!("{path}.NetworkInterfaces[{i}]");
                    let groups: Value = items(&interface["GroupSet"])
                        .map(|(i, id)| json!({"GroupId": id, PATH: format!("{path}.GroupSet[{i}]"), NAMES: {"GroupId": ""}}))
                        .collect();
                    // One that is a resource by itself is listed as such.
                    if interface["NetworkInterfaceId"].is_null() {
                        shape.interfaces.push(json!({PATH: path, "NetworkInterfaceId": format!("{name}-{i}"),
                            "SubnetId": interface["SubnetId"], "Groups": groups,
                            "PrivateIpAddress": known(&interface["PrivateIpAddress"]),
                            "PrivateIpAddresses": interface["PrivateIpAddresses"],
                            "Ipv6Addresses": interface["Ipv6Addresses"]}));
                    }
                }
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

fn alone(resource: &Resource, shape: &mut Shape) {
    let Resource { name, kind, properties, .. } = resource;
    let path = format!("Resources.{name}.Properties");
    let owner = |key: &str| properties[key].as_str().unwrap_or_default();
    match *kind {
        "SecurityGroupIngress" | "SecurityGroupEgress" => {
            let list = if *kind == "SecurityGroupIngress" { "IpPermissions" } else { "IpPermissionsEgress" };
            let permission = permission(properties, path.clone(), resource);
            match shape.group(owner("GroupId")) {
                Some(group) => append(group, list, permission),
                // A rule of a group that is managed elsewhere.
                None => {
                    let id = if owner("GroupId").is_empty() { name } else { owner("GroupId") };
                    let mut group = json!({PATH: path, "GroupId": id, "IpPermissions": [], "IpPermissionsEgress": []});
                    append(&mut group, list, mark(permission, &properties["GroupId"], resource));
                    shape.push_group(id, group);
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
            let entry = mark(entry, properties, resource);
            match shape.acl(owner("NetworkAclId")) {
                Some(acl) => append(acl, "Entries", entry),
                None => {
                    let id = if owner("NetworkAclId").is_empty() { name } else { owner("NetworkAclId") };
                    let entry = mark(entry, &properties["NetworkAclId"], resource);
                    let acl = json!({PATH: path, "NetworkAclId": id, "Associations": [], "Entries": [entry]});
                    shape.push_acl(id, acl);
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
fn permission(rule: &Value, path: String, resource: &Resource) -> Value {
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
    // A name is unique in a VPC only, of which this template may not be all.
    if let (Some(name), Some([])) =
        (rule["SourceSecurityGroupName"].as_str(), made["UserIdGroupPairs"].as_array().map(Vec::as_slice))
    {
        made[UNKNOWN] = format!("SourceSecurityGroupName {name:?}").into();
    }
    mark(made, rule, resource)
}
