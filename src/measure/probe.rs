//! The machine's floor: what random access to memory costs here and now, with nothing around it.

use super::Clock;
use super::statistics::Random;
use crate::replay::Pool;
use memmap2::MmapMut;
use std::hint::black_box;

/// Bytes of a cache line.
const LINE: usize = 64;

/// Touches a measurement: a few milliseconds.
const TOUCHES: u64 = 200_000;

/// Lines of which each says where the next is: one in so many touches, since each takes a whole miss.
const STEPS: u64 = TOUCHES / 10;

/// Memory that the probe touches.
pub struct Probe {
    map: MmapMut,
    lines: usize,
}

/// What the probe found, in ns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeCost {
    /// A random line read, changed and written, asked for in bursts ahead of use: what a flow table cannot beat.
    pub line_ns: f64,
    /// A random line whose place is known only when the line before it is here: a miss that nothing hides.
    pub dependent_ns: f64,
}

#[derive(Clone, Copy)]
struct Lines(*mut u64);
// SAFETY: every core touches lines of its own share only (see `touch`).
unsafe impl Sync for Lines {}

impl Probe {
    /// So many bytes, touched once, in huge pages where the system grants them. At least one line a core is needed.
    pub fn new(bytes: u64) -> std::io::Result<Self> {
        let mut map = MmapMut::map_anon((bytes as usize).max(1024 * LINE))?;
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage); // The system may refuse: then with small pages, as the tables.
        map.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        let lines = map.len() / LINE;
        Ok(Probe { map, lines })
    }

    /// Each core touches so many random lines of its share, in bursts. First start and last end, in ns apart.
    pub fn touch(&mut self, clock: &Clock, pool: &Pool, touches: u64, burst: usize) -> u64 {
        let share = self.lines / pool.cores();
        let lines = Lines(self.map.as_mut_ptr().cast());
        let burst = burst.clamp(1, 256);
        let spans = pool.run(|core| {
            let lines = &lines;
            let mut random = Random::new(core as u64 + 1);
            let mut at = [0; 256];
            let start = clock.raw();
            for _ in 0..touches / burst as u64 {
                for at in &mut at[..burst] {
                    *at = 8 * (core * share + random.below(share));
                    prefetch(lines.0.wrapping_add(*at));
                }
                for at in &at[..burst] {
                    // SAFETY: `at` is 8 times a line number below `lines`, in this core's share, which no other
                    // core touches; `self` is borrowed exclusively, and the map is aligned to pages.
                    unsafe { *lines.0.add(*at) += 1 };
                }
            }
            (start, clock.raw())
        });
        black_box(self.map[0]);
        let start = spans.iter().map(|span| span.0).min().unwrap_or(0);
        let end = spans.iter().map(|span| span.1).max().unwrap_or(0);
        clock.ns(start, end)
    }

    /// One core follows a chain of random lines. In ns.
    fn follow(&mut self, clock: &Clock, steps: u64) -> u64 {
        let mut random = Random::new(1);
        let mut at = 0;
        let start = clock.raw();
        for _ in 0..steps {
            // What is read decides, if only in theory, where to go on: so the processor must wait for it.
            let read = u64::from_le_bytes(self.map[at..at + 8].try_into().unwrap_or_default());
            at = LINE * ((random.below(self.lines) ^ (read >> 63) as usize) % self.lines);
        }
        let end = clock.raw();
        black_box(at);
        clock.ns(start, end)
    }

    /// Both costs, each the median of five: a line's on all cores of the pool at once (ns a line and core), a chain's
    /// on one.
    pub fn cost(&mut self, clock: &Clock, pool: &Pool, burst: usize) -> ProbeCost {
        let median = |mut measure: Box<dyn FnMut() -> f64 + '_>| {
            let samples: Vec<f64> = (0..5).map(|_| measure()).collect();
            super::statistics::median(&samples)
        };
        let line_ns = median(Box::new(|| self.touch(clock, pool, TOUCHES, burst) as f64 / TOUCHES as f64));
        let dependent_ns = median(Box::new(|| self.follow(clock, STEPS) as f64 / STEPS as f64));
        ProbeCost { line_ns, dependent_ns }
    }
}

fn prefetch(line: *const u64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect but on the caches, whatever the address.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every touch adds one to a line of the core that made it.
    #[test]
    fn every_touch_is_made() {
        let (clock, pool) = (Clock::new(), Pool::new(2).unwrap());
        let mut probe = Probe::new(1 << 20).unwrap();
        let sum = |probe: &Probe| -> u64 {
            probe.map.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).sum()
        };
        let before = sum(&probe);
        probe.touch(&clock, &pool, 3_200, 32);
        assert_eq!(sum(&probe) - before, 2 * 3_200);
        let cost = probe.cost(&clock, &pool, 32);
        assert!(cost.line_ns > 0.0 && cost.dependent_ns > 0.0);
    }
}
