//! Whether a trace would fit into memory, by the beginning of its files.

use crate::trace::record::Records;
use crate::trace::source::memory_limit;
use crate::trace::unpack::Packing;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Bytes looked at of each file, decompressed.
const SAMPLE: u64 = 4 << 20;
/// A packet's place among the frames, decoded and in the trace, and what the reference says of it.
const PACKET: u64 = 320;
/// The same in the lanes of each engine on each number of cores, with the decisions.
const PACKET_IN_LANES: u64 = 80;

/// What a trace would take in memory, and what it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fit {
    /// Bytes that it needs, about.
    pub needed: u64,
    /// Bytes of free memory.
    pub free: u64,
}

impl Fit {
    /// Estimates what these files would take when replayed by so many engines, each on each number of cores. Of what
    /// cannot be looked at twice, or at all, nothing is known: it counts as nothing.
    pub fn of(paths: &[PathBuf], runs: usize) -> Self {
        let a_packet = PACKET + PACKET_IN_LANES * runs as u64;
        let files = paths.iter().flat_map(|path| match path.is_dir() {
            true => crate::trace::capture::files_of(path).unwrap_or_default(),
            false => vec![path.clone()],
        });
        let needed = files.filter_map(|path| needed(&path, a_packet).ok().flatten()).sum();
        Fit { needed, free: memory_limit() * 2 }
    }

    /// True if it fits, with a quarter of the free memory left over.
    pub fn fits(self) -> bool {
        self.needed <= self.free / 4 * 3
    }
}

/// `None` for what is no file, or no capture.
fn needed(path: &Path, a_packet: u64) -> io::Result<Option<u64>> {
    // Whoever writes to a pipe would be lost if it were opened and closed again.
    let about = std::fs::metadata(path)?;
    if !about.is_file() {
        return Ok(None);
    }
    let mut file = BufReader::new(File::open(path)?);
    let packing = Packing::of(file.fill_buf()?);
    let (sample, used) = match packing {
        None => {
            let mut sample = Vec::new();
            file.take(SAMPLE).read_to_end(&mut sample)?;
            let used = sample.len() as u64;
            (sample, used)
        }
        Some(packing) => packing.sample(file, SAMPLE)?,
    };
    let Ok((mut records, begin)) = Records::begin(&sample) else { return Ok(None) };
    let mut packets = 0u64;
    let (walked, _) = records.walk(&sample[begin..], |_| packets += 1);
    let unpacked = about.len() as f64 * sample.len() as f64 / used.max(1) as f64;
    let all_packets = unpacked / (walked.max(1) as f64 / packets.max(1) as f64);
    let held = if packing.is_some() { unpacked } else { 0.0 };
    Ok(Some((all_packets * a_packet as f64 + held) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::synthesis::{self, Recipe};
    use std::fs;

    #[test]
    fn packets_are_estimated_from_the_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let mut recipe = Recipe::profile("web").unwrap();
        recipe.packets = Some(200_000);
        let mut bytes = Vec::new();
        synthesis::write(&recipe, &mut bytes).unwrap();
        let plain = folder.path().join("plain");
        fs::write(&plain, &bytes).unwrap();
        let packed = folder.path().join("packed");
        fs::write(&packed, zstd::encode_all(&bytes[..], 1).unwrap()).unwrap();
        let within = |needed: u64, right: u64| (right * 3 / 4..right * 4 / 3).contains(&needed);
        let records = 200_000 * (PACKET + 2 * PACKET_IN_LANES);
        let of = |path: &PathBuf| Fit::of(std::slice::from_ref(path), 2).needed;
        assert!(within(of(&plain), records), "{}", of(&plain));
        assert!(within(of(&packed), records + bytes.len() as u64), "{}", of(&packed));
        let both = Fit::of(&[folder.path().to_owned()], 2);
        assert_eq!(both.needed, of(&plain) + of(&packed));
        assert_eq!(Fit::of(&["/dev/null".into(), "/no/such/file".into()], 2).needed, 0);
        assert!(Fit { needed: 75, free: 100 }.fits() && !Fit { needed: 76, free: 100 }.fits());
    }
}
