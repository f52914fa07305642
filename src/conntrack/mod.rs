//! Connections: the protocol state machines and their timeouts, as Linux nf_conntrack runs them.
//!
//! A [`Tracker`] says what a packet does to a [`Connection`]; it neither owns nor finds one: that is
//! the flow table's part. So every table has the same semantics.

mod config;
mod status;
pub mod tcp;
mod timers;
mod tracker;
mod window;

/// Latest packet time that is told apart, ns since 1970: beyond what a pcap file can state (the year
/// 2106). Tables hold deadlines of up to 2^62 ns.
pub const MAX_TIME_NS: u64 = (1 << 62) - (1 << 58);

/// Longest timeout that can be set, in seconds: nine years.
pub const MAX_TIMEOUT_S: u64 = 9 * 365 * 86_400;

pub use config::{Config, Invalid, MAX_EVICTION_CANDIDATES, OnFull, Profile, TcpWindow, Timeouts};
pub use status::{Side, Status};
pub use timers::Timers;
pub use tracker::{Connection, Notes, Tracker, Transition};
pub use window::{Track, Windows};
