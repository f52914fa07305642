//! What tracking means for this trace: which flows are tracked, how many at once, who is refused, and
//! which idle timeouts would break a flow.

use crate::conntrack::{Config, MAX_TIMEOUT_S, Profile, Timeouts};
use crate::engine::{Decision, Reason, State, Verdict};
use crate::packet::{FlowKey, Inside, Packet, flags, protocol, tcp_flags};
use crate::policy::linear::Linear;
use crate::policy::path::Paths;
use crate::policy::untracked::Untracked;
use crate::policy::{Evaluate, RuleSet};
use crate::replay::{Peak, Workload};
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// Idle times of established TCP connections that AWS documents, in seconds: the shortest that can be
/// set, the default of Nitro v6, the default before (EC2 user guide, "Idle connection tracking timeout").
pub const TCP_IDLE_S: [u64; 3] = [60, 350, 432_000];
/// The same of UDP: the default of one exchange, the longest of it and the shortest of a stream, the
/// default of a stream.
pub const UDP_IDLE_S: [u64; 3] = [30, 60, 180];

/// How the connection table fares with this trace, by the security groups.
#[derive(Clone, Debug, Serialize)]
pub struct Tracking {
    /// "linux" or "aws": only the latter leaves flows untracked.
    pub profile: Profile,
    /// Flows with a packet accepted as part of a connection.
    pub tracked_flows: u64,
    /// Of those: with peers whose flows are tracked whatever the rules (`auto_tracked`).
    pub automatically_tracked_flows: u64,
    /// Flows that pass or fail by rules alone.
    pub untracked_flows: u64,
    /// Flows that neither opened a connection nor were exempt: all their packets were dropped.
    pub refused_flows: u64,
    /// Flows that profile `aws` would leave untracked, where the profile is another.
    pub untracked_under_aws: Option<u64>,
    /// The most connections at one time, under the allowance.
    pub peak: Peak,
    /// The same if there were no allowance, where packets were refused for it.
    pub peak_without_allowance: Option<Peak>,
    /// Connections that the instance may track; `None`: no limit was given.
    pub allowance: Option<u64>,
    /// Packets refused because the allowance or the table was used up.
    pub refused_packets: u64,
    /// The first of them.
    pub first_refused: Option<Refused>,
    /// Idle times, TCP first, shortest first.
    pub idle: Vec<Idle>,
}

/// A packet for which there was no room.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Refused {
    /// Its number in the capture, from 1.
    pub packet: u32,
    /// Its position in the trace.
    #[serde(skip)]
    pub position: u32,
    /// Its time in ns since 1970.
    pub at_ns: u64,
}

/// An idle timeout, and whom it would meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Idle {
    /// "TCP" or "UDP".
    pub protocol: &'static str,
    /// The timeout.
    pub seconds: u64,
    /// Tracked flows that are silent for longer and then go on.
    pub flows: u64,
    /// Of all flows, those that lose a packet when the trace is replayed with this timeout. The others
    /// go on because the rules open them anew.
    pub broken: u64,
    /// The longest silence in seconds among `flows`.
    pub longest_s: u64,
}

impl Tracking {
    /// The facts. `decisions` are the reference's over the security groups, in trace order. `None`
    /// without security groups.
    pub fn of(workload: &Workload, decisions: &[Decision]) -> Option<Tracking> {
        let groups = workload.groups.as_ref()?;
        // Of the first rules: a hint, where the profile tracks everything.
        let leaves = |rules: &RuleSet| Untracked::new(rules).with_auto_tracked(&workload.config.auto_tracked);
        let paths = groups.interfaces_at(0).map(|(_, attached)| Paths::new(attached, 0, Linear::numbered_from, leaves));
        let untracked = leaves(groups.in_force(0));
        let is_untracked = |packet: &Packet| match &paths {
            Some(paths) => paths.is_untracked(packet),
            None => untracked.is_untracked(packet),
        };
        let packets = &workload.trace.packets;
        let config = &workload.config;
        let auto_tracked = Inside::new(&config.auto_tracked);
        let mut flows: HashMap<FlowKey, Seen> = HashMap::new();
        let mut idle: HashMap<FlowKey, Silence> = HashMap::new();
        let (mut refused_packets, mut first_refused) = (0, None);
        for (position, (packet, decision)) in packets.iter().zip(decisions).enumerate() {
            let seen = flows.entry(packet.flow_key()).or_default();
            let accepted = decision.verdict() == Verdict::Accept;
            match decision.state() {
                State::Untracked => seen.untracked = true,
                _ => seen.tracked |= accepted,
            }
            let has_ports = matches!(packet.protocol, protocol::TCP | protocol::UDP);
            seen.automatic |=
                config.profile == Profile::Aws && has_ports && auto_tracked.contains(packet.remote_addr());
            seen.untracked_under_aws |= accepted && is_untracked(packet);
            if matches!(decision.reason(), Reason::AllowanceExceeded | Reason::TableFull) {
                refused_packets += 1;
                first_refused.get_or_insert(Refused {
                    packet: workload.trace.frames[position],
                    position: position as u32,
                    at_ns: packet.time_ns,
                });
            }
            if has_ports && !packet.has(flags::ICMP_ERROR) && decision.state() != State::Untracked {
                idle.entry(packet.flow_key()).or_default().sees(packet);
            }
        }
        let count = |is: fn(&Seen) -> bool| flows.values().filter(|seen| is(seen)).count() as u64;
        let unlimited = Config { allowance: 0, ..config.clone() };
        let over = config.allowance > 0 && refused_packets > 0;
        Some(Tracking {
            profile: config.profile,
            tracked_flows: count(|seen| seen.tracked),
            automatically_tracked_flows: count(|seen| seen.tracked && seen.automatic),
            untracked_flows: count(|seen| seen.untracked && !seen.tracked),
            refused_flows: count(|seen| !seen.untracked && !seen.tracked),
            untracked_under_aws: (config.profile != Profile::Aws).then(|| count(|seen| seen.untracked_under_aws)),
            peak: workload.peak(config).unwrap_or_default(),
            peak_without_allowance: if over { workload.peak(&unlimited) } else { None },
            allowance: (config.allowance > 0).then_some(config.allowance),
            refused_packets,
            first_refused,
            idle: idle_times(workload, &idle),
        })
    }
}

/// What is known of a flow.
#[derive(Default)]
struct Seen {
    tracked: bool,
    untracked: bool,
    automatic: bool,
    untracked_under_aws: bool,
}

/// The longest silence of a flow while it was open.
#[derive(Default)]
struct Silence {
    tcp: bool,
    last_ns: Option<u64>,
    longest_ns: u64,
}

impl Silence {
    fn sees(&mut self, packet: &Packet) {
        let flags = packet.tcp_flags();
        self.tcp = packet.protocol == protocol::TCP;
        let opens = self.tcp && flags & tcp_flags::SYN != 0;
        let closes = self.tcp && flags & (tcp_flags::RST | tcp_flags::FIN) != 0;
        if let Some(last_ns) = self.last_ns.filter(|_| !opens) {
            self.longest_ns = self.longest_ns.max(packet.time_ns - last_ns);
        }
        // What follows a FIN or RST is the end of a connection, which other timers govern.
        self.last_ns = (!closes).then_some(packet.time_ns);
    }
}

fn idle_times(workload: &Workload, flows: &HashMap<FlowKey, Silence>) -> Vec<Idle> {
    let longest = Timeouts {
        tcp_established: MAX_TIMEOUT_S,
        udp: MAX_TIMEOUT_S,
        udp_stream: MAX_TIMEOUT_S,
        ..workload.config.timeouts.clone()
    };
    let tcp = TCP_IDLE_S.map(|seconds| (true, seconds, Timeouts { tcp_established: seconds, ..longest.clone() }));
    let udp =
        UDP_IDLE_S.map(|seconds| (false, seconds, Timeouts { udp: seconds, udp_stream: seconds, ..longest.clone() }));
    let mut patient: Option<Vec<Decision>> = None;
    let under = |timeouts: &Timeouts| {
        workload.reference_under(&Config { timeouts: timeouts.clone(), allowance: 0, ..workload.config.clone() })
    };
    let mut one = |(is_tcp, seconds, timeouts): (bool, u64, Timeouts)| {
        let longer =
            flows.values().filter(|silence| silence.tcp == is_tcp && silence.longest_ns > seconds * 1_000_000_000);
        let (count, longest_ns) = longer.fold((0, 0), |(n, most), silence| (n + 1, most.max(silence.longest_ns)));
        // A replay only where somebody could be met by it.
        let broken = if count == 0 {
            0
        } else {
            if patient.is_none() {
                patient = under(&longest);
            }
            match (&patient, under(&timeouts)) {
                (Some(patient), Some(hasty)) => broken(&workload.trace.packets, patient, &hasty, is_tcp),
                _ => 0,
            }
        };
        let protocol = if is_tcp { "TCP" } else { "UDP" };
        Idle { protocol, seconds, flows: count, broken, longest_s: longest_ns / 1_000_000_000 }
    };
    tcp.into_iter().chain(udp).map(&mut one).collect()
}

/// Flows of a protocol that lose a packet which a patient table would have let pass.
fn broken(packets: &[Packet], patient: &[Decision], hasty: &[Decision], is_tcp: bool) -> u64 {
    let wanted = if is_tcp { protocol::TCP } else { protocol::UDP };
    let lost = packets.iter().zip(patient.iter().zip(hasty)).filter(|(packet, (patient, hasty))| {
        packet.protocol == wanted && patient.verdict() == Verdict::Accept && hasty.verdict() == Verdict::Drop
    });
    lost.map(|(packet, _)| packet.flow_key()).collect::<HashSet<_>>().len() as u64
}
