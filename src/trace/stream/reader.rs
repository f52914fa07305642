//! One or several files as one stream of frames.

use super::batch::Batch;
use super::file::File;
use crate::measure::Busy;
use crate::trace::capture::files_of;
use crate::trace::chunk::Chunk;
use crate::trace::{Frame, Summary, TraceError};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Frames of a batch that is merged from several files: enough work to hand over.
const MERGED_FRAMES: usize = 8192;
/// Chunks that such a batch may lie in.
const MERGED_PARTS: usize = 16;

/// Reads captures, a batch at a time.
pub struct Reader {
    inputs: Vec<Input>,
    /// The files whose frames are not used up: the latest time of each so far, its next frame's included, and which
    /// it is. The order is that of [`crate::trace::Capture::frames`].
    heads: BinaryHeap<Reverse<(u64, usize)>>,
    /// Frames given out.
    given: u64,
    skipped: Vec<PathBuf>,
    can_repeat: bool,
    busy: Busy,
}

struct Input {
    path: PathBuf,
    /// `None`: opened when its turn comes, or read to its end.
    file: Option<File>,
    summary: Summary,
    /// The chunk in use.
    bytes: Option<Arc<Chunk>>,
    frames: Vec<Frame>,
    /// Of `frames`, the next.
    next: usize,
}

impl Reader {
    /// Opens captures: files, folders of them, pipes, standard input for the path `-`. What the reading threads run
    /// is added to `busy`.
    pub fn open(paths: &[impl AsRef<Path>], busy: Busy) -> Result<Self, TraceError> {
        let mut reader = Reader {
            inputs: Vec::new(),
            heads: BinaryHeap::new(),
            given: 0,
            skipped: Vec::new(),
            can_repeat: true,
            busy,
        };
        for path in paths.iter().map(AsRef::as_ref) {
            if !path.is_dir() {
                reader.add(path)?;
                continue;
            }
            let before = reader.inputs.len();
            for file in files_of(path)? {
                match reader.add(&file) {
                    Err(TraceError::Empty(file) | TraceError::NotACapture { path: file, .. }) => {
                        reader.skipped.push(file);
                    }
                    result => result?,
                }
            }
            if reader.inputs.len() == before {
                return Err(TraceError::NoCaptures(path.to_owned()));
            }
        }
        // Of many files, only those are open and in memory whose times overlap.
        if reader.inputs.len() > 1 {
            for (number, input) in reader.inputs.iter_mut().enumerate() {
                let waits = reader.heads.iter().any(|Reverse((_, waiting))| *waiting == number);
                if waits && input.file.as_ref().is_some_and(File::is_regular) {
                    input.close();
                }
            }
        }
        Ok(reader)
    }

    fn add(&mut self, path: &Path) -> Result<(), TraceError> {
        let file = File::open(path, &self.busy)?;
        self.can_repeat &= file.is_regular();
        let mut input = Input {
            path: path.to_owned(),
            file: Some(file),
            summary: Summary::default(),
            bytes: None,
            frames: Vec::new(),
            next: 0,
        };
        if input.load()? {
            self.heads.push(Reverse((input.frames[0].time_ns, self.inputs.len())));
        }
        self.inputs.push(input);
        Ok(())
    }

    /// True if the same can be read again from the beginning: files, no pipe.
    pub fn can_repeat(&self) -> bool {
        self.can_repeat
    }

    /// Time of the first frame; before any was asked for. `None` if there is none.
    pub fn first_ns(&self) -> Option<u64> {
        self.heads.peek().map(|Reverse((time_ns, _))| *time_ns)
    }

    /// The next frames. `None` at the end.
    #[allow(clippy::should_implement_trait)] // Of results of options, as in streaming parsers.
    pub fn next(&mut self) -> Result<Option<Batch>, TraceError> {
        let mut batch = Batch { first: self.given + 1, frames: Vec::new(), parts: Vec::new() };
        while batch.frames.len() < MERGED_FRAMES
            && batch.parts.len() < MERGED_PARTS
            && let Some(Reverse((mut now_ns, number))) = self.heads.pop()
        {
            let input = &mut self.inputs[number];
            if input.file.is_none() {
                input.file = Some(File::open(&input.path, &self.busy)?);
                input.load()?;
            }
            let next = self.heads.peek().map(|Reverse(head)| *head);
            let before = batch.frames.len();
            let alone = next.is_none() && input.next == 0 && batch.frames.is_empty();
            if alone {
                input.next = input.frames.len();
                batch.frames = std::mem::take(&mut input.frames);
                now_ns = batch.frames.iter().fold(now_ns, |now_ns, frame| now_ns.max(frame.time_ns));
            } else {
                let part = batch.parts.len() as u32;
                while let Some(frame) = input.frames.get(input.next)
                    && next.is_none_or(|next| (now_ns.max(frame.time_ns), number) <= next)
                {
                    now_ns = now_ns.max(frame.time_ns);
                    batch.frames.push(Frame { part, ..*frame });
                    input.next += 1;
                }
            }
            if batch.frames.len() > before {
                batch.parts.extend(input.bytes.clone());
            }
            let more = input.next < input.frames.len() || input.load()?;
            if more {
                self.heads.push(Reverse((now_ns.max(input.frames[input.next].time_ns), number)));
            }
            if alone {
                break;
            }
        }
        self.given += batch.frames.len() as u64;
        Ok((!batch.frames.is_empty()).then_some(batch))
    }

    /// What the files say of themselves, as far as they were read.
    pub fn summary(&mut self) -> Result<Summary, TraceError> {
        let mut all: Option<Summary> = None;
        for input in &mut self.inputs {
            if let Some(file) = &mut input.file {
                input.summary = file.end()?;
            }
            let summary = std::mem::take(&mut input.summary);
            all = Some(match all {
                None => summary,
                Some(all) => all.and(summary),
            });
        }
        let mut summary = all.unwrap_or_default();
        summary.skipped = std::mem::take(&mut self.skipped);
        Ok(summary)
    }
}

impl Input {
    /// Reads on until there are frames. False at the end.
    fn load(&mut self) -> Result<bool, TraceError> {
        self.frames.clear();
        // As many as the last time: growing the list again and again costs more than the room.
        self.frames.reserve(self.next);
        self.next = 0;
        self.bytes = None;
        let Some(file) = &mut self.file else { return Ok(false) };
        while let Some(bytes) = file.next(&mut self.frames)? {
            if !self.frames.is_empty() {
                self.bytes = Some(Arc::new(bytes));
                return Ok(true);
            }
        }
        self.summary = file.end()?;
        self.close();
        Ok(false)
    }

    fn close(&mut self) {
        (self.file, self.bytes, self.frames) = (None, None, Vec::new());
    }
}
