//! A capture file in memory.

use super::{TraceError, headers};
use memmap2::Mmap;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::path::{Path, PathBuf};

/// A mapped capture file.
pub struct Capture {
    path: PathBuf,
    /// The file.
    file: Mmap,
    /// The capture that it stands for, if it is a header trace.
    made: Option<Mmap>,
    pub(super) format: Format,
}

/// The formats that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Pcap,
    PcapNg,
}

impl Capture {
    /// Maps a file and recognises its format by its first bytes, never by its name.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let io = |source| TraceError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        if file.metadata().map_err(io)?.is_dir() {
            return Err(TraceError::Folder(path.to_owned()));
        }
        // SAFETY: the map is only read. If another process cuts the file while we read it, the
        // system ends us with SIGBUS; if it changes bytes, we read other frames, and every length
        // is checked against the map before it is used.
        let bytes = unsafe { Mmap::map(&file) }.map_err(io)?;
        let made = if headers::recognise(&bytes) { Some(headers::capture(path, &bytes)?) } else { None };
        let format = recognise(path, made.as_ref().unwrap_or(&bytes))?;
        Ok(Capture { path: path.to_owned(), file: bytes, made, format })
    }

    /// The file's bytes; of a header trace, those of the capture that it stands for.
    pub fn bytes(&self) -> &[u8] {
        self.made.as_ref().unwrap_or(&self.file)
    }

    /// True for a ClassBench header trace: a list of headers, in no direction.
    pub fn is_header_trace(&self) -> bool {
        self.made.is_some()
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SHA-256 of the whole file, in hexadecimal.
    pub fn sha256(&self) -> String {
        Sha256::digest(&self.file).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn recognise(path: &Path, bytes: &[u8]) -> Result<Format, TraceError> {
    if bytes.is_empty() {
        return Err(TraceError::Empty(path.to_owned()));
    }
    let magic = &bytes[..bytes.len().min(4)];
    let compressed = |format, command| Err(TraceError::Compressed { path: path.to_owned(), format, command });
    match magic {
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xd4, 0xc3, 0xb2, 0xa1] | [0xa1, 0xb2, 0x3c, 0x4d] | [0x4d, 0x3c, 0xb2, 0xa1] => {
            Ok(Format::Pcap)
        }
        [0x0a, 0x0d, 0x0d, 0x0a] => Ok(Format::PcapNg),
        [0x1f, 0x8b, ..] => compressed("gzip", "gzip -d"),
        [0x28, 0xb5, 0x2f, 0xfd] => compressed("zstd", "zstd -d"),
        [0x04, 0x22, 0x4d, 0x18] => compressed("lz4", "lz4 -d"),
        _ => {
            let magic = magic.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
            Err(TraceError::NotACapture { path: path.to_owned(), magic })
        }
    }
}
