//! Files that verbs write, and stdout for `-`.

use anyhow::Context;
use std::io::Write;
use std::path::{Path, PathBuf};

pub(super) fn is_stdout(path: &Option<PathBuf>) -> bool {
    path.as_deref() == Some(Path::new("-"))
}

pub(super) fn write_file(path: &Path, stdout: &mut dyn Write, text: &str) -> anyhow::Result<()> {
    write_with(path, stdout, |out| out.write_all(text.as_bytes()))
}

/// Writes to a file, or to stdout for `-`. A full disk is an error that names the file.
pub(super) fn write_with(
    path: &Path,
    stdout: &mut dyn Write,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> anyhow::Result<()> {
    if path == Path::new("-") {
        return Ok(write(stdout)?);
    }
    let write_all = || -> std::io::Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        write(&mut file)?;
        file.flush()
    };
    write_all().with_context(|| format!("writing {}", path.display()))
}
