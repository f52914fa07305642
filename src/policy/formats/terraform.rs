//! `terraform show -json`: of a state, or of a plan, where what is known after apply only is looked up
//! in the configuration (<https://developer.hashicorp.com/terraform/internals/json-format>).

use super::{NAMES, PATH, Shape, append, is_blank, picked, wrapped};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};

/// What a rule refers to that Terraform does not know yet.
const UNKNOWN: &str = "known-after-apply";

/// A resource instance.
struct Resource<'a> {
    kind: &'a str,
    values: &'a Value,
    path: String,
    /// The id or, before apply, the address.
    id: String,
    /// The address of its module, with a dot behind it if it is not the root.
    module: String,
    /// Expressions of its configuration.
    expressions: &'a Value,
}

/// All resources, and what is needed to follow references between them.
struct Resources<'a> {
    all: Vec<Resource<'a>>,
    /// Ids by address without instance keys.
    ids: HashMap<String, Vec<String>>,
    /// Ids of interfaces.
    interfaces: HashSet<String>,
}

/// The rules and the inventory of a state or plan.
pub fn shape(document: &Value) -> Value {
    let key = if document.get("planned_values").is_some() { "planned_values" } else { "values" };
    let mut expressions = HashMap::new();
    configured(&document["configuration"]["root_module"], "", &mut expressions);
    let mut found = Resources { all: Vec::new(), ids: HashMap::new(), interfaces: HashSet::new() };
    found.add(&document[key]["root_module"], format!("{key}.root_module"), &expressions);
    let mut shape = Shape::default();
    // Rules that stand alone come after what they belong to.
    for resource in &found.all {
        found.own(resource, &mut shape);
    }
    for resource in &found.all {
        found.alone(resource, &mut shape);
    }
    shape.finish()
}

/// The expressions of every configured resource, by address.
fn configured<'a>(module: &'a Value, prefix: &str, into: &mut HashMap<String, &'a Value>) {
    for resource in module["resources"].as_array().into_iter().flatten() {
        if let Some(address) = resource["address"].as_str() {
            into.insert(format!("{prefix}{address}"), &resource["expressions"]);
        }
    }
    for (name, call) in module["module_calls"].as_object().into_iter().flatten() {
        configured(&call["module"], &format!("{prefix}module.{name}."), into);
    }
}

/// An address without its instance keys: `a.b[0]` and `a.b["x"]` are instances of `a.b`.
fn without_keys(address: &str) -> String {
    let (mut plain, mut depth) = (String::new(), 0u32);
    for c in address.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            c if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    plain
}

impl<'a> Resources<'a> {
    fn add(&mut self, module: &'a Value, path: String, expressions: &HashMap<String, &'a Value>) {
        let module_address = module["address"].as_str().map(|address| without_keys(address) + ".").unwrap_or_default();
        for (i, resource) in module["resources"].as_array().into_iter().flatten().enumerate() {
            let address = resource["address"].as_str().unwrap_or_default();
            let plain = without_keys(address);
            let values = &resource["values"];
            // Ids go into reports: what does not fit there is replaced.
            let fits = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
            let id = values["id"].as_str().map_or_else(|| address.chars().map(fits).collect(), str::to_owned);
            self.ids.entry(plain.clone()).or_default().push(id.clone());
            if resource["type"] == json!("aws_network_interface") {
                self.interfaces.insert(id.clone());
            }
            self.all.push(Resource {
                kind: resource["type"].as_str().unwrap_or_default(),
                values,
                path: format!("{path}.resources[{i}].values"),
                id,
                module: module_address.clone(),
                expressions: expressions.get(&plain).copied().unwrap_or(&Value::Null),
            });
        }
        for (i, child) in module["child_modules"].as_array().into_iter().flatten().enumerate() {
            self.add(child, format!("{path}.child_modules[{i}]"), expressions);
        }
    }

    /// The ids that an expression refers to.
    fn referred(&self, module: &str, expression: &Value) -> Vec<String> {
        let mut ids = Vec::new();
        for reference in expression["references"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            // `type.name.attribute` and `type.name` are both listed.
            match self.ids.get(&format!("{module}{}", without_keys(reference))).map(Vec::as_slice) {
                Some([id]) if !ids.contains(id) => ids.push(id.clone()),
                // Which of several instances is known after apply.
                Some([_, _, ..]) if ids.last().is_none_or(|id| id != UNKNOWN) => ids.push(UNKNOWN.into()),
                _ => {}
            }
        }
        ids
    }

    /// An attribute that holds one id or several: its value or, if that is unknown, what it refers to.
    fn ids(&self, resource: &Resource, attribute: &str) -> Vec<String> {
        match &resource.values[attribute] {
            Value::String(id) if !id.is_empty() => vec![id.clone()],
            Value::Array(ids) => ids.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => {
                let expression = &resource.expressions[attribute];
                let ids = self.referred(&resource.module, expression);
                let unknown = ids.is_empty() && expression.get("references").is_some();
                if unknown { vec![UNKNOWN.into()] } else { ids }
            }
        }
    }

    /// A resource that is not a rule of another.
    fn own(&self, resource: &Resource, shape: &mut Shape) {
        let (values, path, id) = (resource.values, &resource.path, &resource.id);
        let ids = |attribute: &str, field: &str| -> Value {
            self.ids(resource, attribute)
                .iter()
                .map(|id| json!({field: id, PATH: format!("{path}.{attribute}")}))
                .collect()
        };
        match resource.kind {
            "aws_security_group" | "aws_default_security_group" => {
                let list = |attribute: &str| self.inline(resource, attribute);
                shape.push_group(id, json!({
                    PATH: path, "GroupId": id, "GroupName": values["name"], "VpcId": self.ids(resource, "vpc_id").first(),
                    "IpPermissions": list("ingress"), "IpPermissionsEgress": list("egress"),
                }));
            }
            "aws_network_acl" | "aws_default_network_acl" => {
                let mut entries = Vec::new();
                for (attribute, egress) in [("ingress", false), ("egress", true)] {
                    for (i, entry) in values[attribute].as_array().into_iter().flatten().enumerate() {
                        let names = [("RuleNumber", "rule_no"), ("RuleAction", "action")];
                        entries.push(acl_entry(entry, format!("{path}.{attribute}[{i}]"), &names, json!(egress)));
                    }
                }
                shape.push_acl(id, json!({
                    PATH: path, "NetworkAclId": id, "IsDefault": resource.kind == "aws_default_network_acl",
                    "VpcId": self.ids(resource, "vpc_id").first(),
                    "Associations": ids("subnet_ids", "SubnetId"), "Entries": entries,
                }));
            }
            "aws_vpc" => shape.vpcs.push(picked(values, path.clone(), &[("CidrBlock", "cidr_block")])),
            "aws_subnet" => {
                let mut subnet = picked(values, path.clone(), &[("CidrBlock", "cidr_block")]);
                subnet["SubnetId"] = json!(id);
                subnet["VpcId"] = json!(self.ids(resource, "vpc_id").first());
                if !is_blank(&values["ipv6_cidr_block"]) {
                    let block = json!([{PATH: path, NAMES: {"Ipv6CidrBlock": "ipv6_cidr_block"},
                        "Ipv6CidrBlock": values["ipv6_cidr_block"]}]);
                    subnet["Ipv6CidrBlockAssociationSet"] = block;
                }
                shape.subnets.push(subnet);
            }
            "aws_network_interface" => shape.interfaces.push(json!({
                PATH: path, "NetworkInterfaceId": id, "SubnetId": self.ids(resource, "subnet_id").first(),
                "Groups": ids("security_groups", "GroupId"),
                "PrivateIpAddresses": wrapped(values.get("private_ips"), &format!("{path}.private_ips"), "PrivateIpAddress"),
                "Ipv6Addresses": wrapped(values.get("ipv6_addresses"), &format!("{path}.ipv6_addresses"), "Ipv6Address"),
            })),
            "aws_instance" => {
                let interface = self.ids(resource, "primary_network_interface_id");
                // An interface that is a resource by itself is listed as such.
                let is_listed = interface.iter().any(|id| self.interfaces.contains(id));
                if is_listed || values["network_interface"].as_array().is_some_and(|list| !list.is_empty()) {
                    return;
                }
                let mut addresses = wrapped(
                    values.get("secondary_private_ips"),
                    &format!("{path}.secondary_private_ips"),
                    "PrivateIpAddress",
                );
                if let (Some(list), false) = (addresses.as_array_mut(), is_blank(&values["private_ip"])) {
                    let names = [("PrivateIpAddress", "private_ip")];
                    list.insert(0, picked(values, path.clone(), &names));
                }
                shape.interfaces.push(json!({
                    PATH: path, "NetworkInterfaceId": interface.first().unwrap_or(id),
                    "SubnetId": self.ids(resource, "subnet_id").first(),
                    "Groups": ids("vpc_security_group_ids", "GroupId"), "PrivateIpAddresses": addresses,
                    "Ipv6Addresses": wrapped(values.get("ipv6_addresses"), &format!("{path}.ipv6_addresses"), "Ipv6Address"),
                }));
            }
            "aws_ec2_managed_prefix_list" => {
                let key = if values.get("entry").is_some() { "entry" } else { "entries" };
                let entries: Value = (values[key].as_array().into_iter().flatten().enumerate())
                    .map(|(i, entry)| picked(entry, format!("{path}.{key}[{i}]"), &[("Cidr", "cidr")]))
                    .collect();
                let mut list = picked(values, path.clone(), &[("PrefixListName", "name"), ("MaxEntries", "max_entries")]);
                list["PrefixListId"] = json!(id);
                list["Entries"] = entries;
                shape.prefix_lists.push(list);
            }
            // A data source.
            "aws_prefix_list" => {
                let mut list = picked(values, path.clone(), &[("PrefixListName", "name"), ("Cidrs", "cidr_blocks")]);
                list["PrefixListId"] = json!(id);
                shape.prefix_lists.push(list);
            }
            _ => {}
        }
    }

    /// A resource that is a rule, or an association, of another.
    fn alone(&self, resource: &Resource, shape: &mut Shape) {
        let (values, path) = (resource.values, &resource.path);
        let of_group = |list: &str, permission: Value, shape: &mut Shape| {
            let owner = self.ids(resource, "security_group_id").into_iter().next().unwrap_or_default();
            match shape.group(&owner) {
                Some(group) => append(group, list, permission),
                // A rule of a group that is managed elsewhere.
                None => {
                    let mut group = json!({PATH: path, NAMES: {"GroupId": "security_group_id"},
                        "GroupId": owner, "IpPermissions": [], "IpPermissionsEgress": []});
                    append(&mut group, list, permission);
                    shape.push_group(&owner, group);
                }
            }
        };
        match resource.kind {
            "aws_security_group_rule" => {
                let mut permission = permission(values, path.clone(), "protocol");
                let mut groups = self.ids(resource, "source_security_group_id");
                if values["self"] == json!(true) {
                    groups.extend(self.ids(resource, "security_group_id"));
                }
                permission["UserIdGroupPairs"] = groups
                    .iter()
                    .map(|id| json!({"GroupId": id, PATH: path, NAMES: {"GroupId": "source_security_group_id"}}))
                    .collect();
                permission["PrefixListIds"] = self
                    .ids(resource, "prefix_list_ids")
                    .iter()
                    .map(|id| json!({"PrefixListId": id, PATH: format!("{path}.prefix_list_ids")}))
                    .collect();
                let egress = values["type"] == json!("egress");
                of_group(if egress { "IpPermissionsEgress" } else { "IpPermissions" }, permission, shape);
            }
            "aws_vpc_security_group_ingress_rule" | "aws_vpc_security_group_egress_rule" => {
                let mut permission = permission(values, path.clone(), "ip_protocol");
                for (list, here, theirs) in
                    [("IpRanges", "CidrIp", "cidr_ipv4"), ("Ipv6Ranges", "CidrIpv6", "cidr_ipv6")]
                {
                    if !is_blank(&values[theirs]) {
                        permission[list] = json!([picked(values, path.clone(), &[(here, theirs)])]);
                    }
                }
                for (list, here, theirs) in [
                    ("UserIdGroupPairs", "GroupId", "referenced_security_group_id"),
                    ("PrefixListIds", "PrefixListId", "prefix_list_id"),
                ] {
                    let ids = self.ids(resource, theirs);
                    permission[list] =
                        ids.iter().map(|id| json!({here: id, PATH: path, NAMES: {here: theirs}})).collect();
                }
                let egress = resource.kind.contains("egress");
                of_group(if egress { "IpPermissionsEgress" } else { "IpPermissions" }, permission, shape);
            }
            "aws_network_acl_rule" => {
                let names = [("RuleNumber", "rule_number"), ("RuleAction", "rule_action")];
                let egress = match &values["egress"] {
                    Value::Null => json!(false),
                    egress => egress.clone(),
                };
                let entry = acl_entry(values, path.clone(), &names, egress);
                let owner = self.ids(resource, "network_acl_id").into_iter().next().unwrap_or_default();
                match shape.acl(&owner) {
                    Some(acl) => {
                        // After a refresh the ACL's own list repeats rules that stand alone.
                        let is_same = |own: &Value| ["RuleNumber", "Egress"].iter().all(|key| own[key] == entry[key]);
                        let alone = |own: &&Value| own[NAMES]["RuleNumber"] == json!("rule_no");
                        let repeats =
                            acl["Entries"].as_array().is_some_and(|all| all.iter().filter(alone).any(is_same));
                        if !repeats {
                            append(acl, "Entries", entry);
                        }
                    }
                    None => {
                        let acl = json!({PATH: path, NAMES: {"NetworkAclId": "network_acl_id"},
                            "NetworkAclId": owner, "Associations": [], "Entries": [entry]});
                        shape.push_acl(&owner, acl);
                    }
                }
            }
            "aws_network_acl_association" => {
                let (owner, subnet) = (self.ids(resource, "network_acl_id"), self.ids(resource, "subnet_id"));
                if let Some(acl) = owner.first().and_then(|id| shape.acl(id)) {
                    append(acl, "Associations", json!({PATH: path, "SubnetId": subnet.first()}));
                }
            }
            _ => {}
        }
    }

    /// The rules in a security group's own `ingress` or `egress`.
    fn inline(&self, resource: &Resource, attribute: &str) -> Value {
        let rules = resource.values[attribute].as_array().into_iter().flatten().enumerate();
        let one = |(i, rule): (usize, &Value)| {
            let path = format!("{}.{attribute}[{i}]", resource.path);
            let mut permission = permission(rule, path.clone(), "protocol");
            let mut groups = self.inline_ids(resource, attribute, rule, "security_groups");
            if rule["self"] == json!(true) {
                groups.push(resource.id.clone());
            }
            permission["UserIdGroupPairs"] = groups.iter().map(|id| json!({"GroupId": id, PATH: path})).collect();
            let lists = self.inline_ids(resource, attribute, rule, "prefix_list_ids");
            permission["PrefixListIds"] = lists.iter().map(|id| json!({"PrefixListId": id, PATH: path})).collect();
            permission
        };
        rules.map(one).collect()
    }

    /// Ids in an inline rule. A plan leaves unknown ones out: then those of the one configured block
    /// with the same protocol and ports.
    fn inline_ids(&self, resource: &Resource, attribute: &str, rule: &Value, field: &str) -> Vec<String> {
        let known =
            |ids: &Value| ids.as_array().map(|ids| ids.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        if let Some(ids) = known(&rule[field]) {
            return ids;
        }
        let same = |block: &&Value| {
            ["protocol", "from_port", "to_port"]
                .iter()
                .all(|key| block[key].get("constant_value").is_none_or(|value| *value == rule[key]))
        };
        let blocks = resource.expressions[attribute].as_array().into_iter().flatten();
        let blocks: Vec<&Value> =
            blocks.filter(same).filter(|block| block[field].get("references").is_some()).collect();
        match blocks[..] {
            [] if rule.get(field).is_some() || resource.expressions[attribute].is_null() => Vec::new(),
            [] if resource.expressions[attribute].is_array() => Vec::new(),
            [block] => {
                let ids = self.referred(&resource.module, &block[field]);
                if ids.is_empty() { vec![UNKNOWN.into()] } else { ids }
            }
            _ => vec![UNKNOWN.into()],
        }
    }
}

/// Protocol, ports and blocks of a rule with lists of blocks.
fn permission(rule: &Value, path: String, protocol: &str) -> Value {
    let names = [("IpProtocol", protocol), ("FromPort", "from_port"), ("ToPort", "to_port")];
    let mut permission = picked(rule, path.clone(), &names);
    permission["IpRanges"] = wrapped(rule.get("cidr_blocks"), &format!("{path}.cidr_blocks"), "CidrIp");
    permission["Ipv6Ranges"] = wrapped(rule.get("ipv6_cidr_blocks"), &format!("{path}.ipv6_cidr_blocks"), "CidrIpv6");
    permission
}

/// An entry of a network ACL, with its number and action under the names that this resource uses.
fn acl_entry(entry: &Value, path: String, names: &[(&str, &str)], egress: Value) -> Value {
    let all: Vec<(&str, &str)> = names
        .iter()
        .copied()
        .chain([("Protocol", "protocol"), ("CidrBlock", "cidr_block"), ("Ipv6CidrBlock", "ipv6_cidr_block")])
        .collect();
    let mut made = picked(entry, path.clone(), &all);
    made["Egress"] = egress;
    made["PortRange"] = picked(entry, path.clone(), &[("From", "from_port"), ("To", "to_port")]);
    // The provider sends 0 for what is not set.
    let or_zero = |key: &str| if entry[key].is_null() { json!(0) } else { entry[key].clone() };
    made["IcmpTypeCode"] = json!({PATH: path, NAMES: {"Type": "icmp_type", "Code": "icmp_code"},
        "Type": or_zero("icmp_type"), "Code": or_zero("icmp_code")});
    made
}
