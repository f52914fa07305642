//! Where a capture's bytes come from: a mapped file, or what a pipe gave.

use super::mapped::Mapped;
use super::unpack::Packing;
use super::{TraceError, headers};
use std::cmp::Ordering;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// What a file is called, and how it is compressed, if it is.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) path: PathBuf,
    pub(super) packing: Option<Packing>,
}

/// One file, or standard input.
pub(super) struct Source {
    pub(super) origin: Origin,
    pub(super) bytes: Bytes,
    /// The header trace that `bytes` were made of, if it is one.
    pub(super) headers: Option<Bytes>,
    /// The mapped file, to see whether it changed.
    file: Option<File>,
}

/// Bytes that stay where they are.
pub(super) enum Bytes {
    Mapped(Mapped),
    Read(Vec<u8>),
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Mapped(map) => map,
            Bytes::Read(bytes) => bytes,
        }
    }
}

impl Source {
    /// Opens a file, a pipe, or standard input (`-`), and recognises its format by its first bytes,
    /// never by its name. What cannot be mapped is read to its end.
    pub(super) fn open(path: &Path) -> Result<Self, TraceError> {
        let failed = |source| TraceError::Io { path: path.to_owned(), source };
        if path == Path::new("-") {
            return Source::read(path, &mut io::stdin().lock());
        }
        let mut file = File::open(path).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Source::read(path, &mut file);
        }
        let map = Mapped::file(&file).map_err(failed)?;
        Source::recognise(path, Bytes::Mapped(map), Some(file))
    }

    fn read(path: &Path, from: &mut dyn Read) -> Result<Self, TraceError> {
        let limit = memory_limit();
        let mut bytes = Vec::new();
        from.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| TraceError::Io { path: path.to_owned(), source })?;
        if bytes.len() as u64 > limit {
            return Err(TraceError::TooLarge { path: path.to_owned(), limit });
        }
        Source::recognise(path, Bytes::Read(bytes), None)
    }

    fn recognise(path: &Path, bytes: Bytes, file: Option<File>) -> Result<Self, TraceError> {
        if bytes.is_empty() {
            return Err(TraceError::Empty(path.to_owned()));
        }
        if headers::recognise(&bytes) {
            let made = Bytes::Mapped(Mapped::memory(headers::capture(path, &bytes)?));
            let origin = Origin { path: path.to_owned(), packing: None };
            return Ok(Source { origin, bytes: made, headers: Some(bytes), file: None });
        }
        let origin = Origin { path: path.to_owned(), packing: Packing::of(&bytes) };
        Ok(Source { origin, bytes, headers: None, file })
    }

    /// True if it can be opened again: a file, no pipe, and not a list of headers.
    pub(super) fn is_regular(&self) -> bool {
        self.file.is_some()
    }

    /// Copies a part of the file; what the file has lost since it was opened is zeros, as in the map. False: there is no file
    /// to copy from, or no way to (elsewhere than on Unix).
    pub(super) fn copy(&self, from: usize, into: &mut [u8]) -> io::Result<bool> {
        #[cfg(unix)]
        if let Some(file) = &self.file {
            use std::os::unix::fs::FileExt;
            let mut done = 0;
            while done < into.len() {
                match file.read_at(&mut into[done..], (from + done) as u64) {
                    Ok(0) => break,
                    Ok(count) => done += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            into[done..].fill(0);
            return Ok(true);
        }
        let _ = (from, into);
        Ok(false)
    }

    /// How many of its bytes are still there.
    pub(super) fn length_now(&self) -> usize {
        let about = self.file.as_ref().and_then(|file| file.metadata().ok());
        about.map_or(self.bytes.len(), |about| self.bytes.len().min(about.len() as usize))
    }

    /// What happened to the file since it was opened, if anything.
    pub(super) fn change(&self) -> Option<String> {
        let now = self.file.as_ref()?.metadata().ok()?.len();
        change(&self.origin.path, self.bytes.len() as u64, now)
    }
}

/// How a file has changed that had so many bytes and now has so many, if it has.
pub(super) fn change(path: &Path, then: u64, now: u64) -> Option<String> {
    let path = path.display();
    match now.cmp(&then) {
        Ordering::Equal => None,
        Ordering::Greater => {
            Some(format!("{path} grew from {then} to {now} bytes while it was read: what it held at first is used"))
        }
        Ordering::Less => {
            Some(format!("{path} shrank from {then} to {now} bytes while it was read: what was left of it is used"))
        }
    }
}

/// Most bytes that are held of captures that cannot be mapped: half of what memory is free.
pub(super) fn memory_limit() -> u64 {
    const UNKNOWN: u64 = 4 << 30;
    let available = || {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    };
    available().map_or(UNKNOWN, |kib| kib * 1024 / 2)
}
