//! A pcap file in regions, framed on several cores.
//!
//! Records can only be found one after the other. So whoever takes a region guesses where a record begins in it; where the
//! region before ended says afterwards whether the guess was right. If one was wrong, nothing of all that counts, and the
//! file has to be read in order.

use super::Frame;
use super::excerpt::Excerpt;
use super::pcap::Pcap;
use super::record::Stop;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes framed at once: they, and the list of their frames, stay in a core's own cache until they are decoded.
const WINDOW: usize = if cfg!(fuzzing) { 100 } else { 256 << 10 };
/// A region has at least so many bytes.
const LEAST: usize = if cfg!(fuzzing) { 200 } else { 1 << 20 };
/// Regions a thread: whoever is done with its own takes another's.
const OF_A_THREAD: usize = 8;

/// A file in regions.
pub(super) struct Regions<'a> {
    /// The file's bytes that count.
    bytes: &'a [u8],
    format: Pcap,
    /// Where the first record begins.
    begin: usize,
    /// Bytes of a region.
    size: usize,
    count: usize,
    /// For each thread, the next of its regions, and the first of the next thread's. They follow each other, since packets
    /// of one flow do.
    waiting: Vec<(AtomicUsize, usize)>,
}

/// What was found of a region.
pub(super) struct Run {
    region: usize,
    /// Where its first record is believed to begin.
    from: usize,
    /// Where the next one begins.
    to: usize,
    /// Why there is no next one.
    stop: Option<Stop>,
}

impl<'a> Regions<'a> {
    /// Of a file that has these bytes, whose records begin here.
    pub(super) fn new(bytes: &'a [u8], format: Pcap, begin: usize, threads: usize) -> Self {
        let count = ((bytes.len() - begin) / LEAST).clamp(1, threads * OF_A_THREAD);
        let share = |thread: usize| thread * count / threads;
        Regions {
            bytes,
            format,
            begin,
            size: (bytes.len() - begin).div_ceil(count),
            count,
            waiting: (0..threads).map(|thread| (AtomicUsize::new(share(thread)), share(thread + 1))).collect(),
        }
    }

    /// A region for a thread: one of its own, or else of another.
    pub(super) fn take(&self, thread: usize) -> Option<usize> {
        let (before, from) = self.waiting.split_at(thread);
        from.iter().chain(before).find_map(|(next, end)| Some(next.fetch_add(1, Relaxed)).filter(|region| region < end))
    }

    fn start(&self, region: usize) -> usize {
        (self.begin + region * self.size).min(self.bytes.len())
    }

    /// Calls `window` for all frames of a region, of a window at a time: with a number of the first that grows with its
    /// place in the file, with the frames, and with bytes of the file and where these begin in it. `None` if no record
    /// seems to begin there.
    pub(super) fn walk(
        &self,
        region: usize,
        excerpt: &mut Excerpt,
        frames: &mut Vec<Frame>,
        mut window: impl FnMut(u64, &mut Vec<Frame>, (&[u8], usize)),
    ) -> Option<Run> {
        let (start, end) = (self.start(region), self.start(region + 1));
        excerpt.begin(start);
        // If that fails, it does once more below.
        let _ = excerpt.go_on((start + WINDOW).min(self.bytes.len()));
        let from = match region {
            0 => start,
            _ => {
                let (bytes, at) = excerpt.bytes();
                start + self.format.guess(&bytes[start - at..], end - start)?
            }
        };
        let mut at = from;
        loop {
            frames.clear();
            let (to, stop) = self.until(excerpt, at, (at + WINDOW).min(end), frames);
            window(at as u64, frames, excerpt.bytes());
            at = to;
            if stop.is_some() || at >= end {
                return Some(Run { region, from, to: at, stop });
            }
            excerpt.begin(at);
        }
    }

    /// Adds the frames of all records that begin at `at` or later, and before `end`. Gives where the next begins, and, if
    /// there is none, why.
    #[inline(always)]
    fn until(
        &self,
        excerpt: &mut Excerpt,
        mut at: usize,
        end: usize,
        frames: &mut Vec<Frame>,
    ) -> (usize, Option<Stop>) {
        let (mut limit, len) = (end, self.bytes.len());
        loop {
            if let Err(error) = excerpt.go_on(limit) {
                return (at, Some(Stop::Damaged(format!("reading failed: {error}"))));
            }
            let (bytes, from) = excerpt.bytes();
            let add = |frame: Frame| frames.push(Frame { offset: frame.offset + at as u64, ..frame });
            let (used, stop) = self.format.walk(&bytes[at - from..limit - from], add);
            at += used;
            match stop {
                Stop::More { needed } if limit < len => {
                    if used > 0 && at >= end {
                        return (at, None);
                    }
                    limit = at.saturating_add(usize::try_from(needed).unwrap_or(usize::MAX)).min(len);
                }
                Stop::End if limit < len => return (at, None),
                stop => return (at, Some(stop)),
            }
        }
    }

    /// Where the last record ended, and what was found there; of what was found of all regions. `None`: a guess was wrong.
    pub(super) fn end(&self, mut runs: Vec<Run>) -> Option<(usize, Stop)> {
        runs.sort_unstable_by_key(|run| run.region);
        let mut runs = runs.into_iter().peekable();
        let (mut at, mut stop) = (self.begin, None);
        for region in 0..self.count {
            match runs.next_if(|run| run.region == region) {
                // A record that reaches over the whole region, or nothing more to read.
                None if stop.is_some() || at >= self.start(region + 1) => {}
                Some(run) if stop.is_none() && run.from == at => (at, stop) = (run.to, run.stop),
                _ => return None,
            }
        }
        Some((at, stop.unwrap_or(Stop::End)))
    }

    /// What the records are of.
    pub(super) fn format(&self) -> &Pcap {
        &self.format
    }
}
