//! What property tests draw from: policies, settings, directions.

use ctbench::conntrack::{Config, Invalid, Profile, TcpWindow};
use ctbench::packet::{Direction, protocol};
use ctbench::policy::{Rule, RuleSet, World};
use ipnet::IpNet;
use proptest::prelude::*;
use std::net::IpAddr;

/// A peer of the same family as the local end.
pub fn peer(local: IpAddr, n: u8) -> IpAddr {
    match local {
        IpAddr::V4(_) => IpAddr::from([198, 51, 100, n]),
        IpAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 2, 0, 0, 0, 0, u16::from(n)]),
    }
}

pub fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::In), Just(Direction::Out)]
}

fn rule() -> impl Strategy<Value = (Direction, Rule)> {
    let remotes =
        prop::sample::select(vec!["0.0.0.0/0", "198.51.100.1/32", "198.51.100.0/30", "::/0", "2001:db8:2::1/128"]);
    let protocols = prop::sample::select(vec![
        None,
        Some(protocol::TCP),
        Some(protocol::UDP),
        Some(protocol::ICMP),
        Some(protocol::ICMPV6),
        Some(protocol::GRE),
    ]);
    let ports = prop_oneof![
        Just(None),
        Just(Some((22, 22))),
        Just(Some((0, 1023))),
        Just(Some((50_000, 50_001))),
        Just(Some((8 << 8, 8 << 8 | 255)))
    ];
    (direction(), remotes, protocols, ports, prop::bool::weighted(0.8)).prop_map(
        |(direction, remote, protocol, ports, allow)| {
            let remote: IpNet = remote.parse().unwrap();
            (direction, Rule { remote, protocol, ports, allow, name: "r".into() })
        },
    )
}

pub fn rules(world: World) -> impl Strategy<Value = RuleSet> {
    prop::collection::vec(rule(), 0..8).prop_map(move |list| {
        let mut set = RuleSet::new(world);
        for (direction, mut rule) in list {
            rule.allow |= world == World::SecurityGroups;
            set.push(direction, rule);
        }
        set
    })
}

pub fn config() -> impl Strategy<Value = Config> {
    let windows = prop_oneof![3 => Just(TcpWindow::Strict), 1 => Just(TcpWindow::Liberal), 1 => Just(TcpWindow::Off)];
    let profiles = prop_oneof![Just(Profile::Linux), Just(Profile::Aws)];
    let invalid = prop_oneof![3 => Just(Invalid::Drop), 1 => Just(Invalid::Rules)];
    (profiles, windows, invalid, prop::bool::weighted(0.8), prop::bool::weighted(0.2)).prop_map(
        |(profile, tcp_window, invalid, loose, ignore_invalid_rst)| Config {
            tcp_window,
            invalid,
            loose,
            ignore_invalid_rst,
            ..Config::new(profile)
        },
    )
}
