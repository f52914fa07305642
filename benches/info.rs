//! `ctbench info` against tcpdump and tshark: whole processes, the capture in the page cache.
//!
//!     cargo bench --bench info [-- CAPTURE…]
//!
//! Without captures, of some made-up traces: how long `info` takes hangs on how many flows there are, which the others do
//! not count. Each capture is copied first, since one that was written a few bytes at a time is slower to read for everybody.
//! Programs take turns; milliseconds are medians, and so are the ratios of one round. Programs that are not installed are
//! left out.

use ctbench::measure::statistics::median;
use std::error::Error;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const CTBENCH: &str = env!("CARGO_BIN_EXE_ctbench");
const PROFILES: [&str; 5] = ["game", "long-lived", "web", "cps", "dns"];
const PACKETS: &str = "5000000";
/// Of the trace that tshark reads, which takes its time.
const FEW_PACKETS: &str = "300000";
const ROUNDS: usize = 9;

/// Milliseconds that a program takes; `None` if it cannot be started.
fn run(program: &str, arguments: &[&OsStr]) -> Option<f64> {
    let started = Instant::now();
    let status =
        Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).status();
    let taken = started.elapsed().as_secs_f64() * 1e3;
    status.ok().map(|status| {
        assert!(status.success(), "{program} failed");
        taken
    })
}

/// Compares `info` with another program that is given these arguments.
fn compare(name: &str, capture: &Path, program: &str, arguments: &[&OsStr]) -> Option<()> {
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let info = run(CTBENCH, &["info".as_ref(), capture.as_os_str()])?;
        let other = run(program, arguments)?;
        ours.push(info);
        theirs.push(other);
        ratios.push(other / info);
    }
    println!("{name:30} {:>10.1} {program:>10} {:>10.1} {:>10.2}", median(&ours), median(&theirs), median(&ratios));
    Some(())
}

fn made(folder: &Path, profile: &str, packets: &str) -> Result<PathBuf, Box<dyn Error>> {
    let path = folder.join(profile);
    let arguments = ["gen".as_ref(), profile.as_ref(), "--packets".as_ref(), packets.as_ref(), "-o".as_ref()];
    run(CTBENCH, &[&arguments[..], &[path.as_os_str()]].concat()).ok_or("ctbench cannot be started")?;
    Ok(path)
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let captures: Vec<PathBuf> = std::env::args().skip(1).filter(|name| name != "--bench").map(PathBuf::from).collect();
    println!("{:30} {:>10} {:>10} {:>10} {:>10}", "capture", "info, ms", "beside", "ms", "x as fast");
    let against_tcpdump = |name: &str, path: &Path| {
        let arguments: [&OsStr; 4] = ["-r".as_ref(), path.as_os_str(), "-w".as_ref(), "/dev/null".as_ref()];
        compare(name, path, "tcpdump", &arguments).unwrap_or_else(|| println!("{name:30} tcpdump is not installed"));
    };
    let copy = folder.path().join("copy");
    for capture in &captures {
        std::fs::copy(capture, &copy)?;
        against_tcpdump(&capture.file_name().unwrap_or_default().to_string_lossy(), &copy);
    }
    if captures.is_empty() {
        for profile in PROFILES {
            let path = made(folder.path(), profile, PACKETS)?;
            std::fs::copy(&path, &copy)?;
            std::fs::remove_file(&path)?;
            against_tcpdump(&format!("{profile}, {PACKETS} packets"), &copy);
        }
        let path = made(folder.path(), "web", FEW_PACKETS)?;
        let name = format!("web, {FEW_PACKETS} packets");
        let arguments: [&OsStr; 6] =
            ["-r".as_ref(), path.as_os_str(), "-T".as_ref(), "fields".as_ref(), "-e".as_ref(), "ip.src".as_ref()];
        compare(&name, &path, "tshark", &arguments).unwrap_or_else(|| println!("{name:30} tshark is not installed"));
    }
    Ok(())
}
