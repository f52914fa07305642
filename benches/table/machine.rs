//! What the machine did meanwhile.

use super::subject::Span;
use ctbench::measure::Clock;
use ctbench::measure::statistics::median;
use ctbench::replay::Pool;
use std::sync::atomic::{AtomicU64, Ordering::*};

/// Ticks that the hypervisor took from this machine.
pub fn stolen() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    stat.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse().ok()).unwrap_or(0)
}

/// ns that a cache line takes from one core of two to the other and what it says to be seen there: the median of nine times
/// a thousand. On a virtual machine it may be three times as much from one minute to the next, as its cores move.
pub fn handover_ns(clock: &Clock, two: &Pool) -> f64 {
    const TURNS: u64 = 1_000;
    let once = |_| {
        let turn = AtomicU64::new(0);
        let spans = two.run(|core| {
            let start = clock.raw();
            for n in 0..TURNS {
                let mine = 2 * n + core as u64;
                while turn.load(Acquire) != mine {
                    std::hint::spin_loop();
                }
                turn.store(mine + 1, Release);
            }
            (start, clock.raw())
        });
        Span::of(clock, &spans).0 / (2 * TURNS) as f64
    };
    median(&(0..9).map(once).collect::<Vec<_>>())
}
