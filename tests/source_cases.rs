//! The questions that the project began with, each as a capture made by code and replayed through
//! every engine.

mod common;

use common::*;
use ctbench::conntrack::{Config, Profile};
use ctbench::engine::Verdict::{self, Accept, Drop};
use ctbench::policy::{LoadOptions, load_network_acl, load_security_groups};
use tempfile::tempdir;

const EPHEMERAL: u16 = 51_334;

/// Verdicts under security groups, the same from every stateful engine and under both profiles.
fn stateful(frames: &[Vec<u8>], groups: &str) -> Vec<Verdict> {
    let folder = tempdir().unwrap();
    let pcap = write(folder.path(), "trace.pcap", pcap(frames, PLAIN));
    let policy = write(folder.path(), "sg.json", groups);
    let rules = load_security_groups(&policy, &LoadOptions::default()).unwrap().rules;
    let by_profile = [Profile::Linux, Profile::Aws].map(|profile| {
        let trace = load(&pcap, INSIDE, profile);
        verdicts(&workload(trace, Some(rules.clone()), None, Config::new(profile), 1000), true)
    });
    assert_eq!(by_profile[0], by_profile[1]);
    by_profile[0].clone()
}

/// Verdicts under a network ACL.
fn stateless(frames: &[Vec<u8>], acl: &str) -> Vec<Verdict> {
    let folder = tempdir().unwrap();
    let pcap = write(folder.path(), "trace.pcap", pcap(frames, PLAIN));
    let policy = write(folder.path(), "acl.json", acl);
    let rules = load_network_acl(&policy, &LoadOptions::default()).unwrap().rules;
    let trace = load(&pcap, INSIDE, Profile::Linux);
    verdicts(&workload(trace, None, Some(rules), Config::new(Profile::Linux), 1000), false)
}

/// A visit to the web server, then a connection that the server itself tries to open.
fn web_visit_and_outbound() -> (Vec<Vec<u8>>, usize) {
    let mut frames = connection((CLIENT, EPHEMERAL), (SERVER, 80));
    let visit = frames.len();
    frames.push(tcp((SERVER, 40_000), (CLIENT, 443), "S", 1, 0, b""));
    (frames, visit)
}

#[test]
fn a_group_with_inbound_80_passes_request_and_response_but_nothing_new_outbound() {
    let (frames, visit) = web_visit_and_outbound();
    let verdicts = stateful(&frames, &security_groups(&[("tcp", 80, 80, "0.0.0.0/0")], &[]));
    assert_eq!(verdicts[..visit], vec![Accept; visit]);
    assert_eq!(verdicts[visit..], [Drop]);
}

#[test]
fn b_acl_with_only_the_inbound_rule_drops_the_response() {
    let frames = connection((CLIENT, EPHEMERAL), (SERVER, 80));
    let verdicts = stateless(&frames, &network_acl(&[(false, 100, true, "6", 80, 80)]));
    assert_eq!(verdicts, [Accept, Drop, Accept, Accept, Drop, Accept, Accept, Drop, Accept]);
}

#[test]
fn c_only_outbound_group_rules_drop_an_inbound_ssh_syn() {
    let frames = [tcp((CLIENT, EPHEMERAL), (SERVER, 22), "S", 1, 0, b"")];
    let verdicts = stateful(&frames, &security_groups(&[], &[("tcp", 0, 65_535, "0.0.0.0/0")]));
    assert_eq!(verdicts, [Drop]);
}

#[test]
fn d_acl_with_80_both_ways_still_drops_the_response_until_the_ephemeral_ports_are_open() {
    let frames = connection((CLIENT, EPHEMERAL), (SERVER, 80));
    let both = [(false, 100, true, "6", 80, 80), (true, 100, true, "6", 80, 80)];
    let verdicts = stateless(&frames, &network_acl(&both));
    assert_eq!(verdicts, [Accept, Drop, Accept, Accept, Drop, Accept, Accept, Drop, Accept]);
    let mended = [both[0], both[1], (true, 110, true, "6", 1024, 65_535)];
    let verdicts = stateless(&frames, &network_acl(&mended));
    assert_eq!(verdicts, vec![Accept; frames.len()]);
}

#[test]
fn e_group_with_inbound_22_passes_an_ssh_session_both_ways() {
    let frames = connection((CLIENT, EPHEMERAL), (SERVER, 22));
    let verdicts = stateful(&frames, &security_groups(&[("tcp", 22, 22, "0.0.0.0/0")], &[]));
    assert_eq!(verdicts, vec![Accept; frames.len()]);
}
