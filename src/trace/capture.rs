//! One or several capture files.

use super::record::Records;
use super::source::Source;
use super::{Filter, TraceError};
use crate::packet::Decap;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// Capture files that make one trace.
pub struct Capture {
    pub(super) sources: Vec<Source>,
    /// Files of a folder that are no captures.
    pub(super) skipped: Vec<PathBuf>,
    pub(super) decap: Decap,
    pub(super) filter: Option<Filter>,
}

impl Capture {
    /// Opens a capture file; a folder of them; or standard input, for the path `-`. What it is, and how
    /// it is compressed, is recognised by its first bytes.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        Capture::open_all(&[path])
    }

    /// Opens several: see [`Capture::open`].
    pub fn open_all(paths: &[impl AsRef<Path>]) -> Result<Self, TraceError> {
        let mut capture = Capture { sources: Vec::new(), skipped: Vec::new(), decap: Decap::default(), filter: None };
        for path in paths.iter().map(AsRef::as_ref) {
            match path.is_dir() {
                true => capture.add_folder(path)?,
                false => capture.sources.push(Source::open(path)?),
            }
        }
        for source in &capture.sources {
            source.check()?;
        }
        Ok(capture)
    }

    /// Opens these tunnels: engines see what they carry.
    #[must_use]
    pub fn with_decap(mut self, decap: Decap) -> Self {
        self.decap = decap;
        self
    }

    /// Makes [`Capture::scan`] leave out what the filter does not select.
    #[must_use]
    pub fn with_filter(mut self, filter: Option<Filter>) -> Self {
        self.filter = filter;
        self
    }

    /// The captures of a folder. Their packets are put in order of time.
    fn add_folder(&mut self, folder: &Path) -> Result<(), TraceError> {
        let before = self.sources.len();
        for path in files_of(folder)? {
            match Source::open(&path).and_then(|source| source.check().map(|()| source)) {
                Ok(source) => self.sources.push(source),
                Err(TraceError::Empty(path) | TraceError::NotACapture { path, .. }) => self.skipped.push(path),
                Err(error) => return Err(error),
            }
        }
        if self.sources.len() == before {
            return Err(TraceError::NoCaptures(folder.to_owned()));
        }
        Ok(())
    }

    /// True for a ClassBench header trace: a list of headers, in no direction.
    pub fn is_header_trace(&self) -> bool {
        self.sources.iter().any(|source| source.headers.is_some())
    }

    /// The bytes of the (first) file, as they are; of a header trace, those of the capture that it stands for.
    pub fn bytes(&self) -> &[u8] {
        self.sources.first().map_or(&[], |source| &source.bytes)
    }

    /// The (first) file's name.
    pub fn path(&self) -> &Path {
        self.sources.first().map_or(Path::new(""), |source| &source.origin.path)
    }

    /// SHA-256 of the file as it is, in hexadecimal; of several, of their bytes one after the other.
    pub fn sha256(&self) -> String {
        let mut hash = Sha256::new();
        self.sources.iter().for_each(|source| hash.update(&**source.headers.as_ref().unwrap_or(&source.bytes)));
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The files of a folder, by name.
pub(super) fn files_of(folder: &Path) -> Result<Vec<PathBuf>, TraceError> {
    let io = |source| TraceError::Io { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

impl Source {
    /// That it is a capture, or at least compressed: of what, is seen when it is decompressed.
    fn check(&self) -> Result<(), TraceError> {
        match self.origin.packing {
            Some(_) => Ok(()),
            None => Records::begin(&self.bytes).map(drop).map_err(|why| self.origin.no_records(why, &self.bytes)),
        }
    }
}
