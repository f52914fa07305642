//! The floor: random cache lines read, changed and written, prefetched in bursts, over as much memory as the
//! table has, in pages of the same size.

use ctbench::measure::Clock;
use ctbench::measure::statistics::Random;
use ctbench::replay::Pool;
use memmap2::MmapMut;
use std::hint::black_box;

/// From the first core's start to the last one's end, in ns.
#[derive(Clone, Copy)]
pub struct Span(pub f64);

impl Span {
    pub fn of(clock: &Clock, spans: &[(u64, u64)]) -> Self {
        let start = spans.iter().map(|span| span.0).min().unwrap_or(0);
        let end = spans.iter().map(|span| span.1).max().unwrap_or(0);
        Span(clock.ns(start, end) as f64)
    }
}

pub struct Probe {
    map: MmapMut,
    lines: usize,
}

#[derive(Clone, Copy)]
struct Lines(*mut u64);
// SAFETY: every core touches lines of its own only (see `touch`).
unsafe impl Sync for Lines {}

impl Probe {
    pub fn new(bytes: u64) -> Self {
        let mut map = MmapMut::map_anon(bytes as usize).expect("memory for the probe");
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        map.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        Probe { map, lines: bytes as usize / 64 }
    }

    /// Each core touches so many random lines of its share.
    pub fn touch(&mut self, clock: &Clock, pool: &Pool, touches: u64, burst: usize) -> Span {
        let share = self.lines / pool.cores();
        let lines = Lines(self.map.as_mut_ptr().cast());
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
                    // SAFETY: inside the mapping, and in this core's share of it.
                    unsafe { *lines.0.add(*at) += 1 };
                }
            }
            (start, clock.raw())
        });
        black_box(self.map[0]);
        Span::of(clock, &spans)
    }
}

fn prefetch(line: *const u64) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect but on the caches.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}
