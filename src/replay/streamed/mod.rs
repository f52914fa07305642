//! Replay of a trace that is not kept in memory: all stages at once, each in threads of its own, bounded queues in
//! between, so that a slow stage holds up those before it.
//!
//! ```text
//! read ──► decode, several ──► steer ──► a lane a core: engine ──► counts
//!                                   └──► referee: the reference beside, in trace order
//! ```
//!
//! Batches are dealt to the decoders in turn and collected in turn, so the order of the trace is kept. Steering hands
//! whole shards to cores, so the order within a flow is kept too, and verdicts are those of a preloaded replay.

mod lanes;
mod pass;
mod pipeline;
mod referee;
mod serve;

pub use pass::{Consumer, StreamPass, stream_pass};
pub use pipeline::{Pipeline, Stages};
pub use referee::{Referee, Refereed};
pub(crate) use serve::served_of;
pub use serve::{Ahead, Serve, Served};
