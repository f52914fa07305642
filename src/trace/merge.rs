//! Several files as one trace.

use super::Frame;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// All frames in order of time. Within a file the order is kept, even where its times go back: such a
/// frame comes right after those that it followed. Of equals, the earlier file's frame comes first.
pub(super) fn by_time(mut files: Vec<Vec<Frame>>) -> Vec<Frame> {
    files.retain(|file| !file.is_empty());
    if files.len() < 2 {
        return files.pop().unwrap_or_default();
    }
    let mut merged = Vec::with_capacity(files.iter().map(Vec::len).sum());
    // The next frame of each file: its file's latest time so far, the file, its place.
    let mut heads: BinaryHeap<_> =
        files.iter().enumerate().map(|(file, frames)| Reverse((frames[0].time_ns, file, 0))).collect();
    while let Some(Reverse((time_ns, file, mut at))) = heads.pop() {
        let frames = &files[file];
        let next = heads.peek().map(|Reverse((time_ns, file, _))| (*time_ns, *file));
        let mut now_ns = time_ns;
        // Files that follow each other are copied in one go.
        while at < frames.len() && next.is_none_or(|next| (now_ns, file) <= next) {
            merged.push(frames[at]);
            at += 1;
            now_ns = now_ns.max(frames.get(at).map_or(0, |frame| frame.time_ns));
        }
        if at < frames.len() {
            heads.push(Reverse((now_ns, file, at)));
        }
    }
    merged
}
