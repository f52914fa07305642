//! A part of a file, copied into memory that is used again: to map its pages takes longer than to copy them
//! (`benches/decode`).

use super::source::Source;
use std::io;

/// Most bytes that are copied. A record that is longer is looked at in the mapped file, so that a damaged length costs no
/// memory.
const MOST: usize = 4 << 20;

/// A part of a file.
pub(super) struct Excerpt<'a> {
    source: &'a Source,
    /// The whole file, mapped.
    file: &'a [u8],
    /// Memory for copies; of the present one, so many bytes.
    copy: Vec<u8>,
    len: usize,
    /// Where the copy begins in the file. `None`: it is not used, but the whole file.
    start: Option<usize>,
}

impl<'a> Excerpt<'a> {
    /// Nothing yet of a file that has these bytes.
    pub(super) fn new(source: &'a Source, file: &'a [u8]) -> Self {
        Excerpt { source, file, copy: Vec::new(), len: 0, start: None }
    }

    /// Begins anew, at this place.
    pub(super) fn begin(&mut self, at: usize) {
        self.len = 0;
        self.start = Some(at);
    }

    /// Goes on to this place.
    pub(super) fn go_on(&mut self, to: usize) -> io::Result<()> {
        let Some(start) = self.start else { return Ok(()) };
        let (have, want) = (self.len, to - start);
        if want > MOST {
            self.start = None;
        } else if want > have {
            if want > self.copy.len() {
                self.copy.resize(want, 0);
            }
            match self.source.copy(start + have, &mut self.copy[have..want])? {
                true => self.len = want,
                false => self.start = None,
            }
        }
        Ok(())
    }

    /// The bytes that are there, and where in the file they begin.
    #[inline(always)]
    pub(super) fn bytes(&self) -> (&[u8], usize) {
        match self.start {
            Some(start) => (&self.copy[..self.len], start),
            None => (self.file, 0),
        }
    }
}
