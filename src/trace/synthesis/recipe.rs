//! What a synthetic trace is made of.

use super::{FlowSizes, PacketSizes, Share};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use thiserror::Error;

/// A synthetic trace: how many flows, how fast, of what kinds. As TOML it stands in a file of its own or in the
/// `gen` table of a scenario.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Another seed, another trace.
    #[serde(default)]
    pub seed: u64,
    /// Packets, malformed ones included; with `flows`, whichever comes first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets: Option<u64>,
    /// Flows that begin; then the trace ends when all have ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flows: Option<u64>,
    /// New flows a second of packet time.
    pub flows_per_s: u32,
    /// Flows begin at equal distances; else as a Poisson process.
    #[serde(default)]
    pub evenly: bool,
    /// A packet is followed by a damaged copy in this share of cases.
    #[serde(default)]
    pub malformed: Share,
    /// Bytes kept of a frame; 0 for all.
    #[serde(default = "snaplen")]
    pub snaplen: u32,
    /// Who talks to whom.
    pub traffic: Vec<Traffic>,
}

/// Flows of one kind between some clients and some servers.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// What they do.
    pub kind: Kind,
    /// Of the new flows so many parts.
    #[serde(default = "one")]
    pub weight: u32,
    /// Who opens flows.
    pub clients: Vec<IpNet>,
    /// Who is talked to.
    pub servers: Vec<IpNet>,
    /// Server ports, each as often; of a port scan none means all in turn.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// The protected addresses are those of the clients: the servers are the round trip away.
    #[serde(default)]
    pub outbound: bool,
    /// Packets with data in a flow.
    #[serde(default = "four")]
    pub flow_size: FlowSizes,
    /// Frames of requests.
    #[serde(default = "small")]
    pub request: PacketSizes,
    /// Frames of responses.
    #[serde(default = "large")]
    pub response: PacketSizes,
    /// Response packets for each request.
    #[serde(default = "one")]
    pub responses: u32,
    /// Mean round trip, microseconds.
    #[serde(default = "rtt_us")]
    pub rtt_us: u32,
    /// Mean pause before the next request, milliseconds.
    #[serde(default)]
    pub think_ms: u32,
    /// Flows of IPv6.
    #[serde(default)]
    pub ipv6: Share,
    /// TCP: flows that were open before the trace began.
    #[serde(default)]
    pub mid_stream: Share,
    /// TCP: flows that one end closes while the other goes on sending.
    #[serde(default)]
    pub half_closed: Share,
    /// TCP: flows that fall silent without a close.
    #[serde(default)]
    pub abandoned: Share,
    /// TCP: flows that the client resets.
    #[serde(default)]
    pub reset: Share,
    /// Floods and scans: SYNs that get a reset for an answer; the others get none.
    #[serde(default)]
    pub refused: Share,
    /// Flows of [`Traffic::elephant_packets`] instead.
    #[serde(default)]
    pub elephants: Share,
    /// Packets with data in an elephant.
    #[serde(default = "elephant")]
    pub elephant_packets: u32,
}

/// What a flow does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A TCP connection: requests, responses, acknowledgements of every second segment.
    Tcp,
    /// UDP datagrams, requests and responses.
    Udp,
    /// DNS over UDP: queries for an address, each with its answer.
    Dns,
    /// ICMP or ICMPv6 echo, each with its reply.
    Ping,
    /// SYNs that are never followed up.
    SynFlood,
    /// SYNs to one port after the other.
    PortScan,
}

fn snaplen() -> u32 {
    Recipe::DEFAULT_SNAPLEN
}

fn one() -> u32 {
    1
}

fn four() -> FlowSizes {
    FlowSizes::Fixed(4)
}

fn small() -> PacketSizes {
    PacketSizes(vec![(250, 1)])
}

fn large() -> PacketSizes {
    PacketSizes(vec![(1518, 1)])
}

fn rtt_us() -> u32 {
    20_000
}

fn elephant() -> u32 {
    100_000
}

/// A recipe that makes no trace, or a trace that cannot be written.
#[derive(Debug, Error)]
pub enum SynthesisError {
    /// Out of range, or missing.
    #[error("the recipe makes no trace: {0}")]
    Recipe(String),
    /// Not a recipe.
    #[error("{path}: not a recipe")]
    Toml {
        /// The file.
        path: PathBuf,
        /// Line, column and key.
        source: Box<toml::de::Error>,
    },
    /// The file cannot be read or written.
    #[error("{path}: cannot be read or written")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The trace cannot be written on.
    #[error("the trace cannot be written")]
    Write(#[from] std::io::Error),
    /// A pcap file counts seconds in 32 bits.
    #[error(
        "the trace would go on beyond the year 2106, which a pcap file cannot state: raise flows_per_s or lower the number of packets"
    )]
    TooLong,
}

/// Of a recipe's traffic, so many kinds at most.
const MAX_TRAFFIC: usize = 1000;

impl Recipe {
    /// Headers, options and a DNS message: what evaluation reads, at a tenth of the bytes.
    pub const DEFAULT_SNAPLEN: u32 = 128;

    /// Reads a recipe file.
    pub fn read(path: &std::path::Path) -> Result<Self, SynthesisError> {
        let file = |source| SynthesisError::File { path: path.to_owned(), source };
        let text = std::fs::read_to_string(path).map_err(file)?;
        toml::from_str(&text).map_err(|source| SynthesisError::Toml { path: path.to_owned(), source: source.into() })
    }

    /// Changes every kind of traffic.
    pub fn each(&mut self, change: impl FnMut(&mut Traffic)) {
        self.traffic.iter_mut().for_each(change);
    }

    /// What is wrong, if anything.
    pub fn check(&self) -> Result<(), SynthesisError> {
        let wrong = |what: String| Err(SynthesisError::Recipe(what));
        if self.packets.is_none() && self.flows.is_none() {
            return wrong("say how long it shall be: packets or flows".into());
        }
        if self.flows_per_s == 0 {
            return wrong("flows_per_s = 0: at least 1".into());
        }
        if self.snaplen != 0 && !(64..=65_535).contains(&self.snaplen) {
            return wrong(format!("snaplen = {}: 64 to 65,535, or 0 for whole frames", self.snaplen));
        }
        if self.traffic.is_empty() || self.traffic.len() > MAX_TRAFFIC {
            return wrong(format!("{} kinds of traffic: 1 to {MAX_TRAFFIC}", self.traffic.len()));
        }
        for (n, traffic) in (1..).zip(&self.traffic) {
            let has = |blocks: &[IpNet], v6: bool| blocks.iter().any(|block| matches!(block, IpNet::V6(_)) == v6);
            for (v6, wanted) in [(false, traffic.ipv6 != Share::ALL), (true, traffic.ipv6 != Share::NONE)] {
                let family = if v6 { "IPv6" } else { "IPv4" };
                if wanted && !(has(&traffic.clients, v6) && has(&traffic.servers, v6)) {
                    return wrong(format!("traffic {n} has {family} flows, but no {family} clients or servers"));
                }
            }
            if !(1..=1_000_000).contains(&traffic.weight) {
                return wrong(format!("traffic {n}: weight = {}: 1 to 1,000,000", traffic.weight));
            }
            if traffic.elephant_packets == 0 {
                return wrong(format!("traffic {n}: elephant_packets = 0: at least 1"));
            }
            if traffic.ports.is_empty() && !matches!(traffic.kind, Kind::Ping | Kind::PortScan) {
                return wrong(format!("traffic {n}: no ports"));
            }
            if traffic.rtt_us > 60_000_000 || traffic.think_ms > 86_400_000 {
                return wrong(format!("traffic {n}: rtt_us is at most a minute, think_ms at most a day"));
            }
        }
        Ok(())
    }
}
