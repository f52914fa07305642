//! Every frame of a capture once, on several cores, a batch at a time.
//!
//! For what need not hold the trace: files are framed as they are worked on, so that memory does not grow with them. Only
//! what a pipe gave is held.

use super::chunk::Chunk;
use super::excerpt::Excerpt;
use super::filter::Matcher;
use super::record::{Records, Stop};
use super::regions::Regions;
use super::source::Source;
use super::stream::{self, Reader};
use super::{Capture, Cut, Filter, Frame, Frames, Summary, TraceError};
use crate::measure::Busy;
use crate::packet::{Decap, View, innermost};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// Frames that follow each other.
pub struct Batch<'a> {
    /// A number of the first: each next one is one more, and those of later batches are more.
    pub first: u64,
    /// The frames.
    pub frames: &'a [Frame],
    bytes: Bytes<'a>,
    decap: Decap,
}

#[derive(Clone, Copy)]
enum Bytes<'a> {
    /// Bytes of a file from this place on.
    File(&'a [u8], usize),
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
        let (bytes, from): (&[u8], usize) = match self {
            Bytes::File(bytes, from) => (bytes, from),
            Bytes::Chunks(parts) => (&parts[frame.part as usize], 0),
            Bytes::List(frames) => return frames.bytes(frame),
        };
        let start = frame.offset as usize - from;
        &bytes[start..start + frame.captured as usize]
    }
}

/// Frames of a list that are worked on at once.
const CHUNK: usize = 4096;

impl Capture {
    /// Calls `work` for all frames, on so many threads, each with a state of its own. Batches come in any order. If it turns
    /// out that a file has to be read otherwise, all begins anew, with new states.
    ///
    /// Gives the states, and what the capture says of itself.
    pub fn scan<S: Send>(
        &self,
        threads: usize,
        new: impl Fn() -> S + Sync,
        work: impl Fn(&mut S, &Batch) + Sync,
    ) -> Result<(Vec<S>, Summary), TraceError> {
        if let [source] = self.sources.as_slice()
            && let Some(found) = self.scan_regions(source, threads, &new, &work)?
        {
            return Ok(found);
        }
        if self.sources.iter().all(Source::is_regular) {
            return self.scan_streams(threads, &new, &work);
        }
        let mut frames = self.frames()?;
        if let Some(filter) = &self.filter {
            frames.keep(filter);
        }
        let states = scan_list(&frames, self.decap, threads, &new, &work);
        Ok((states, frames.summary().clone()))
    }

    /// Of a plain pcap file: framed on all threads. `None` if it is not one, or cannot be read so.
    fn scan_regions<S: Send>(
        &self,
        source: &Source,
        threads: usize,
        new: &(impl Fn() -> S + Sync),
        work: &(impl Fn(&mut S, &Batch) + Sync),
    ) -> Result<Option<(Vec<S>, Summary)>, TraceError> {
        if source.origin.packing.is_some() {
            return Ok(None);
        }
        let threads = threads.max(1);
        loop {
            let len = source.length_now();
            let bytes = &source.bytes[..len];
            let begun = Records::begin(bytes).map_err(|why| source.origin.no_records(why, bytes))?;
            let (Records::Pcap(format), begin) = begun else { return Ok(None) };
            let regions = Regions::new(bytes, format, begin, threads);
            let started = AtomicUsize::new(0);
            let run = || {
                let thread = started.fetch_add(1, Relaxed);
                let (mut state, mut selected) = (new(), Selected::of(self.filter.as_ref()));
                let (mut excerpt, mut frames, mut runs) = (Excerpt::new(source, bytes), Vec::new(), Vec::new());
                while let Some(region) = regions.take(thread) {
                    let found = regions.walk(region, &mut excerpt, &mut frames, |first, frames, (bytes, from)| {
                        let bytes = Bytes::File(bytes, from);
                        selected.take(first, frames, bytes);
                        work(&mut state, &Batch { first, frames, bytes, decap: self.decap });
                    });
                    runs.extend(found);
                }
                (runs, (state, selected))
            };
            let (runs, results): (Vec<_>, Vec<_>) = on_threads(threads, run).into_iter().unzip();
            let end = regions.end(runs.into_iter().flatten().collect());
            if source.length_now() < len {
                // Of a file that is cut meanwhile, the lost end reads as zeros: what is left is read again.
                continue;
            }
            let Some((at, stop)) = end else { return Ok(None) };
            let (states, mut summary) = all_selected(results);
            summary.format = regions.format().name();
            summary.snaplen = regions.format().snaplen;
            let reason = match stop {
                Stop::End => None,
                Stop::More { needed } => Some(format!("a record needs {needed} bytes where {} are left", len - at)),
                Stop::Damaged(reason) => Some(reason),
            };
            if let Some(reason) = reason {
                let (path, packets) = (source.origin.path.clone(), summary.packets);
                summary.cuts.push(Cut { path, offset: at as u64, reason, packets });
            }
            summary.changes.extend(source.change());
            summary.skipped.clone_from(&self.skipped);
            return Ok(Some((states, summary)));
        }
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
