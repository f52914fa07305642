//! ctbench replays recorded packets through connection-tracking tables and measures what stateful
//! filtering costs, or saves, against stateless filtering.

pub mod cli;
pub mod conntrack;
pub mod engine;
pub mod measure;
pub mod packet;
pub mod policy;
pub mod replay;
pub mod report;
pub mod scenario;
pub mod table;
pub mod trace;
pub mod verify;
