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

    /// Of frames that follow one of this time.
    pub(super) fn of(frames: &[Frame], previous_ns: Option<u64>) -> Summary {
        let mut summary = Summary::default();
        let mut before = None;
        for frame in frames {
            summary.add(frame, before);
            before = Some(frame.time_ns);
        }
        let goes_back = frames.first().is_some_and(|frame| previous_ns.is_some_and(|before| frame.time_ns < before));
        summary.backwards += u64::from(goes_back);
        summary
    }

    #[inline]
    pub(super) fn add(&mut self, frame: &Frame, previous_ns: Option<u64>) {
        if previous_ns.is_none() {
            self.first_ns = frame.time_ns;
        }
        self.packets += 1;
        self.captured_bytes += u64::from(frame.captured);
        self.wire_bytes += u64::from(frame.wire);
        match self.link_types.iter_mut().find(|(link, _)| *link == frame.link_type) {
            Some((_, count)) => *count += 1,
            None => self.link_types.push((frame.link_type, 1)),
        }
        self.snaplen_cut += u64::from(frame.captured < frame.wire);
        self.first_ns = self.first_ns.min(frame.time_ns);
        self.last_ns = self.last_ns.max(frame.time_ns);
        self.backwards += u64::from(previous_ns.is_some_and(|previous| frame.time_ns < previous));
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
        for (link, count) in other.link_types {
            match self.link_types.iter_mut().find(|(known, _)| *known == link) {
                Some((_, known)) => *known += count,
                None => self.link_types.push((link, count)),
            }
        }
        self.snaplen = self.snaplen.max(other.snaplen);
        self.snaplen_cut += other.snaplen_cut;
        self.backwards += other.backwards;
        self.bad_blocks += other.bad_blocks;
        self.cuts.extend(other.cuts);
        self.changes.extend(other.changes);
        self
    }
}
