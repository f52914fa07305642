//! Inputs for scale tests: made-up rules, ClassBench filter sets and header traces.

mod common;

use common::*;
use ctbench::conntrack::{Config, Profile};
use ctbench::packet::{Direction, Inside, protocol};
use ctbench::policy::{LoadOptions, PolicyError, RuleSet, load_network_acl, load_security_groups, synthetic};
use ctbench::trace::{Capture, Trace, TraceError};
use proptest::prelude::*;
use tempfile::tempdir;

#[test]
fn made_up_rules_read_back_and_repeat() {
    let folder = tempdir().unwrap();
    for count in [1, 2, 7, 300, 5_000] {
        let groups = synthetic::security_groups(count, 3);
        let acl = synthetic::network_acl(count, 3).unwrap();
        assert_eq!(groups, synthetic::security_groups(count, 3));
        assert_eq!(acl, synthetic::network_acl(count, 3).unwrap());
        assert!(count == 1 || groups != synthetic::security_groups(count, 4));
        let options = LoadOptions::default();
        let loaded = load_security_groups(&write(folder.path(), "sg.json", groups.to_string()), &options).unwrap();
        assert_eq!(loaded.rules.len(), count);
        let loaded = load_network_acl(&write(folder.path(), "acl.json", acl.to_string()), &options).unwrap();
        // The final denies are the implicit ones, no rules.
        assert_eq!(loaded.rules.len(), count);
    }
}

#[test]
fn the_largest_sets_fit() {
    let groups = synthetic::security_groups(synthetic::MOST_RULES, 1);
    let permissions = |group: &serde_json::Value, list: &str| -> usize {
        let ranges = |p: &serde_json::Value, key: &str| p[key].as_array().unwrap().len();
        group[list].as_array().unwrap().iter().map(|p| ranges(p, "IpRanges") + ranges(p, "Ipv6Ranges")).sum()
    };
    for group in groups["SecurityGroups"].as_array().unwrap() {
        assert!(permissions(group, "IpPermissions") <= 60 && permissions(group, "IpPermissionsEgress") <= 60);
    }
    let acl = synthetic::network_acl(synthetic::MOST_ACL_RULES, 1).unwrap();
    let folder = tempdir().unwrap();
    let path = write(folder.path(), "acl.json", acl.to_string());
    assert_eq!(load_network_acl(&path, &LoadOptions::default()).unwrap().rules.len(), synthetic::MOST_ACL_RULES);
    assert!(synthetic::network_acl(synthetic::MOST_ACL_RULES + 1, 1).is_none());
}

/// The first lines of one seed, on every machine.
#[test]
fn a_seed_names_its_rules() {
    let lines: Vec<String> = synthetic::lines(4, 1)
        .iter()
        .map(|line| format!("{} {:?} {:?}", line.remote, line.protocol, line.ports))
        .collect();
    insta::assert_debug_snapshot!(lines);
}

const FILTERS: &str = "\
@175.77.88.155/32\t119.106.158.230/32\t0 : 65535\t1521 : 1521\t0x06/0xFF\t0x0000/0x0200
@10.1.2.3/8\t0.0.0.0/0\t1024 : 65535\t0 : 65535\t0x11/0xFF\t0x0000/0x0000

@0.0.0.0/0\t192.0.2.0/24\t0 : 65535\t53:53\t0x00/0x00
@2001:db8::/32\t::/0\t0 : 65535\t0 : 65535\t0x3A/0xFF\t0x0000/0x0000
";

fn listed(rules: &RuleSet, direction: Direction) -> Vec<String> {
    let line = |(_, rule): (u32, &ctbench::policy::Rule)| {
        assert!(rule.allow);
        format!("{} {:?} {:?} {}", rule.remote, rule.protocol, rule.ports, rule.name)
    };
    rules.rules(direction).map(line).collect()
}

#[test]
fn a_filter_set_is_rules_for_both_worlds() {
    let folder = tempdir().unwrap();
    let path = write(folder.path(), "acl1", FILTERS);
    let options = LoadOptions::default();
    for loaded in [load_security_groups(&path, &options).unwrap(), load_network_acl(&path, &options).unwrap()] {
        assert_eq!(
            listed(&loaded.rules, Direction::In),
            [
                "175.77.88.155/32 Some(6) Some((1521, 1521)) filter:1",
                "10.0.0.0/8 Some(17) None filter:2",
                "0.0.0.0/0 Some(6) Some((53, 53)) filter:3",
                "0.0.0.0/0 Some(17) Some((53, 53)) filter:3",
                "2001:db8::/32 Some(58) None filter:4",
            ]
        );
        assert_eq!(
            listed(&loaded.rules, Direction::Out),
            [
                "119.106.158.230/32 Some(6) Some((1521, 1521)) filter:1",
                "0.0.0.0/0 Some(17) None filter:2",
                "192.0.2.0/24 Some(6) Some((53, 53)) filter:3",
                "192.0.2.0/24 Some(17) Some((53, 53)) filter:3",
                "::/0 Some(58) None filter:4",
            ]
        );
        let [ends, ports, flags] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
        assert!(ends.contains("1 of 4 filters are wider than written: they name both ends"), "{ends}");
        assert!(ports.contains("1 of 4") && ports.contains("source ports"), "{ports}");
        assert!(flags.contains("1 of 4") && flags.contains("TCP flags"), "{flags}");
    }
}

#[test]
fn what_is_wrong_with_a_filter_is_named() {
    let folder = tempdir().unwrap();
    let good = FILTERS.lines().next().unwrap();
    for (bad, field, allowed) in [
        (good.replace("/32\t119", "/33\t119"), "source", "an address and a length"),
        (good.replace("119.106.158.230/32", "::/0"), "destination", "address family"),
        (good.replace("0 : 65535", "0 : 70000"), "source ports", "0 to 65535"),
        (good.replace("1521 : 1521", "1522 : 1521"), "destination ports", "the lower first"),
        (good.replace("0x06/0xFF", "6"), "protocol", "hexadecimal"),
        (good.replace("0x06/0xFF", "0x06/0x0F"), "protocol", "0xFF"),
        (format!("{good} more"), "end of line", "nothing"),
        ("10.0.0.0/8".into(), "filter", "begins with @"),
        ("@10.0.0.0/8".into(), "destination", "an address"),
    ] {
        let path = write(folder.path(), "filters", format!("{good}\n{bad}\n"));
        let error = load_network_acl(&path, &LoadOptions::default()).unwrap_err();
        assert!(matches!(error, PolicyError::Filter { line: 2, .. }), "{error}");
        let text = error.to_string();
        for part in ["filters: line 2:", field, allowed] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

const HEADERS: &str = "\
2940033179\t2003476198\t40000\t1521\t6\t0\t1
167838211\t3221225985\t1024\t53\t17\t2
167838211\t3221225985\t0\t0\t1\t0\t4
167838211\t3221225985\t0\t0\t47\t0\t4
";

#[test]
fn a_header_trace_is_a_capture() {
    let folder = tempdir().unwrap();
    let path = write(folder.path(), "headers_trace", HEADERS);
    let capture = Capture::open(&path).unwrap();
    assert!(capture.is_header_trace());
    let frames = capture.frames().unwrap();
    let trace = Trace::sequence(&frames, frames.decode(&Inside::destinations()), Profile::Linux);
    assert_eq!(trace.ignored, []);
    let [tcp, udp, icmp, gre] = &trace.packets[..] else { panic!("{:?}", trace.packets) };
    assert_eq!((tcp.remote_addr(), tcp.local_addr()), ([175, 61, 88, 155].into(), [119, 106, 158, 230].into()));
    assert_eq!((tcp.remote_port, tcp.local_port, tcp.tcp_flags()), (40_000, 1521, 2));
    assert_eq!((udp.remote_port, udp.local_port, udp.protocol), (1024, 53, protocol::UDP));
    assert_eq!([icmp.protocol, gre.protocol], [protocol::ICMP, protocol::GRE]);
    assert!(trace.packets.iter().all(|packet| packet.direction() == Direction::In));
    // With protected addresses, they give the direction.
    let decoded = frames.decode(&Inside::new(&["192.0.2.1/32".parse().unwrap()]));
    let trace = Trace::sequence(&frames, decoded, Profile::Linux);
    assert_eq!(trace.packets.len() + trace.ignored.len(), 4);
    drop(frames);

    // Filters and headers, through every engine.
    let filters = write(folder.path(), "filters", FILTERS);
    let options = LoadOptions::default();
    let groups = load_security_groups(&filters, &options).unwrap().rules;
    let acl = load_network_acl(&filters, &options).unwrap().rules;
    let frames = capture.frames().unwrap();
    let trace = Trace::sequence(&frames, frames.decode(&Inside::destinations()), Profile::Linux);
    let workload = workload(trace, Some(groups), Some(acl), Config::new(Profile::Linux), 1000);
    assert_eq!(verdicts(&workload, false), verdicts(&workload, true));
}

#[test]
fn a_header_trace_names_its_bad_line() {
    let folder = tempdir().unwrap();
    let good = HEADERS.lines().next().unwrap();
    for (bad, problem) in [
        ("1 2 3", "all in decimal"),
        ("1 2 70000 3 6 0 1", "at most 65535"),
        ("1 2 3 4 256 0 1", "at most 255"),
        ("1 2 3 4 5 6 7 8", "all in decimal"),
    ] {
        let path = write(folder.path(), "trace", format!("{good}\n{bad}\n"));
        let error = Capture::open(&path).err().unwrap();
        assert!(matches!(error, TraceError::HeaderLine { line: 2, .. }), "{error}");
        assert!(error.to_string().contains(problem), "{error}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(
        filter in "@[0-9a-f.:/ x\t]{0,80}\n?[@0-9a-f.:/ x\t]{0,80}",
        headers in "([0-9]{1,6}[ \t]){5}[0-9]{1,3}\n[0-9 \t\n]{0,60}",
    ) {
        let folder = tempdir().unwrap();
        let _ = load_network_acl(&write(folder.path(), "filters", filter), &LoadOptions::default());
        if let Ok(capture) = Capture::open(&write(folder.path(), "headers", headers)) {
            let frames = capture.frames().unwrap();
            let trace = Trace::sequence(&frames, frames.decode(&Inside::destinations()), Profile::Linux);
            prop_assert_eq!(trace.packets.len() + trace.ignored.len(), frames.list().len());
        }
    }
}
