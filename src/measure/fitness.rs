//! What makes a machine, or a run, unfit to measure on, and what to do about it.

use super::{Host, Run};
use crate::engine::registry::Kind;
use std::fmt;

/// Above this load a core, others compete with the workers.
const IDLE_LOAD: f64 = 0.3;

/// Share of the workers' time that the system may take before a figure is in doubt.
const TAKEN_SHARE: f64 = 0.01;

/// A clock pair that costs more is too coarse for single packets, in ns.
const FINE_CLOCK_NS: u64 = 100;

/// A fuller table probes longer than the sizes that it was built for.
const FULL_SHARE: f64 = 0.85;

/// A pass that is shorter is mostly its start, in ns.
const SHORT_PASS_NS: f64 = 100_000.0;

/// A reason to doubt what was measured.
#[derive(Clone, Debug, PartialEq)]
pub enum Unfit {
    /// Workers may wander between cores.
    NotPinned {
        /// Threads that are pinned.
        pinned: usize,
        /// Threads in all.
        workers: usize,
    },
    /// More workers than cores.
    TooFewCores {
        /// Workers asked for.
        workers: usize,
        /// Cores that there are.
        cores: usize,
    },
    /// Others were using the machine when the run began.
    Busy {
        /// Load average over the last minute.
        load: f64,
        /// Cores.
        cores: usize,
    },
    /// Two workers share a physical core.
    SharedCore,
    /// The frequency changes with the load.
    Governor(String),
    /// The clock is coarse or slow.
    CoarseClock(
        /// Two readings lie so far apart, in ns.
        u64,
    ),
    /// The clock jumped, or runs at another speed than the system's.
    ClockOff {
        /// What it made of the run's time, as a multiple of what the system's clock did.
        ratio: f64,
        /// Readings that were lower than the one before.
        backwards: u64,
    },
    /// The trace is repeated, and no round has flows of its own.
    LoopedTrace,
    /// The system took time from the workers.
    Taken {
        /// From which run's it took most: engine and cores.
        run: String,
        /// Share of that run's time.
        share: f64,
    },
    /// The passes before the first sample did not settle.
    Unsteady {
        /// Of these runs: engine and cores.
        runs: Vec<String>,
    },
    /// A table was nearly full.
    FullTable {
        /// Whose was fullest: engine and cores.
        run: String,
        /// Share of its entries in use at the fullest moment.
        share: f64,
    },
    /// A pass takes no time.
    ShortTrace {
        /// Packets a pass.
        packets: usize,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Unfit::NotPinned { pinned, workers } => {
                write!(
                    f,
                    "{} of {workers} workers are not pinned and may wander between cores: allow ",
                    workers - pinned
                )?;
                f.write_str("sched_setaffinity, or start ctbench with `taskset`")
            }
            Unfit::TooFewCores { workers, cores } => {
                write!(f, "{workers} workers on {cores} cores take turns: ask for at most --cores {cores}")
            }
            Unfit::Busy { load, cores } => {
                write!(f, "others use this machine (load {load:.2} on {cores} cores): stop them, or wait a minute")
            }
            Unfit::SharedCore => f.write_str(
                "hardware threads share cores: with `--cores` at most half of them, or switch SMT off \
                 (/sys/devices/system/cpu/smt/control)",
            ),
            Unfit::Governor(name) => {
                write!(f, "the frequency governor is {name}: `cpupower frequency-set -g performance` keeps it steady")
            }
            Unfit::CoarseClock(ns) => {
                write!(f, "two clock readings lie {ns} ns apart: no single packet can be timed; trust throughput alone")
            }
            Unfit::ClockOff { ratio, backwards } => write!(
                f,
                "the clock made {ratio:.4} of a second of each, and went backwards {backwards} times: trust no figure, and choose another clock source (/sys/devices/system/clocksource)"
            ),
            Unfit::LoopedTrace => f.write_str(
                "every round of --loop has the same flows, so only the first inserts any: add --unique-flows",
            ),
            Unfit::Taken { run, share } => write!(
                f,
                "the system took up to {:.1} % of the workers' time ({run}): read the clean percentiles, or find a quieter machine",
                share * 100.0
            ),
            Unfit::Unsteady { runs } => write!(
                f,
                "before the first sample the passes did not settle of {}: give more --time, and read the intervals",
                runs.join(", ")
            ),
            Unfit::FullTable { run, share } => {
                write!(f, "the table was up to {:.0} % full ({run}): a larger --capacity may be faster", share * 100.0)
            }
            Unfit::ShortTrace { packets } => {
                write!(f, "the trace is short ({packets} packets): a pass is over before caches and predictors settle")
            }
        }
    }
}

/// What is wrong with a machine before anything is measured. `clock_ns`: two clock readings lie so far apart.
/// `workers` is the largest number of threads.
pub fn of_machine(host: &Host, clock_ns: u64, workers: usize, pinned: usize) -> Vec<Unfit> {
    let mut found = Vec::new();
    if workers > host.cores {
        found.push(Unfit::TooFewCores { workers, cores: host.cores });
    } else if pinned < workers {
        found.push(Unfit::NotPinned { pinned, workers });
    }
    if let Some(load) = host.load.parse::<f64>().ok().filter(|load| *load > IDLE_LOAD * host.cores as f64) {
        found.push(Unfit::Busy { load, cores: host.cores });
    }
    if host.threads_per_core > 1 && workers * host.threads_per_core > host.cores {
        found.push(Unfit::SharedCore);
    }
    if !matches!(host.governor.as_str(), "performance" | "unknown") {
        found.push(Unfit::Governor(host.governor.clone()));
    }
    if clock_ns > FINE_CLOCK_NS {
        found.push(Unfit::CoarseClock(clock_ns));
    }
    found
}

/// Clocks of which one makes this share more or less of the time than the other do not agree. The system slews its own
/// by at most 500 millionths.
const CLOCKS_AGREE: f64 = 0.002;

/// Whether the clock can be trusted, once the run is over. `ratio`: see [`Clock::against_os`](super::Clock::against_os).
pub fn of_clock(ratio: Option<f64>, backwards: u64) -> Option<Unfit> {
    let ratio = ratio.unwrap_or(1.0);
    ((ratio - 1.0).abs() > CLOCKS_AGREE || backwards > 0).then_some(Unfit::ClockOff { ratio, backwards })
}

/// What is doubtful about runs that were measured.
pub fn of_runs(runs: &[Run], capacity: u64) -> Vec<Unfit> {
    let mut found = Vec::new();
    let worst = |share: &dyn Fn(&Run) -> f64, limit: f64| {
        let worst = runs.iter().max_by(|a, b| share(a).total_cmp(&share(b)))?;
        (share(worst) > limit).then(|| (name(worst), share(worst)))
    };
    if let Some((run, share)) = worst(&|run| run.measured.noise.taken_share(), TAKEN_SHARE) {
        found.push(Unfit::Taken { run, share });
    }
    let unsteady: Vec<String> =
        runs.iter().filter(|run| !run.measured.steady && !run.measured.pps.is_empty()).map(name).collect();
    if !unsteady.is_empty() {
        found.push(Unfit::Unsteady { runs: unsteady });
    }
    let full =
        |run: &Run| run.measured.counters.map_or(0.0, |table| table.peak_entries as f64 / capacity.max(1) as f64);
    if let Some((run, share)) = worst(&full, FULL_SHARE) {
        found.push(Unfit::FullTable { run, share });
    }
    // The bare loop is always short.
    let short = |run: &&Run| run.kind != Kind::Null && run.packets as f64 / run.pps.value * 1e9 < SHORT_PASS_NS;
    if let Some(run) = runs.iter().filter(|run| run.packets > 0).find(short) {
        found.push(Unfit::ShortTrace { packets: run.packets });
    }
    found
}

fn name(run: &Run) -> String {
    format!("{} on {} core{}", run.kind.name(), run.cores, if run.cores == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host {
            cpu: "unknown".into(),
            cores: 4,
            threads_per_core: 1,
            caches: Vec::new(),
            kernel: "unknown".into(),
            platform: "unknown".into(),
            virtual_machine: true,
            governor: "performance".into(),
            huge_pages: "unknown".into(),
            load: "0.10".into(),
        }
    }

    #[test]
    fn every_reason_is_found_and_says_what_to_do() {
        let fine = 10;
        assert_eq!(of_machine(&host(), fine, 4, 4), []);
        assert_eq!(of_machine(&host(), fine, 4, 3), [Unfit::NotPinned { pinned: 3, workers: 4 }]);
        assert_eq!(of_machine(&host(), fine, 5, 4), [Unfit::TooFewCores { workers: 5, cores: 4 }]);
        let busy = Host { load: "1.30".into(), ..host() };
        assert_eq!(of_machine(&busy, fine, 1, 1), [Unfit::Busy { load: 1.3, cores: 4 }]);
        let smt = Host { threads_per_core: 2, ..host() };
        assert_eq!(of_machine(&smt, fine, 2, 2), []);
        assert_eq!(of_machine(&smt, fine, 3, 3), [Unfit::SharedCore]);
        let slow = Host { governor: "powersave".into(), load: "unknown".into(), ..host() };
        assert_eq!(of_machine(&slow, fine, 1, 1), [Unfit::Governor("powersave".into())]);
        let unknown = Host { governor: "unknown".into(), ..host() };
        assert_eq!(of_machine(&unknown, fine, 1, 1), []);
        let coarse = 1_000;
        assert_eq!(of_machine(&host(), coarse, 1, 1), [Unfit::CoarseClock(1_000)]);
        for doubt in of_machine(&slow, coarse, 5, 4) {
            assert!(doubt.to_string().contains(": "), "{doubt}");
        }
        assert!(Unfit::LoopedTrace.to_string().contains("--unique-flows"));
    }

    #[test]
    fn a_clock_that_jumps_is_found() {
        assert_eq!(of_clock(None, 0), None);
        assert_eq!(of_clock(Some(1.0004), 0), None);
        // An hour more than the ten seconds that passed; and one that stood still.
        for ratio in [361.0, 0.0, 0.99] {
            let off = of_clock(Some(ratio), 0);
            assert_eq!(off, Some(Unfit::ClockOff { ratio, backwards: 0 }));
            assert!(off.is_some_and(|off| off.to_string().contains("trust no figure")));
        }
        assert_eq!(of_clock(None, 3), Some(Unfit::ClockOff { ratio: 1.0, backwards: 3 }));
    }
}
