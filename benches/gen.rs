//! Making traces: each profile against writing the same bytes from memory.
//!
//! `cargo bench --bench gen`. One core; in turns; medians, and only the ratios of one run mean something.

use ctbench::measure::Clock;
use ctbench::measure::statistics::median;
use ctbench::trace::synthesis::{PROFILES, Recipe, write};
use std::fs::File;
use std::io::Write;

const PACKETS: u64 = 2_000_000;
const ROUNDS: usize = 5;
/// As the generator writes.
const BLOCK: usize = 256 << 10;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = Clock::new();
    let path = std::env::temp_dir().join(format!("ctbench-gen-{}.pcap", std::process::id()));
    println!("{:14} {:>9} {:>9} {:>14} {:>16}", "profile", "ns/packet", "Mpps", "bytes/packet", "x (write alone)");
    for (name, _, _) in PROFILES {
        let mut recipe = Recipe::profile(name).ok_or("a profile")?;
        recipe.packets = Some(PACKETS);
        let mut bytes = Vec::new();
        let made = write(&recipe, &mut bytes)?;
        let (mut making, mut copying) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let start = clock.raw();
            write(&recipe, File::create(&path)?)?;
            let made_at = clock.raw();
            let mut file = File::create(&path)?;
            for block in bytes.chunks(BLOCK) {
                file.write_all(block)?;
            }
            making.push(clock.ns(start, made_at) as f64 / made.packets as f64);
            copying.push(clock.ns(made_at, clock.raw()) as f64 / made.packets as f64);
        }
        let ns = median(&making);
        println!(
            "{name:14} {ns:>9.1} {:>9.2} {:>14.1} {:>16.2}",
            1000.0 / ns,
            made.bytes as f64 / made.packets as f64,
            ns / median(&copying)
        );
    }
    std::fs::remove_file(&path)?;
    Ok(())
}
