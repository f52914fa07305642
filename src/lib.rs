//! ctbench replays recorded packets through connection-tracking tables and measures what stateful
//! filtering costs, or saves, against stateless filtering.

pub mod conntrack;
pub mod engine;
pub mod packet;
pub mod policy;
