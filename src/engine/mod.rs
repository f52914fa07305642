//! Rules and a flow table make an engine; an engine turns packets into decisions.

mod decision;

pub use decision::{Decision, Reason, State, Verdict};
