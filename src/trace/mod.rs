//! Trace files to packet records, in four steps: open, frame, decode, sequence.
//!
//! ```text
//! Capture::open    map the file, recognise its format by content
//! capture.frames   find every frame: where it lies, its time, its link type
//! frames.decode    frames to records, in parallel; pure, one frame at a time
//! Trace::sequence  what needs the order: packet time that never goes back, fragments
//! ```
//!
//! The steps are separate so that each can be timed by itself.

mod capture;
mod elephant;
mod error;
mod fragments;
mod frames;
mod info;
mod sequence;
mod share;

pub use capture::Capture;
pub use elephant::{Elephant, ElephantError};
pub use error::TraceError;
pub use fragments::Datagram;
pub use frames::{Cut, Frame, Frames, Summary};
pub use info::Info;
pub use sequence::{Decoded, Trace};
