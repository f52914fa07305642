//! Every frame of a capture once, on several cores, a batch at a time.
//!
//! For what need not hold the trace: files are framed as they are worked on, so that memory does not grow with them. Only
//! what a pipe gave is held.

use super::chunk::Chunk;
use super::filter::Matcher;
use super::record::{Records, Stop};
use super::source::Source;
use super::stream::{self, Reader};
use super::windows::Windows;
use super::{Capture, Cut, Filter, Frame, Frames, Summary, TraceError};
use crate::measure::Busy;
use crate::packet::{Decap, View, innermost};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Frames that follow each other.
pub struct Batch<'a> {
    /// Number of the first, from 1; where a filter leaves frames out, it may be less, but not more than those of later
    /// batches.
    pub first: u64,
    /// The frames.
    pub frames: &'a [Frame],
    bytes: Bytes<'a>,
    decap: Decap,
}

#[derive(Clone, Copy)]
enum Bytes<'a> {
    File(&'a [u8]),
    Chunks(&'a [Arc<Chunk>]),
    List(&'a Frames<'a>),
}

impl Batch<'_> {
    /// What is looked at of a frame: itself, or what the tunnels that are opened carry in it.
    #[inline(always)]
    pub fn view(&self, frame: &Frame) -> View<'_> {
        let view =
            View { bytes: self.bytes.of(frame), link_type: u32::from(frame.link_type), wire_len: frame.wire as usize };
        if self.decap.is_none() {
            return view;
        }
        // Field by field, so that what is usual need not go through memory.
        let View { bytes, link_type, wire_len } = innermost(view, self.decap);
        View { bytes, link_type, wire_len }
    }
}

impl<'a> Bytes<'a> {
    #[inline(always)]
    fn of(self, frame: &Frame) -> &'a [u8] {
        let bytes: &[u8] = match self {
            Bytes::File(bytes) => bytes,
            Bytes::Chunks(parts) => &parts[frame.part as usize],
            Bytes::List(frames) => return frames.bytes(frame),
        };
        let start = frame.offset as usize;
        &bytes[start..start + frame.captured as usize]
    }
}

/// Frames of a list that are worked on at once.
const CHUNK: usize = 4096;

impl Capture {
    /// Calls `work` for all frames, on so many threads, each with a state of its own. Batches come in any order; within
    /// one thread, in trace order.
    ///
    /// Gives the states, and what the capture says of itself.
    pub fn scan<S: Send>(
        &self,
        threads: usize,
        new: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, &Batch) + Sync,
    ) -> Result<(Vec<S>, Summary), TraceError> {
        match self.sources.as_slice() {
            [source] if source.origin.packing.is_none() => {
                let (states, mut summary) = loop {
                    // Of a file that is cut meanwhile, the lost end reads as zeros: what is left is read again.
                    let len = source.length_now();
                    let found = self.scan_file(source, len, threads, &new, &work)?;
                    if source.length_now() >= len {
                        break found;
                    }
                };
                summary.changes.extend(source.change());
                summary.skipped.clone_from(&self.skipped);
                Ok((states, summary))
            }
            sources if sources.iter().all(Source::is_regular) => self.scan_streams(threads, &new, &work),
            _ => {
                let mut frames = self.frames()?;
                if let Some(filter) = &self.filter {
                    frames.keep(filter);
                }
                let states = scan_list(&frames, self.decap, threads, &new, &work);
                Ok((states, frames.summary().clone()))
            }
        }
    }

    /// Of a plain file: framed on all threads.
    fn scan_file<S: Send>(
        &self,
        source: &Source,
        len: usize,
        threads: usize,
        new: &(impl Fn() -> S + Sync),
        work: &(impl Fn(&mut S, &Batch) + Sync),
    ) -> Result<(Vec<S>, Summary), TraceError> {
        let bytes = &source.bytes[..len];
        let begin = || Records::begin(bytes).map_err(|why| source.origin.no_records(why, bytes));
        let windows = Windows::new(source, bytes, begin()?);
        let run = || -> Result<(S, Selected), TraceError> {
            let (mut state, mut selected) = (new(), Selected::of(self.filter.as_ref()));
            let mut window = Windows::window(begin()?.0);
            while windows.next(&mut window) {
                let bytes = Bytes::File(bytes);
                selected.take(window.first, &mut window.frames, bytes);
                work(&mut state, &Batch { first: window.first, frames: &window.frames, bytes, decap: self.decap });
            }
            Ok((state, selected))
        };
        let results = on_threads(threads, run).into_iter().collect::<Result<Vec<_>, _>>()?;
        let turn = windows.end();
        let (states, mut summary) = all_selected(results);
        summary.format = turn.records.name();
        summary.snaplen = turn.records.snaplen();
        summary.bad_blocks = turn.records.bad_blocks();
        let reason = match turn.stop {
            None | Some(Stop::End) => None,
            Some(Stop::More { needed }) => {
                Some(format!("a record needs {needed} bytes where {} are left", len - turn.at))
            }
            Some(Stop::Damaged(reason)) => Some(reason),
        };
        if let Some(reason) = reason {
            let (path, packets) = (source.origin.path.clone(), summary.packets);
            summary.cuts.push(Cut { path, offset: turn.at as u64, reason, packets });
        }
        Ok((states, summary))
    }

    /// Of any files: framed by whichever thread asks for more, in memory that does not grow with them.
    fn scan_streams<S: Send>(
        &self,
        threads: usize,
        new: &(impl Fn() -> S + Sync),
        work: &(impl Fn(&mut S, &Batch) + Sync),
    ) -> Result<(Vec<S>, Summary), TraceError> {
        let paths: Vec<_> = self.sources.iter().map(|source| &source.origin.path).collect();
        let reader = Mutex::new(Reader::open(&paths, Busy::default())?);
        let lock = || reader.lock().unwrap_or_else(PoisonError::into_inner);
        let run = || -> Result<(S, Selected), TraceError> {
            let (mut state, mut selected) = (new(), Selected::of(self.filter.as_ref()));
            loop {
                let next = lock().next()?;
                let Some(stream::Batch { first, mut frames, parts }) = next else { return Ok((state, selected)) };
                let bytes = Bytes::Chunks(&parts);
                selected.take(first, &mut frames, bytes);
                work(&mut state, &Batch { first, frames: &frames, bytes, decap: self.decap });
            }
        };
        let results = on_threads(threads, run).into_iter().collect::<Result<Vec<_>, _>>()?;
        let (states, counts) = all_selected(results);
        let mut summary = lock().summary()?;
        if self.filter.is_some() {
            summary = summary.with_counts(counts);
        }
        summary.skipped.clone_from(&self.skipped);
        Ok((states, summary))
    }
}

/// What a thread selects of its frames.
struct Selected<'a> {
    matcher: Option<Matcher<'a>>,
    summary: Summary,
    edges: Vec<Edges>,
}

impl<'a> Selected<'a> {
    fn of(filter: Option<&'a Filter>) -> Self {
        Selected { matcher: filter.map(Filter::matcher), summary: Summary::default(), edges: Vec::new() }
    }

    /// Leaves of a batch what is selected, and counts it.
    fn take(&mut self, first: u64, frames: &mut Vec<Frame>, bytes: Bytes) {
        if let Some(matcher) = &mut self.matcher {
            frames.retain(|frame| matcher.selects(bytes.of(frame), frame.link_type.into()));
        }
        self.summary.add(frames, None);
        if let (Some(begin), Some(end)) = (frames.first(), frames.last()) {
            self.edges.push(Edges { first, first_ns: begin.time_ns, last_ns: end.time_ns });
        }
    }
}

/// Times of the first and the last frame that are selected of a batch: all batches' tell where times go back between two
/// of them.
struct Edges {
    /// The batch's number.
    first: u64,
    first_ns: u64,
    last_ns: u64,
}

/// What all threads have.
fn all_selected<S>(results: Vec<(S, Selected)>) -> (Vec<S>, Summary) {
    let (mut states, mut summary, mut edges) = (Vec::new(), Summary::default(), Vec::new());
    for (state, selected) in results {
        summary = summary.and(selected.summary);
        edges.extend(selected.edges);
        states.push(state);
    }
    // Threads met them in any order.
    summary.link_types.sort_unstable();
    edges.sort_unstable_by_key(|edges| edges.first);
    summary.backwards += edges.windows(2).filter(|two| two[1].first_ns < two[0].last_ns).count() as u64;
    (states, summary)
}

fn scan_list<S: Send>(
    frames: &Frames,
    decap: Decap,
    threads: usize,
    new: &(impl Fn() -> S + Sync),
    work: &(impl Fn(&mut S, &Batch) + Sync),
) -> Vec<S> {
    let taken = AtomicUsize::new(0);
    on_threads(threads, || {
        let mut state = new();
        loop {
            let chunk = taken.fetch_add(1, Relaxed);
            let Some(list) = frames.list().chunks(CHUNK).nth(chunk) else { return state };
            let first = (chunk * CHUNK) as u64 + 1;
            work(&mut state, &Batch { first, frames: list, bytes: Bytes::List(frames), decap });
        }
    })
}

/// What each of so many threads gives, the calling one among them.
fn on_threads<T: Send>(threads: usize, run: impl Fn() -> T + Sync) -> Vec<T> {
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(&run)).collect();
        let mine = run();
        let mut results = vec![mine];
        for other in others {
            match other.join() {
                Ok(result) => results.push(result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    })
}
