//! What a capture says of itself.

use super::Frame;
use std::path::PathBuf;

/// A file that ends in the middle of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub path: PathBuf,
    /// Where the last, incomplete record begins; in a compressed file, among its decompressed bytes.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
    /// Packets of the file before it.
    pub packets: u64,
}

/// What a capture says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// `pcap` or `pcapng`, with resolution or version, and how it is compressed; of several files, each once.
    pub format: String,
    /// Frames.
    pub packets: u64,
    /// Bytes captured.
    pub captured_bytes: u64,
    /// Bytes on the wire.
    pub wire_bytes: u64,
    /// Frames by link type, in order of appearance.
    pub link_types: Vec<(u16, u64)>,
    /// Largest capture length that the file declares; 0 for none.
    pub snaplen: u32,
    /// Frames of which less was captured than was on the wire.
    pub snaplen_cut: u64,
    /// Earliest time, ns since 1970.
    pub first_ns: u64,
    /// Latest time, ns since 1970.
    pub last_ns: u64,
    /// Frames that are earlier than the one before.
    pub backwards: u64,
    /// Blocks of a pcapng file that could not be read and were skipped.
    pub bad_blocks: u64,
    /// Files that end in the middle of a record.
    pub cuts: Vec<Cut>,
    /// Files that changed while they were read, and how: a sentence each.
    pub changes: Vec<String>,
    /// Files of a folder that are no captures.
    pub skipped: Vec<PathBuf>,
}

impl Summary {
    /// From the earliest to the latest packet, in seconds.
    pub fn duration_s(&self) -> f64 {
        self.last_ns.saturating_sub(self.first_ns) as f64 / 1e9
    }

    /// What the user should know, a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let cut = |cut: &Cut| {
            let Cut { path, offset, reason, packets } = cut;
            format!(
                "the capture is cut off at byte {offset} of {}: {reason}; the {packets} packets before it are used",
                path.display()
            )
        };
        let bad = (self.bad_blocks > 0)
            .then(|| format!("{} pcapng blocks could not be read and were skipped", self.bad_blocks));
        let skipped = |path: &PathBuf| format!("{} is no capture, and is left out", path.display());
        let cuts = self.cuts.iter().map(cut);
        cuts.chain(bad).chain(self.changes.iter().cloned()).chain(self.skipped.iter().map(skipped)).collect()
    }

    /// Of frames that follow each other.
    pub(super) fn of(frames: &[Frame]) -> Summary {
        let mut summary = Summary::default();
        summary.add(frames, None);
        summary
    }

    /// Adds frames that follow one of this time.
    pub(super) fn add(&mut self, frames: &[Frame], previous_ns: Option<u64>) {
        let Some(first) = frames.first() else { return };
        let mut sums =
            Sums { least_ns: u64::MAX, previous_ns: previous_ns.unwrap_or(first.time_ns), ..Sums::default() };
        for run in frames.chunk_by(|a, b| a.link_type == b.link_type) {
            self.add_link_type(run[0].link_type, run.len() as u64);
            run.iter().for_each(|frame| sums.add(frame));
        }
        self.first_ns = if self.packets == 0 { sums.least_ns } else { self.first_ns.min(sums.least_ns) };
        self.last_ns = self.last_ns.max(sums.most_ns);
        self.packets += frames.len() as u64;
        self.captured_bytes += sums.captured;
        self.wire_bytes += sums.wire;
        self.snaplen_cut += sums.cut;
        self.backwards += sums.backwards;
    }

    /// What is said of the files, and of their frames what `counts` says.
    pub(super) fn with_counts(self, counts: Summary) -> Summary {
        let Summary { format, snaplen, bad_blocks, cuts, changes, skipped, .. } = self;
        Summary { format, snaplen, bad_blocks, cuts, changes, skipped, ..counts }
    }

    fn add_link_type(&mut self, link_type: u16, count: u64) {
        match self.link_types.iter_mut().find(|(known, _)| *known == link_type) {
            Some((_, known)) => *known += count,
            None => self.link_types.push((link_type, count)),
        }
    }

    /// This and the summary of one more file, their frames in order of time.
    pub(super) fn and(mut self, other: Summary) -> Summary {
        if !self.format.split(" + ").any(|format| format == other.format) {
            self.format = format!("{} + {}", self.format, other.format);
        }
        (self.first_ns, self.last_ns) = match (self.packets, other.packets) {
            (_, 0) => (self.first_ns, self.last_ns),
            (0, _) => (other.first_ns, other.last_ns),
            _ => (self.first_ns.min(other.first_ns), self.last_ns.max(other.last_ns)),
        };
        self.packets += other.packets;
        self.captured_bytes += other.captured_bytes;
        self.wire_bytes += other.wire_bytes;
        other.link_types.iter().for_each(|(link_type, count)| self.add_link_type(*link_type, *count));
        self.snaplen = self.snaplen.max(other.snaplen);
        self.snaplen_cut += other.snaplen_cut;
        self.backwards += other.backwards;
        self.bad_blocks += other.bad_blocks;
        self.cuts.extend(other.cuts);
        self.changes.extend(other.changes);
        self
    }
}

/// Numbers of frames: few enough for registers.
#[derive(Clone, Copy, Default)]
struct Sums {
    captured: u64,
    wire: u64,
    cut: u64,
    least_ns: u64,
    most_ns: u64,
    previous_ns: u64,
    backwards: u64,
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, frame: &Frame) {
        self.captured += u64::from(frame.captured);
        self.wire += u64::from(frame.wire);
        self.cut += u64::from(frame.captured < frame.wire);
        self.least_ns = self.least_ns.min(frame.time_ns);
        self.most_ns = self.most_ns.max(frame.time_ns);
        self.backwards += u64::from(frame.time_ns < self.previous_ns);
        self.previous_ns = frame.time_ns;
    }
}
