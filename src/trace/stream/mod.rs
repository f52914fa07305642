//! A trace of any size, a batch at a time, in memory that does not grow with it.
//!
//! ```text
//! Reader::next      the next batch of frames, in trace order: of one file, or merged from several by time
//! Decoder::decode   a batch's frames to records; pure, so batches can be decoded in parallel
//! Sequence::batch   in trace order again: packet time, fragments, what is selected
//! ```
//!
//! What comes out is what [`super::Trace`] holds of the same files.

mod batch;
mod file;
mod reader;
mod sequence;

pub use batch::{Batch, DecodedBatch, Decoder};
pub use reader::Reader;
pub use sequence::{Sequence, Sink};
