//! Every frame of a capture once, on several cores, a batch at a time.
//!
//! For what need not hold the trace: a plain file is framed as it is worked on, so that memory does not grow with it.
//!
//! Records can only be found one after the other. Even so, cores frame at the same time: each takes the next window of
//! the file and guesses where a record begins in it. When its turn comes, what the window before ended with says whether
//! the guess was right; if not, the window is framed again from there. Only that check is done in order.

use super::record::{Records, Stop};
use super::source::Source;
use super::{Capture, Cut, Filter, Frame, Frames, Summary, TraceError};
use crate::packet::{Decap, View, innermost};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Frames that follow each other.
pub struct Batch<'a> {
    /// Number of the first, from 1; where a filter leaves frames out, it may be less, but not more than those of later
    /// batches.
    pub first: u64,
    /// The frames.
    pub frames: &'a [Frame],
    bytes: Bytes<'a>,
}

#[derive(Clone, Copy)]
enum Bytes<'a> {
    /// Of a file that is not held as a list of frames.
    File(&'a [u8], Decap),
    List(&'a Frames<'a>),
}

impl Batch<'_> {
    /// What is looked at of a frame: itself, or what the tunnels that are opened carry in it.
    #[inline(always)]
    pub fn view(&self, frame: &Frame) -> View<'_> {
        match self.bytes {
            Bytes::File(bytes, decap) => {
                let start = frame.offset as usize;
                let view = View {
                    bytes: &bytes[start..start + frame.captured as usize],
                    link_type: u32::from(frame.link_type),
                    wire_len: frame.wire as usize,
                };
                if decap.is_none() { view } else { innermost(view, decap) }
            }
            Bytes::List(frames) => frames.view(frame),
        }
    }
}

/// Bytes framed at once: they, and the list of their frames, stay in a core's own cache until they are decoded.
const WINDOW: usize = 256 << 10;

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
                    let found = self.scan_file(source, &source.bytes[..len], threads, &new, &work)?;
                    if source.length_now() >= len {
                        break found;
                    }
                };
                summary.changes.extend(source.change());
                summary.skipped.clone_from(&self.skipped);
                Ok((states, summary))
            }
            _ => {
                let mut frames = self.frames()?;
                if let Some(filter) = &self.filter {
                    frames.keep(filter);
                }
                let states = scan_list(&frames, threads, &new, &work);
                Ok((states, frames.summary().clone()))
            }
        }
    }

    fn scan_file<S: Send>(
        &self,
        source: &Source,
        bytes: &[u8],
        threads: usize,
        new: &(impl Fn() -> S + Sync),
        work: &(impl Fn(&mut S, &Batch) + Sync),
    ) -> Result<(Vec<S>, Summary), TraceError> {
        let begin = || Records::begin(bytes).map_err(|why| source.origin.no_records(why, bytes));
        let (records, at) = begin()?;
        let turn = Turn { window: 0, at, frames: 0, previous_ns: None, stop: None, records };
        let windows =
            Windows { bytes, begin: at, taken: AtomicUsize::new(0), turn: Mutex::new(turn), next: Condvar::new() };
        let run = || -> Result<(S, Summary), TraceError> {
            // Of a kind whose records a guess can find: their reading changes no state.
            let guessing = begin()?.0;
            let (mut state, mut summary, mut frames) = (new(), Summary::default(), Vec::new());
            let mut matcher = self.filter.as_ref().map(Filter::matcher);
            while let Some((first, previous_ns)) = windows.next(&guessing, &mut frames) {
                if let Some(matcher) = &mut matcher {
                    frames.retain(|frame| {
                        let at = frame.offset as usize;
                        matcher.selects(&bytes[at..at + frame.captured as usize], frame.link_type.into())
                    });
                }
                summary = summary.and(Summary::of(&frames, previous_ns));
                work(&mut state, &Batch { first, frames: &frames, bytes: Bytes::File(bytes, self.decap) });
            }
            Ok((state, summary))
        };
        let results = on_threads(threads, run).into_iter().collect::<Result<Vec<_>, _>>()?;
        let turn = windows.turn.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut summary = Summary::default();
        let mut states = Vec::new();
        for (state, of_thread) in results {
            summary = summary.and(of_thread);
            states.push(state);
        }
        // Threads met them in any order.
        summary.link_types.sort_unstable();
        summary.format = turn.records.name();
        summary.snaplen = turn.records.snaplen();
        summary.bad_blocks = turn.records.bad_blocks();
        let reason = match turn.stop {
            None | Some(Stop::End) => None,
            Some(Stop::More { needed }) => {
                Some(format!("a record needs {needed} bytes where {} are left", bytes.len() - turn.at))
            }
            Some(Stop::Damaged(reason)) => Some(reason),
        };
        if let Some(reason) = reason {
            let (path, packets) = (source.origin.path.clone(), summary.packets);
            summary.cuts.push(Cut { path, offset: turn.at as u64, reason, packets });
        }
        Ok((states, summary))
    }
}

/// A file in windows.
struct Windows<'a> {
    bytes: &'a [u8],
    /// Where the first record begins.
    begin: usize,
    /// Windows that threads have taken.
    taken: AtomicUsize,
    turn: Mutex<Turn>,
    next: Condvar,
}

/// What is known of all windows before one.
struct Turn {
    /// The window whose turn it is.
    window: usize,
    /// Where the next record begins.
    at: usize,
    frames: u64,
    previous_ns: Option<u64>,
    /// Why there is no further record.
    stop: Option<Stop>,
    records: Records,
}

impl Windows<'_> {
    /// Frames the next window. Gives the number of its first frame and the time of the frame before.
    fn next(&self, guessing: &Records, frames: &mut Vec<Frame>) -> Option<(u64, Option<u64>)> {
        let window = self.taken.fetch_add(1, Relaxed);
        let start = self.begin.checked_add(window.checked_mul(WINDOW)?)?;
        // After the last there is one more that finds nothing, so that an empty file has a turn, too.
        if start > self.bytes.len() {
            return None;
        }
        let end = (start + WINDOW).min(self.bytes.len());
        frames.clear();
        let guess = if window == 0 { Some(start) } else { guessing.guess(self.bytes, start, end) };
        let ahead = guess.and_then(|guess| Some((guess, guessing.walk_plain(self.bytes, guess, end, frames)?)));
        let mut turn = self.wait(window);
        if turn.stop.is_none() && turn.at <= end {
            let (at, stop) = match ahead {
                Some((guess, found)) if guess == turn.at => found,
                _ => {
                    frames.clear();
                    let at = turn.at;
                    walk(&mut turn.records, self.bytes, at, end, frames)
                }
            };
            (turn.at, turn.stop) = (at, stop);
        } else {
            // A record that reaches over the whole window, or nothing more to read.
            frames.clear();
        }
        let (first, previous_ns) = (turn.frames + 1, turn.previous_ns);
        turn.frames += frames.len() as u64;
        turn.previous_ns = frames.last().map(|frame| frame.time_ns).or(previous_ns);
        turn.window += 1;
        drop(turn);
        self.next.notify_all();
        Some((first, previous_ns))
    }

    fn wait(&self, window: usize) -> MutexGuard<'_, Turn> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.next.wait_while(turn, |turn| turn.window != window).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the frames of all records that begin at `at` or later, and before `end`. Gives where the next begins, and, if
/// there is none, why.
fn walk(records: &mut Records, bytes: &[u8], at: usize, end: usize, frames: &mut Vec<Frame>) -> (usize, Option<Stop>) {
    until(bytes, at, end, |slice, at| {
        records.walk(slice, |frame| frames.push(Frame { offset: frame.offset + at as u64, ..frame }))
    })
}

/// Walks up to `end`, and to the end of the record that lies across it.
fn until(
    bytes: &[u8],
    mut at: usize,
    end: usize,
    mut walk: impl FnMut(&[u8], usize) -> (usize, Stop),
) -> (usize, Option<Stop>) {
    let mut limit = end;
    loop {
        let (used, stop) = walk(&bytes[at..limit], at);
        at += used;
        match stop {
            Stop::More { needed } if limit < bytes.len() => {
                if used > 0 && at >= end {
                    return (at, None);
                }
                limit = at.saturating_add(usize::try_from(needed).unwrap_or(usize::MAX)).min(bytes.len());
            }
            Stop::End if limit < bytes.len() => return (at, None),
            stop => return (at, Some(stop)),
        }
    }
}

impl Records {
    /// Where a record may begin, at `start` or later but before `end`.
    fn guess(&self, bytes: &[u8], start: usize, end: usize) -> Option<usize> {
        match self {
            Records::Pcap(format) => format.guess(bytes, start, end),
            Records::PcapNg(_) => None,
        }
    }

    /// As [`walk`], for formats that keep no state.
    fn walk_plain(
        &self,
        bytes: &[u8],
        at: usize,
        end: usize,
        frames: &mut Vec<Frame>,
    ) -> Option<(usize, Option<Stop>)> {
        match self {
            Records::Pcap(format) => Some(until(bytes, at, end, |slice, at| {
                format.walk(slice, |frame| frames.push(Frame { offset: frame.offset + at as u64, ..frame }))
            })),
            Records::PcapNg(_) => None,
        }
    }
}

fn scan_list<S: Send>(
    frames: &Frames,
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
            work(&mut state, &Batch { first, frames: list, bytes: Bytes::List(frames) });
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
