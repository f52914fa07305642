//! Every number and switch of connection tracking, and the profiles that set them.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Whose behaviour is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// nf_conntrack with its defaults.
    Linux,
    /// AWS security groups as documented; what AWS does not document is taken from Linux.
    Aws,
}

/// How TCP sequence numbers are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TcpWindow {
    /// Not at all: the state machine sees flags only. No claim about the kernel.
    Off,
    /// As `nf_conntrack_tcp_be_liberal = 1`: tracked, but only RSTs out of window are INVALID.
    Liberal,
    /// As the kernel's default: packets out of window are INVALID.
    Strict,
}

/// What happens to INVALID packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Invalid {
    /// Dropped.
    Drop,
    /// Judged by the rules, as if new; nothing is recorded of them.
    Rules,
}

/// What happens to a new connection for which its shard of the table has no room, even after what has
/// expired was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFull {
    /// It is refused: its packet is dropped.
    DropNew,
    /// It takes the place of one that is not assured: of the shard's connections in their order of
    /// arrival, the first among at most [`MAX_EVICTION_CANDIDATES`] that is not. If there is none, it
    /// is refused. Linux evicts as well, by another order (`early_drop`).
    EvictUnassured,
}

/// At most so many connections are looked at for eviction.
pub const MAX_EVICTION_CANDIDATES: usize = 8;

/// Idle times after which an entry expires, in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// SYN sent, no answer.
    pub tcp_syn_sent: u64,
    /// SYN from both ends (simultaneous open).
    pub tcp_syn_sent2: u64,
    /// SYN/ACK seen.
    pub tcp_syn_recv: u64,
    /// Established.
    pub tcp_established: u64,
    /// One FIN seen.
    pub tcp_fin_wait: u64,
    /// The first FIN was acknowledged.
    pub tcp_close_wait: u64,
    /// Both FINs seen.
    pub tcp_last_ack: u64,
    /// Both FINs acknowledged.
    pub tcp_time_wait: u64,
    /// After RST.
    pub tcp_close: u64,
    /// Cap while the same ACK was repeated three times.
    pub tcp_max_retrans: u64,
    /// Cap while data is unacknowledged, and for picked-up connections without a reply.
    pub tcp_unacknowledged: u64,
    /// UDP, one direction or one exchange.
    pub udp: u64,
    /// UDP, a conversation.
    pub udp_stream: u64,
    /// ICMP queries.
    pub icmp: u64,
    /// ICMPv6 queries.
    pub icmpv6: u64,
    /// GRE, one direction.
    pub gre: u64,
    /// GRE, both directions.
    pub gre_stream: u64,
    /// Every other protocol.
    pub other: u64,
}

impl Timeouts {
    /// The shortest of all, in seconds: nothing expires sooner.
    pub fn shortest(&self) -> u64 {
        let t = self;
        let tcp = [
            t.tcp_syn_sent,
            t.tcp_syn_sent2,
            t.tcp_syn_recv,
            t.tcp_established,
            t.tcp_fin_wait,
            t.tcp_close_wait,
            t.tcp_last_ack,
            t.tcp_time_wait,
            t.tcp_close,
            t.tcp_max_retrans,
            t.tcp_unacknowledged,
        ];
        let others = [t.udp, t.udp_stream, t.icmp, t.icmpv6, t.gre, t.gre_stream, t.other];
        tcp.into_iter().chain(others).min().unwrap_or(0)
    }
}

impl Default for Timeouts {
    /// The kernel's defaults (Documentation/networking/nf_conntrack-sysctl.rst).
    fn default() -> Self {
        Timeouts {
            tcp_syn_sent: 120,
            tcp_syn_sent2: 120,
            tcp_syn_recv: 60,
            tcp_established: 432_000,
            tcp_fin_wait: 120,
            tcp_close_wait: 60,
            tcp_last_ack: 30,
            tcp_time_wait: 120,
            tcp_close: 10,
            tcp_max_retrans: 300,
            tcp_unacknowledged: 300,
            udp: 30,
            udp_stream: 120,
            icmp: 30,
            icmpv6: 30,
            gre: 30,
            gre_stream: 180,
            other: 600,
        }
    }
}

/// All of it. Printed in every result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Whose behaviour the rest was taken from.
    pub profile: Profile,
    /// Idle times.
    pub timeouts: Timeouts,
    /// Pick up TCP connections in mid-stream (`nf_conntrack_tcp_loose`).
    pub loose: bool,
    /// Sequence number checks.
    pub tcp_window: TcpWindow,
    /// Accept RSTs with a sequence number below the expected one
    /// (`nf_conntrack_tcp_ignore_invalid_rst`): state kept, timer 10 s.
    pub ignore_invalid_rst: bool,
    /// What happens to INVALID packets.
    pub invalid: Invalid,
    /// What happens when the table is full.
    pub on_full: OnFull,
    /// Connections that the instance may track in all (AWS's conntrack allowance, whose size depends on
    /// the instance type and is not published); 0: no limit. Beyond it the packets of new connections
    /// are dropped. Exact on one core; on several, the crossing is found a little early or late.
    pub allowance: u64,
    /// Profile `aws`: flows with these peers are tracked whatever the rules (load balancers,
    /// NAT gateways, ...: EC2 user guide, "Automatically tracked connections").
    pub auto_tracked: Vec<IpNet>,
}

impl Config {
    /// The defaults of a profile.
    pub fn new(profile: Profile) -> Self {
        let mut timeouts = Timeouts::default();
        if profile == Profile::Aws {
            // EC2 user guide, "Security group connection tracking": idle timeouts.
            timeouts.udp_stream = 180;
        }
        Config {
            profile,
            timeouts,
            loose: true,
            tcp_window: TcpWindow::Strict,
            ignore_invalid_rst: false,
            invalid: Invalid::Drop,
            on_full: match profile {
                Profile::Linux => OnFull::EvictUnassured,
                // AWS documents that new connections fail, and no eviction.
                Profile::Aws => OnFull::DropNew,
            },
            allowance: 0,
            auto_tracked: Vec::new(),
        }
    }
}
