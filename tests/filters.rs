//! `--filter`, as users give it.

use assert_cmd::Command;
#[cfg(feature = "filter")]
use ctbench::trace::Filter;
use std::path::{Path, PathBuf};

fn trace(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("traces").join(name)
}

fn ctbench(arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("ctbench").unwrap().args(arguments).assert()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What `info` counts with and without a filter.
#[cfg(feature = "filter")]
fn info(filter: Option<&str>) -> serde_json::Value {
    let path = trace("web/trace.pcap");
    let mut arguments =
        vec!["info", path.to_str().unwrap(), "--inside", "10.0.1.0/24,2001:db8:1::/64", "--format", "json"];
    arguments.extend(filter.map(|filter| ["--filter", filter]).into_iter().flatten());
    serde_json::from_slice(&ctbench(&arguments).success().get_output().stdout).unwrap()
}

#[test]
#[cfg(feature = "filter")]
fn info_counts_what_is_selected() {
    let all = info(None);
    let count = |info: &serde_json::Value, what: &str| info["protocols"][what].as_u64().unwrap_or(0);
    let udp = info(Some("udp"));
    assert_eq!(count(&udp, "UDP"), count(&all, "UDP"));
    assert_eq!((count(&udp, "TCP"), udp["packets"].as_u64()), (0, udp["protocols"]["UDP"].as_u64()));
    // No flow has packets of both versions of IP. (Of UDP and what is not it has: ICMP errors count with what they quote.)
    let (v6, rest) = (info(Some("ip6")), info(Some("not ip6")));
    let sum = |what: &str| v6[what].as_u64().unwrap() + rest[what].as_u64().unwrap();
    for what in ["packets", "bytes", "evaluated", "flows"] {
        assert_eq!(Some(sum(what)), all[what].as_u64(), "{what}");
    }
    assert_eq!(info(Some("host 233.252.0.1"))["packets"], 0);
}

#[test]
#[cfg(feature = "filter")]
fn every_verb_takes_a_filter() {
    let scenario = trace("web");
    let scenario = scenario.to_str().unwrap();
    for verb in [
        &["verify", scenario, "--filter", "tcp port 443"][..],
        &["replay", scenario, "--engine", "stateless-linear", "--time", "1", "--filter", "tcp port 443"],
        &["explain", scenario, "--filter", "udp"],
        &["derive", scenario, "--filter", "udp"],
    ] {
        ctbench(verb).success();
    }
    let path = trace("web/trace.pcap");
    let recipe = ctbench(&["gen", "--like", path.to_str().unwrap(), "--print", "--filter", "udp port 53"]).success();
    let recipe = text(&recipe.get_output().stdout);
    assert!(recipe.contains("dns") && !recipe.contains("tcp"), "{recipe}");
}

#[test]
#[cfg(feature = "filter")]
fn a_wrong_expression_is_pointed_at() {
    let path = trace("web/trace.pcap");
    let failed = ctbench(&["info", path.to_str().unwrap(), "--filter", "tcp prot 80"]).failure().code(2);
    let message = text(&failed.get_output().stderr);
    assert!(message.contains("\n    tcp prot 80\n        ^\n"), "{message}");
}

#[test]
#[cfg(feature = "filter")]
fn errors_point_at_the_place() {
    for sound in ["tcp port 443", "", "ip6 and (udp or icmp6)", "tcp[13] & 2 != 0", "vlan 5 and host 10.0.0.1"] {
        sound.parse::<Filter>().unwrap();
    }
    for (wrong, at) in [
        ("tcp prot 80", 4),
        ("tcp and", 7),
        ("host 10.0.0.1 and (udp or )", 26),
        ("port 99999", 5),
        ("tcp port 80)", 11),
        ("net 10.0.0.0/33", 4),
    ] {
        let message = wrong.parse::<Filter>().unwrap_err().to_string();
        assert!(message.ends_with(&format!("\n    {wrong}\n    {:at$}^", "")), "{message}");
    }
}

#[test]
#[cfg(feature = "filter")]
fn each_link_type_has_its_program() {
    let filter: Filter = "udp dst port 53".parse().unwrap();
    let mut matcher = filter.matcher();
    let mut frame = Vec::new();
    etherparse::PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(9, 53).write(&mut frame, &[]).unwrap();
    let ethernet = [&[2; 12][..], &[8, 0], &frame].concat();
    assert!(matcher.selects(&frame, 101) && matcher.selects(&ethernet, 1) && matcher.selects(&frame, 101));
    assert!(!matcher.selects(&frame, 1) && !matcher.selects(&ethernet, 101) && !matcher.selects(&[], 1));
    assert!(!matcher.selects(&frame, 147));
}

#[test]
#[cfg(not(feature = "filter"))]
fn without_the_feature_the_message_says_how_to_get_it() {
    let path = trace("web/trace.pcap");
    let failed = ctbench(&["info", path.to_str().unwrap(), "--filter", "tcp"]).failure().code(2);
    let message = text(&failed.get_output().stderr);
    assert!(message.contains("--features filter") && message.contains("libpcap"), "{message}");
}
