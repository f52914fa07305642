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

pub use config::{Config, Invalid, Profile, TcpWindow, Timeouts};
pub use status::{Side, Status};
pub use timers::Timers;
pub use tracker::{Connection, Detail, Tracker, Transition};
pub use window::Track;
