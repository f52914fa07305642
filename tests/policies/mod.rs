//! Policy files made on the spot; beside this file, some in full.

#![allow(dead_code)] // Each test program uses its own part.

use ctbench::policy::{LoadOptions, Loaded, PolicyError, load_network_acl, load_security_groups};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use tempfile::NamedTempFile;

/// A file with these bytes.
pub fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

/// Security groups from a file.
pub fn load(path: &Path, options: &LoadOptions) -> Result<Loaded, PolicyError> {
    load_security_groups(path, options)
}

/// Security groups from a document.
pub fn load_groups(document: &Value) -> Result<Loaded, PolicyError> {
    load_groups_with(document, &LoadOptions::default())
}

/// Security groups from a document, with options.
pub fn load_groups_with(document: &Value, options: &LoadOptions) -> Result<Loaded, PolicyError> {
    load_security_groups(file(document.to_string().as_bytes()).path(), options)
}

/// A network ACL from a document.
pub fn load_acl(document: &Value) -> Result<Loaded, PolicyError> {
    load_network_acl(file(document.to_string().as_bytes()).path(), &LoadOptions::default())
}

/// What `aws ec2 describe-security-groups` prints.
pub fn groups(groups: impl IntoIterator<Item = Value>) -> Value {
    json!({"SecurityGroups": groups.into_iter().collect::<Vec<_>>()})
}

/// One group.
pub fn group(id: &str, ingress: impl IntoIterator<Item = Value>, egress: impl IntoIterator<Item = Value>) -> Value {
    let ingress: Vec<Value> = ingress.into_iter().collect();
    let egress: Vec<Value> = egress.into_iter().collect();
    json!({"GroupId": id, "GroupName": format!("name of {id}"), "IpPermissions": ingress, "IpPermissionsEgress": egress})
}

/// One permission for one IPv4 block; `ports` is `[from, to]`, or shorter to leave them out.
pub fn permission(protocol: &str, ports: Value, cidr: &str) -> Value {
    let mut permission = json!({"IpProtocol": protocol, "IpRanges": [{"CidrIp": cidr}]});
    for (name, port) in ["FromPort", "ToPort"].into_iter().zip(ports.as_array().unwrap()) {
        permission[name] = port.clone();
    }
    permission
}

/// What `aws ec2 describe-network-acls` prints, for one ACL with these entries.
pub fn acl(entries: impl IntoIterator<Item = Value>) -> Value {
    let entries: Vec<Value> = entries.into_iter().collect();
    json!({"NetworkAcls": [acl_of("acl-1", json!(entries))]})
}

/// One ACL.
pub fn acl_of(id: &str, entries: Value) -> Value {
    json!({"NetworkAclId": id, "Associations": [{"SubnetId": format!("subnet-of-{id}")}], "Entries": entries})
}

/// A document in a file of its own.
pub fn as_file(document: &Value) -> NamedTempFile {
    file(document.to_string().as_bytes())
}

/// A network interface.
pub fn eni(id: &str, address: &str, groups: &[&str], subnet: &str) -> Value {
    let groups: Vec<Value> = groups.iter().map(|id| json!({"GroupId": id})).collect();
    json!({"NetworkInterfaceId": id, "PrivateIpAddress": address, "SubnetId": subnet, "VpcId": "vpc-1",
        "PrivateIpAddresses": [{"Primary": true, "PrivateIpAddress": address}], "Groups": groups})
}

/// The error must say all of these.
#[track_caller]
pub fn fails<T>(result: Result<T, PolicyError>, parts: &[&str]) {
    let Err(error) = result else { panic!("must be refused") };
    let text = error.to_string();
    parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} is missing in: {text}"));
}
