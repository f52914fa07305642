//! Trace files to packet records, in four steps: open, frame, decode, sequence.
//!
//! ```text
//! Capture::open    map the files, recognise their formats by content
//! capture.frames   find every frame: where it lies, its time, its link type
//! frames.decode    frames to records, in parallel; pure, one frame at a time
//! Trace::sequence  what needs the order: packet time that never goes back, fragments
//! ```
//!
//! The steps are separate so that each can be timed by itself. Two ways do without the list of frames: [`stream`], in
//! trace order and of any size, and [`Capture::scan`], in any order and on all cores, for counting.

mod activity;
mod capture;
mod census;
mod chunk;
mod elephant;
mod error;
mod excerpt;
mod filter;
mod fragments;
mod framer;
mod frames;
mod guess;
mod headers;
mod info;
mod mapped;
mod merge;
mod pcap;
mod pcapng;
mod record;
mod regions;
mod rounds;
pub mod scan;
mod select;
mod sequence;
mod share;
mod source;
pub mod stream;
mod summary;
pub mod synthesis;
mod unpack;
mod without;

pub use activity::Moment;
pub use capture::Capture;
pub use elephant::{Elephant, ElephantError};
pub use error::TraceError;
pub use filter::{Filter, FilterError, Matcher};
pub use fragments::Datagram;
pub use frames::{Frame, Frames};
pub use info::Info;
pub use rounds::{Rounds, RoundsError};
pub use select::Selection;
pub use sequence::{Decoded, Trace};
pub use summary::{Cut, Summary};
