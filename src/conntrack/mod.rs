//! Connections: the protocol state machines and their timeouts, as Linux nf_conntrack runs them.

mod config;

pub use config::{Config, Invalid, Profile, TcpWindow, Timeouts};
