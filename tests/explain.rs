//! What `explain` says: its counts are the reference's, its sentences name the rule and the field.

mod common;

use common::strategies::{config, rules};
use common::*;
use ctbench::conntrack::{Config, Profile};
use ctbench::engine::{Reason, Verdict};
use ctbench::explain::{Explanation, Tracking, index};
use ctbench::packet::{Direction, protocol};
use ctbench::policy::quota::quotas;
use ctbench::policy::{LoadOptions, Rule, RuleSet, Unresolved, World, load_network_acl, load_security_groups};
use ctbench::replay::Workload;
use ctbench::trace::Trace;
use ctbench::verify::{Judge, Tally};
use proptest::prelude::*;
use serde_json::json;

fn traced(frames: &[(u64, Vec<u8>)]) -> Trace {
    let folder = tempfile::tempdir().unwrap();
    let file = pcap_at(frames.iter().map(|(time_ns, frame)| (*time_ns, frame)), PLAIN);
    load(&write(folder.path(), "t.pcap", file), INSIDE, Profile::Aws)
}

const SECOND: u64 = 1_000_000_000;

/// UDP between client and server at these seconds: `true` from the client.
fn talk(service: u16, client_port: u16, at: &[(u64, bool)]) -> Vec<(u64, Vec<u8>)> {
    let ends = ((CLIENT, client_port), (SERVER, service));
    let one = |(seconds, asks): &(u64, bool)| {
        let (from, to) = if *asks { ends } else { (ends.1, ends.0) };
        (1_000 * SECOND + seconds * SECOND, udp(from, to, b"?"))
    };
    at.iter().map(one).collect()
}

fn groups(remote: &str, number: u8, port: u16) -> RuleSet {
    let mut set = RuleSet::new(World::SecurityGroups);
    let remote = remote.parse().unwrap();
    let name = "rule:sg-1#1".into();
    set.push(Direction::In, Rule { remote, protocol: Some(number), ports: Some((port, port)), allow: true, name });
    set
}

fn web_workload() -> Workload {
    let folder = tempfile::tempdir().unwrap();
    let sg = write(
        folder.path(),
        "sg.json",
        security_groups(&[("tcp", 80, 80, "0.0.0.0/0"), ("udp", 53, 53, "0.0.0.0/0")], &[]),
    );
    let entries =
        [(false, 100, true, "6", 80, 80), (false, 90, false, "17", 53, 53), (true, 100, true, "6", 1024, 40_000)];
    let acl = write(folder.path(), "acl.json", network_acl(&entries));
    let options = LoadOptions::default();
    let mut frames: Vec<_> =
        (0..).zip(connection((CLIENT, 51_334), (SERVER, 80))).map(|(i, f)| (SECOND * (1_000 + i), f)).collect();
    frames.extend(talk(53, 5353, &[(20, true)]));
    let groups = load_security_groups(&sg, &options).unwrap().rules;
    let acl = load_network_acl(&acl, &options).unwrap().rules;
    workload(traced(&frames), Some(groups), Some(acl), Config::new(Profile::Linux), 64)
}

#[test]
fn a_lost_reply_reads_as_one_would_say_it() {
    let workload = web_workload();
    let explanation = Explanation::new(&workload, &Judge::new(&workload));
    assert_eq!(explanation.flows.len(), 2);
    let flow = &explanation.flows[0];
    let lost = flow.met.iter().find(|met| met.differs()).unwrap();
    assert_eq!(
        explanation.sentence(flow, lost),
        "reply to 198.51.100.7:51334 dropped: no outbound ACL rule for destination port 51334; a stateful group would pass it"
    );
    let by_service = explanation.lost_replies();
    assert_eq!(by_service.len(), 1);
    assert_eq!((by_service[0].service, by_service[0].packets, by_service[0].flows), (80, 3, 1));
    assert_eq!((by_service[0].low, by_service[0].high), (51_334, 51_334));
    // The rule that denies is named with its place.
    let flow = &explanation.flows[1];
    let sentence = explanation.sentence(flow, &flow.met[0]);
    assert!(
        sentence.starts_with("request from 198.51.100.7:5353 to port 53 dropped: denied by acl:90 ("),
        "{sentence}"
    );
    assert!(sentence.contains("acl.json: NetworkAcls[0].Entries[1])"), "{sentence}");
    assert!(
        sentence.contains("accepts it by rule:sg-1#2 (") && sentence.contains("IpPermissions[1].IpRanges[0]"),
        "{sentence}"
    );
}

#[test]
fn hits_and_unused_rules_are_counted() {
    let workload = web_workload();
    let explanation = Explanation::new(&workload, &Judge::new(&workload));
    let uses = |world: World| -> Vec<(String, u64, u64, u64)> {
        let rules = &explanation.rules[index(world)];
        rules.iter().map(|rule| (rule.rule.clone(), rule.packets, rule.flows, rule.tracked)).collect()
    };
    let line = |name: &str, packets, flows, tracked| (name.to_owned(), packets, flows, tracked);
    assert_eq!(uses(World::SecurityGroups), [line("rule:sg-1#1", 1, 1, 8), line("rule:sg-1#2", 1, 1, 0)]);
    assert_eq!(uses(World::NetworkAcl), [line("acl:90", 1, 1, 0), line("acl:100", 6, 1, 0), line("acl:100", 0, 0, 0)]);
}

#[test]
fn a_field_on_which_no_rule_fits_is_named() {
    let say = |rules: RuleSet| {
        let workload =
            workload(traced(&talk(53, 5353, &[(0, true)])), Some(rules), None, Config::new(Profile::Aws), 64);
        let explanation = Explanation::new(&workload, &Judge::new(&workload));
        explanation.sentence(&explanation.flows[0], &explanation.flows[0].met[0])
    };
    let start = "request from 198.51.100.7:5353 to port 53 dropped: no inbound security group rule";
    assert_eq!(say(groups("0.0.0.0/0", protocol::UDP, 54)), format!("{start} for destination port 53"));
    assert_eq!(
        say(groups("192.0.2.0/24", protocol::UDP, 53)),
        format!("{start} for destination port 53 covers 198.51.100.7")
    );
    assert_eq!(say(groups("0.0.0.0/0", protocol::TCP, 53)), format!("{start} for UDP"));
    assert_eq!(say(groups("::/0", protocol::UDP, 53)), format!("{start} for IPv4 at all"));
}

#[test]
fn peak_and_first_refused_packet() {
    // Four clients at once, the first two again after their entries expired (30 s).
    let mut frames = Vec::new();
    for (i, port) in [1001, 1002, 1003, 1004].into_iter().enumerate() {
        frames.extend(talk(53, port, &[(i as u64, true)]));
    }
    frames.extend(talk(53, 1001, &[(100, true)]));
    let tracking = |allowance| {
        let settings = Config { allowance, ..Config::new(Profile::Aws) };
        let workload = workload(traced(&frames), Some(groups("0.0.0.0/0", protocol::UDP, 53)), None, settings, 64);
        let decisions = workload.reference(true).unwrap();
        Tracking::of(&workload, &decisions).unwrap()
    };
    let free = tracking(0);
    assert_eq!((free.peak.entries, free.refused_packets, free.first_refused.is_some()), (4, 0, false));
    assert_eq!((free.tracked_flows, free.untracked_flows, free.refused_flows), (4, 0, 0));
    let tight = tracking(2);
    assert_eq!((tight.peak.entries, tight.refused_packets), (2, 2));
    assert_eq!(tight.peak_without_allowance.unwrap().entries, 4);
    assert_eq!(tight.first_refused.unwrap().packet, 3);
    assert_eq!(tight.refused_flows, 2);
}

#[test]
fn idle_timeouts_that_would_break_a_flow() {
    // The server speaks after 100 s: with a 60 s timer no rule lets that out. The client does in the second flow.
    let silent = |port, asks| talk(53, port, &[(0, true), (1, false), (3, true), (5, false), (105, asks)]);
    let mut frames = [silent(1001, false), silent(1002, true)].concat();
    frames.sort_by_key(|(time_ns, _)| *time_ns);
    let workload =
        workload(traced(&frames), Some(groups("0.0.0.0/0", protocol::UDP, 53)), None, Config::new(Profile::Aws), 64);
    let tracking = Tracking::of(&workload, &workload.reference(true).unwrap()).unwrap();
    let udp: Vec<_> =
        tracking.idle.iter().filter(|idle| idle.protocol == "UDP").map(|i| (i.seconds, i.flows, i.broken)).collect();
    assert_eq!(udp, [(30, 2, 1), (60, 2, 1), (180, 0, 0)]);
    assert!(tracking.idle.iter().filter(|idle| idle.protocol == "TCP").all(|idle| idle.flows == 0));
}

#[test]
fn untracked_and_automatically_tracked_flows() {
    let mut rules = groups("0.0.0.0/0", protocol::UDP, 53);
    let everyone = "0.0.0.0/0".parse().unwrap();
    rules.push(Direction::Out, Rule { remote: everyone, protocol: None, ports: None, allow: true, name: "all".into() });
    let frames = talk(53, 1001, &[(0, true), (1, false)]);
    let counts = |settings: Config| {
        let workload = workload(traced(&frames), Some(rules.clone()), None, settings, 64);
        let tracking = Tracking::of(&workload, &workload.reference(true).unwrap()).unwrap();
        (
            tracking.tracked_flows,
            tracking.automatically_tracked_flows,
            tracking.untracked_flows,
            tracking.untracked_under_aws,
        )
    };
    let auto_tracked = vec!["198.51.100.0/24".parse().unwrap()];
    assert_eq!(counts(Config::new(Profile::Aws)), (0, 0, 1, None));
    assert_eq!(counts(Config { auto_tracked, ..Config::new(Profile::Aws) }), (1, 1, 0, None));
    assert_eq!(counts(Config::new(Profile::Linux)), (1, 0, 0, Some(1)));
}

#[test]
fn quotas_count_references_and_the_final_deny() {
    let folder = tempfile::tempdir().unwrap();
    let permission = json!({
        "IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "10.0.0.0/8"}, {"CidrIp": "192.0.2.0/24"}],
        "Ipv6Ranges": [{"CidrIpv6": "::/0"}], "PrefixListIds": [{"PrefixListId": "pl-1"}], "UserIdGroupPairs": [{"GroupId": "sg-2"}],
    });
    let file =
        json!({"SecurityGroups": [{"GroupId": "sg-1", "IpPermissions": [permission], "IpPermissionsEgress": []}]});
    let path = write(folder.path(), "sg.json", file.to_string());
    let options = LoadOptions { unresolved: Unresolved::Warn, ..LoadOptions::default() };
    let used: Vec<_> = quotas(&load_security_groups(&path, &options).unwrap().rules, None)
        .into_iter()
        .map(|q| (q.used, q.quota, q.unknown_lists))
        .collect();
    // IPv4: two blocks, a group, a list of unknown size. IPv6: one block and the group. One group; 1 x 4.
    assert_eq!(used, [(4, 60, 1), (2, 60, 0), (1, 5, 0), (4, 1_000, 0)]);
    let entries: Vec<_> = (1..=20).map(|n| (false, n, true, "6", 80, 80)).collect();
    let acl = write(folder.path(), "acl.json", network_acl(&entries));
    let over = quotas(&load_network_acl(&acl, &LoadOptions::default()).unwrap().rules, None);
    assert_eq!((over.len(), over[0].used, over[0].quota, over[0].is_over()), (1, 21, 20, true));
}

/// Requests and answers of a few UDP flows, in any order.
fn traces() -> impl Strategy<Value = Vec<(u64, Vec<u8>)>> {
    let one = (0u64..20, any::<bool>(), prop::sample::select(vec![22u16, 53, 50_000]), 1001u16..1004);
    prop::collection::vec(one, 1..60).prop_map(|list| {
        let mut now = 0;
        let one = |(wait, asks, service, client)| {
            now += wait;
            talk(service, client, &[(now, asks)])
        };
        list.into_iter().flat_map(one).collect()
    })
}

proptest! {
    /// Packets and flows add up, to what `verify` counts.
    #[test]
    fn counts_are_the_references(frames in traces(), sg in rules(World::SecurityGroups), acl in rules(World::NetworkAcl), settings in config()) {
        let workload = workload(traced(&frames), Some(sg), Some(acl), settings, 1024);
        let judge = Judge::new(&workload);
        let explanation = Explanation::new(&workload, &judge);
        for (world, decisions) in [(World::SecurityGroups, &judge.stateful), (World::NetworkAcl, &judge.stateless)] {
            let decisions = decisions.as_ref().unwrap();
            let tally = Tally::of(&workload.trace, decisions);
            let fates = explanation.fates[index(world)].unwrap();
            prop_assert_eq!((fates.accept, fates.drop), (tally.accept, tally.drop));
            prop_assert_eq!(fates.flows_accepted + fates.flows_dropped + fates.flows_in_part, explanation.flows.len() as u64);
            let by_rule = decisions.iter().filter(|d| d.reason() == Reason::Rule).count() as u64;
            prop_assert_eq!(explanation.rules[index(world)].iter().map(|rule| rule.packets).sum::<u64>(), by_rule);
        }
        let (only_groups, only_acl) = judge.differences().unwrap();
        prop_assert_eq!(explanation.differing().1, (only_groups + only_acl) as u64);
        let (a, b) = (judge.stateful.as_ref().unwrap(), judge.stateless.as_ref().unwrap());
        let dropped = a.iter().zip(b).filter(|(a, b)| a.verdict() == Verdict::Drop || b.verdict() == Verdict::Drop).count() as u64;
        prop_assert_eq!(explanation.causes.iter().map(|cause| cause.packets).sum::<u64>(), dropped);
    }
}
