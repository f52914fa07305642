//! Timeouts are exact in packet time: a reply one nanosecond before the deadline belongs to the
//! connection, one at the deadline does not; for every protocol and TCP state, on any number of cores,
//! whatever the timestamps do. Seconds: Documentation/networking/nf_conntrack-sysctl.rst; profile
//! `aws`: EC2 user guide, "Security group connection tracking".

mod common;

use common::facts::{facts, open_groups, trace_of};
use common::*;
use ctbench::conntrack::{Config, MAX_TIME_NS, MAX_TIMEOUT_S, Profile};
use ctbench::engine::State::{self, Established, New};
use ctbench::packet::{Direction, Packet, protocol};
use tempfile::tempdir;

const OPEN: &str = "> S 1000 = new\n < SA 5000 ack 1001 = est\n > A 1001 ack 5001 = est\n";

/// A timer: its name, seconds by default, how a connection gets there, and a reply that belongs to it.
struct Timer {
    name: &'static str,
    seconds: u64,
    by: &'static str,
    reply: &'static str,
    /// What the reply is when it comes too late.
    late: &'static str,
}

const fn timer(name: &'static str, seconds: u64, by: &'static str, reply: &'static str, late: &'static str) -> Timer {
    Timer { name, seconds, by, reply, late }
}

/// Those after the handshake stand in `CLOSING`.
const TIMERS: &[Timer] = &[
    timer("tcp_syn_sent", 120, "> S 1000 = new", "< SA 5000 ack 1001", "inv"),
    timer("tcp_syn_sent2", 120, "> S 1000 = new\n < S 5000 = est\n > S 1000 = est", "< SA 5000 ack 1001", "inv"),
    timer("tcp_syn_recv", 60, "> S 1000 = new\n < SA 5000 ack 1001 = est", "< PA 5001+1 ack 1001", "new"),
    timer("udp", 30, "> udp = new", "< udp", "new"),
    timer("udp_stream", 120, "> udp = new\n < udp = est\n +3 > udp = est", "< udp", "new"),
    timer("icmp", 30, "ipv4\n > echo 7 = new", "< echo-reply 7", "inv"),
    timer("icmpv6", 30, "ipv6\n > echo 7 = new", "< echo-reply 7", "inv"),
    timer("gre", 30, "> proto 47 = new", "< proto 47", "new"),
    timer("gre_stream", 180, "> proto 47 = new\n < proto 47 = est\n > proto 47 = est", "< proto 47", "new"),
    timer("other", 600, "> proto 50 = new", "< proto 50", "new"),
];

const CLOSING: &[Timer] = &[
    timer("tcp_established", 432_000, "", "< A 5001 ack 1001", "new"),
    timer("tcp_fin_wait", 120, "> FA 1001 ack 5001 = est", "< A 5001 ack 1002", "new"),
    timer("tcp_close_wait", 60, "> FA 1001 ack 5001 = est\n < A 5001 ack 1002 = est", "< PA 5001+9 ack 1002", "new"),
    timer("tcp_last_ack", 30, "> FA 1001 ack 5001 = est\n < FA 5001 ack 1002 = est", "< A 5002 ack 1002", "new"),
    timer(
        "tcp_time_wait",
        120,
        "> FA 1001 ack 5001 = est\n < FA 5001 ack 1002 = est\n > A 1002 ack 5002 = est",
        "< FA 5001 ack 1002",
        "inv",
    ),
    timer("tcp_close", 10, "> R 1001 = est", "< A 5001 ack 1001", "new"),
    // Caps on the timer of an established connection.
    timer("tcp_unacknowledged", 300, "> PA 1001+10 ack 5001 = est", "< A 5001 ack 1011", "new"),
    timer(
        "tcp_max_retrans",
        300,
        "> A 1000 ack 5001 = est\n > A 1000 ack 5001 = est\n > A 1000 ack 5001 = est\n > A 1000 ack 5001 = est",
        "< A 5001 ack 1001",
        "new",
    ),
];

/// The reply one nanosecond early, on time and one late.
fn is_exact(settings: &str, timer: &Timer, opening: &str, seconds: u64) {
    let Timer { by, reply, late, .. } = timer;
    let early = seconds - 1;
    facts(&format!("{settings}\n{opening}{by}\n +{early}.999999999 {reply} = est"));
    facts(&format!("{settings}\n{opening}{by}\n +{seconds} {reply} = {late}"));
    facts(&format!("{settings}\n{opening}{by}\n +{seconds}.000000001 {reply} = {late}"));
}

fn all_timers() -> impl Iterator<Item = (&'static Timer, &'static str)> {
    TIMERS.iter().map(|timer| (timer, "")).chain(CLOSING.iter().map(|timer| (timer, OPEN)))
}

#[test]
fn every_timer_of_profile_linux() {
    all_timers().for_each(|(timer, opening)| is_exact("", timer, opening, timer.seconds));
}

/// AWS documents 432,000, 30, 180 and 600 s; what it does not is as in Linux.
#[test]
fn every_timer_of_profile_aws() {
    for (timer, opening) in all_timers() {
        let seconds = if timer.name == "udp_stream" { 180 } else { timer.seconds };
        is_exact("set profile=aws", timer, opening, seconds);
    }
}

/// Each set to a number of its own, and no other timer takes it up.
#[test]
fn every_timer_can_be_set() {
    for (n, (timer, opening)) in all_timers().enumerate() {
        let seconds = 11 + n as u64;
        is_exact(&format!("set {}={seconds}", timer.name), timer, opening, seconds);
    }
    // EC2 user guide: 350 s on Nitro v6 instances.
    is_exact("set profile=aws tcp_established=350", &CLOSING[0], OPEN, 350);
}

/// A cap does not lengthen: the shorter of the two counts.
#[test]
fn caps_are_caps() {
    facts(&format!("set tcp_established=100\n{OPEN} > PA 1001+10 ack 5001 = est ESTABLISHED 100"));
    facts(&format!("set tcp_fin_wait=500\n{OPEN} > FPA 1001+10 ack 5001 = est FIN_WAIT 300"));
    facts("set tcp_established=100\n > A 1 ack 1 = new ESTABLISHED 100");
    facts(&format!("set tcp_close=500\n{OPEN} > R 1001 = est CLOSE 500"));
}

/// The label of each UDP datagram of a capture: times in ns, `>` from outside or `<`, client port.
fn labels(datagrams: &[(u64, char, u16)]) -> Vec<State> {
    let frames: Vec<(u64, Vec<u8>)> = datagrams
        .iter()
        .map(|&(time_ns, way, port)| {
            let (client, server) = ((CLIENT, port), (SERVER, 53));
            let frame = if way == '>' { udp(client, server, b"?") } else { udp(server, client, b"!") };
            (time_ns, frame)
        })
        .collect();
    let folder = tempdir().unwrap();
    let file = pcap_at(frames.iter().map(|(time_ns, frame)| (*time_ns, frame)), PLAIN);
    let path = write(folder.path(), "trace.pcap", file);
    let mut by_profile = [Profile::Linux, Profile::Aws].map(|profile| {
        let trace = load(&path, INSIDE, profile);
        let workload = workload(trace, Some(open_groups()), None, Config::new(profile), 1000);
        agreed(&workload).iter().map(|decision| decision.state()).collect::<Vec<State>>()
    });
    assert_eq!(by_profile[0], by_profile[1]);
    std::mem::take(&mut by_profile[0])
}

const S: u64 = 1_000_000_000;

/// Packet time is the latest timestamp so far: nothing gets younger.
#[test]
fn timestamps_that_go_back() {
    let found = labels(&[
        (1000 * S, '>', 1),
        (1029 * S, '>', 2),
        (990 * S, '<', 1), // At 1029 s.
        (0, '>', 3),       // The same.
        (1058 * S, '<', 3),
        (1059 * S - 1, '>', 2), // It began at 1029 s ...
        (1059 * S, '>', 1),     // ... and this one's answer came then.
        (1058 * S, '<', 2),     // At 1059 s: its request was repeated just before.
    ]);
    assert_eq!(found, [New, New, Established, New, Established, New, New, Established]);
}

/// A year, and to the end of what a pcap file can state (2106).
#[test]
fn timestamps_that_jump_by_years() {
    let year = 365 * 86_400 * S;
    let last = u64::from(u32::MAX) * S + S - 1;
    let found = labels(&[
        (0, '>', 1),
        (1, '<', 1),
        (year, '>', 1), // Long forgotten.
        (year + S, '<', 1),
        (last, '<', 1), // Again; and begun by the other end.
        (last, '>', 1),
        (2000 * S, '>', 1), // Time stands still from now on.
        (0, '>', 2),
        (last, '<', 2),
    ]);
    use State::Established as Est;
    assert_eq!(found, [New, Est, New, Est, New, Est, Est, New, Est]);
}

/// What is not evaluated does not move the clock: a frame from the future, but of other hosts.
#[test]
fn ignored_frames_do_not_move_the_clock() {
    let stray = udp(([192, 0, 2, 1], 1), ([192, 0, 2, 2], 2), b"");
    let (there, back) = (udp((CLIENT, 1), (SERVER, 53), b"?"), udp((SERVER, 53), (CLIENT, 1), b"!"));
    let folder = tempdir().unwrap();
    let file = pcap_at([(1000 * S, &there), (9000 * S, &stray), (1029 * S, &back)], PLAIN);
    let trace = load(&write(folder.path(), "trace.pcap", file), INSIDE, Profile::Linux);
    let workload = workload(trace, Some(open_groups()), None, Config::new(Profile::Linux), 1000);
    let found: Vec<State> = agreed(&workload).iter().map(|decision| decision.state()).collect();
    assert_eq!(found, [New, Established]);
}

/// The longest timeout at the latest time: deadlines do not wrap.
#[test]
fn the_longest_timeout_at_the_latest_time() {
    let mut config = Config::new(Profile::Linux);
    config.timeouts.other = MAX_TIMEOUT_S;
    let packet = |direction, time_ns| {
        let (local, remote) = ("10.0.1.10".parse().unwrap(), "198.51.100.7".parse().unwrap());
        Packet::new(local, remote, direction, protocol::GRE + 3, time_ns)
    };
    let begin = MAX_TIME_NS - MAX_TIMEOUT_S * S;
    for (second, label) in [(MAX_TIME_NS - 1, Established), (MAX_TIME_NS, New)] {
        let trace = trace_of([packet(Direction::In, begin), packet(Direction::Out, second)]);
        let workload = workload(trace, Some(open_groups()), None, config.clone(), 1000);
        assert_eq!(agreed(&workload)[1].state(), label);
    }
    let trace = trace_of([packet(Direction::In, MAX_TIME_NS - 1), packet(Direction::Out, MAX_TIME_NS)]);
    let workload = workload(trace, Some(open_groups()), None, config, 1000);
    assert_eq!(agreed(&workload)[1].state(), Established);
}
