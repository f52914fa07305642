//! A plain file in windows, framed on several cores.
//!
//! Records can only be found one after the other. Even so, cores frame at the same time: each takes the next window of
//! the file and guesses where a record begins in it. When its turn comes, what the window before ended with says whether
//! the guess was right; if not, the window is framed again from there. Only that check is done in order.

use super::Frame;
use super::record::{Records, Stop};
use super::source::Source;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes framed at once: they, and the list of their frames, stay in a core's own cache until they are decoded.
const WINDOW: usize = 256 << 10;
/// Windows whose pages are mapped at once: page by page, as they are read, takes a third longer.
const POPULATED: usize = 1;

/// A file in windows.
pub(super) struct Windows<'a> {
    source: &'a Source,
    /// The file's bytes that count.
    bytes: &'a [u8],
    /// Where the first record begins.
    begin: usize,
    /// Windows that threads have taken.
    taken: AtomicUsize,
    turn: Mutex<Turn>,
    next: Condvar,
}

/// What is known of all windows before one.
pub(super) struct Turn {
    /// The window whose turn it is.
    window: usize,
    /// Where the next record begins.
    pub(super) at: usize,
    frames: u64,
    /// Why there is no further record.
    pub(super) stop: Option<Stop>,
    pub(super) records: Records,
}

/// What one thread found in a window.
pub(super) struct Window {
    /// What its guesses are framed with: of a kind whose reading changes no state.
    guessing: Records,
    /// Number of its first frame, from 1.
    pub(super) first: u64,
    pub(super) frames: Vec<Frame>,
}

impl<'a> Windows<'a> {
    /// Of a file that has these bytes, whose header was read, and ended here.
    pub(super) fn new(source: &'a Source, bytes: &'a [u8], (records, begin): (Records, usize)) -> Self {
        let turn = Turn { window: 0, at: begin, frames: 0, stop: None, records };
        Windows { source, bytes, begin, taken: AtomicUsize::new(0), turn: Mutex::new(turn), next: Condvar::new() }
    }

    /// A window for a thread, and what it guesses with: another reading of the file's header.
    pub(super) fn window(guessing: Records) -> Window {
        Window { guessing, first: 0, frames: Vec::new() }
    }

    /// What was found at the end.
    pub(super) fn end(self) -> Turn {
        self.turn.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frames the next window. False if there is none.
    pub(super) fn next(&self, window: &mut Window) -> bool {
        let Window { guessing, first, frames } = window;
        let number = self.taken.fetch_add(1, Relaxed);
        let start = number.checked_mul(WINDOW).and_then(|bytes| self.begin.checked_add(bytes));
        // After the last there is one more that finds nothing, so that an empty file has a turn, too.
        let Some(start) = start.filter(|start| *start <= self.bytes.len()) else { return false };
        let end = (start + WINDOW).min(self.bytes.len());
        frames.clear();
        if number.is_multiple_of(POPULATED) {
            self.source.populate(start, POPULATED * WINDOW);
        }
        let guess = match (&guessing, number) {
            (_, 0) => Some(start),
            (Records::Pcap(format), _) => format.guess(&self.bytes[start..], end - start).map(|at| start + at),
            (Records::PcapNg(_), _) => None,
        };
        let ahead = guess.and_then(|guess| match guessing {
            Records::Pcap(format) => {
                let walk = |bytes: &[u8], at, frames: &mut Vec<Frame>| format.walk(bytes, adding(frames, at));
                Some((guess, until(self.bytes, guess, end, frames, walk)))
            }
            Records::PcapNg(_) => None,
        });
        let mut turn = self.wait(number);
        if turn.stop.is_none() && turn.at <= end {
            let (at, stop) = match ahead {
                Some((guess, found)) if guess == turn.at => found,
                _ => {
                    frames.clear();
                    let Turn { at, records, .. } = &mut *turn;
                    let walk = |bytes: &[u8], at, frames: &mut Vec<Frame>| records.walk(bytes, adding(frames, at));
                    until(self.bytes, *at, end, frames, walk)
                }
            };
            (turn.at, turn.stop) = (at, stop);
        } else {
            // A record that reaches over the whole window, or nothing more to read.
            frames.clear();
        }
        *first = turn.frames + 1;
        turn.frames += frames.len() as u64;
        turn.window += 1;
        drop(turn);
        self.next.notify_all();
        true
    }

    fn wait(&self, window: usize) -> MutexGuard<'_, Turn> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.next.wait_while(turn, |turn| turn.window != window).unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds the frames of all records that begin at `at` or later, and before `end`. Gives where the next begins, and, if
/// there is none, why.
#[inline(always)]
fn until(
    bytes: &[u8],
    mut at: usize,
    end: usize,
    frames: &mut Vec<Frame>,
    mut walk: impl FnMut(&[u8], usize, &mut Vec<Frame>) -> (usize, Stop),
) -> (usize, Option<Stop>) {
    let mut limit = end;
    loop {
        let (used, stop) = walk(&bytes[at..limit], at, frames);
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

/// Adds frames of bytes that begin at this place in the file.
#[inline(always)]
fn adding(frames: &mut Vec<Frame>, at: usize) -> impl FnMut(Frame) {
    move |frame| frames.push(Frame { offset: frame.offset + at as u64, ..frame })
}
