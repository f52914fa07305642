//! `ctbench sweep`

mod axis;
mod workloads;

use super::compare::{core_counts, machine_doubts, no_engine, positive, runnable};
use super::output::{OutputArgs, is_stdout};
use super::steering::{SteeringArg, runnable as runs_under};
use super::{InputArgs, WRONG_VERDICTS, interrupt};
use crate::engine::registry::{Kind, select};
use crate::measure::fitness::of_runs;
use crate::measure::{self, Clock, Host, Plan, Stamping, Stop};
use crate::replay::{Pace, Rate, Steering};
use crate::report::sweep::{Circumstances, Point, Setting, SweepFile, csv, document, head};
use crate::verify::Judge;
use anyhow::{bail, ensure};
use axis::{Axis, Over, over};
use clap::Args;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::SystemTime;
use workloads::Workloads;

pub(super) const EXAMPLES: &str = "\
What can be swept, as --over NAME=VALUES; all combinations are measured:
  rules     made-up rules in each direction, the same in both worlds, that let everything pass
  flows     flows that begin in a made-up trace (--traffic)
  churn     new flows a second of packet time in a made-up trace
  burst     packets handed to an engine at once
  capacity  entries in the flow tables
  pps       offered load in packets a second (open loop); without it the loop is closed
VALUES are a list of numbers (250, 10k, 1M) and ranges: 1..8, 8..32+8 in steps, 5..5120*2 in multiples.

Examples:
  ctbench sweep --over rules=10..10k*10 --over flows=1k,100k --engine 'state*-linear' --csv map.csv
      where a look into the table becomes cheaper than the rules; again, it continues where it stopped
  ctbench sweep traces/web --over burst=1,8,32 --cores 1,2 --csv -
  ctbench sweep --over pps=500k..8M*2 --engine stateful-lockfree-linear --json load.json --report load.html";

/// Arguments of `sweep`.
#[derive(Debug, Args)]
pub(super) struct SweepArgs {
    #[command(flatten)]
    input: InputArgs,
    /// What is swept (see below); repeats
    #[arg(long, value_name = "NAME=VALUES", value_parser = over)]
    over: Vec<Over>,
    /// Engines; repeat it, or use * and ? [default: those of `compare`]
    #[arg(long, value_name = "NAME")]
    engine: Vec<String>,
    /// Numbers of cores [default: 1]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    cores: Vec<u16>,
    /// How packets reach cores, one after the other
    #[arg(long, value_enum, value_delimiter = ',', default_value = "symmetric")]
    steering: Vec<SteeringArg>,
    /// Under asymmetric and spray: no core runs more than so many packets of the trace ahead of the
    /// slowest
    #[arg(long, value_name = "N", default_value_t = Steering::DEFAULT_WINDOW, value_parser = clap::value_parser!(u32).range(1..))]
    order_window: u32,
    /// Of what made-up traces are: a profile of `ctbench gen`, or a recipe file
    #[arg(long, value_name = "PROFILE", default_value = "web")]
    traffic: String,
    /// Packets of a made-up trace, at most
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    packets: u64,
    /// Open loop: at most so many packets wait for each core; what comes then is lost
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    queue: u32,
    /// Time for each engine at each point, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = positive)]
    time: f64,
    /// Refuse to measure on a machine that is not fit for it: busy, its workers not pinned, its frequency or cores shared
    #[arg(long)]
    strict: bool,
    /// Write one CSV row a point, as soon as it is known (`-` for stdout). Points that the file has are not
    /// measured again; one with other settings is refused
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
    /// No table
    #[arg(long)]
    quiet: bool,
}

impl SweepArgs {
    fn check(&self) -> anyhow::Result<()> {
        self.output.check()?;
        let mut seen = HashSet::new();
        if let Some(twice) = self.over.iter().find(|over| !seen.insert(over.axis.name())) {
            bail!("--over {0}=... is given twice: {0}=A,B sweeps over both", twice.axis.name());
        }
        let set = |axis| self.over.iter().any(|over| over.axis == axis);
        let made_up = set(Axis::Flows) || set(Axis::Churn);
        ensure!(
            !made_up || self.input.input.is_empty(),
            "--over flows and churn make traces up (--traffic): leave out {}",
            super::input::names(&self.input.input)
        );
        let own_rules = self.input.security_groups.is_some() || self.input.network_acls.is_some();
        ensure!(!set(Axis::Rules) || !own_rules, "--over rules makes rules up: leave out the rule files");
        let symmetric = self.steering.iter().all(|steering| *steering == SteeringArg::Symmetric);
        ensure!(
            !set(Axis::Pps) || symmetric,
            "--over pps needs --steering symmetric: an open loop keeps no order between cores"
        );
        Ok(())
    }

    /// The values of an axis; one `None` if it is not swept.
    fn values(&self, axis: Axis) -> Vec<Option<u64>> {
        let swept = self.over.iter().find(|over| over.axis == axis);
        swept.map_or(vec![None], |over| over.values.iter().copied().map(Some).collect())
    }

    /// All but the lists: what must be the same where points stand side by side.
    fn settings(&self, host: &Host) -> String {
        let mut hasher = DefaultHasher::new();
        let others = (&self.input, self.order_window, self.queue);
        format!("{others:?}").hash(&mut hasher);
        format!(
            "ctbench {}; {} s a point; {} of at most {} packets; {} with {} cores; other options {:08x}",
            env!("CARGO_PKG_VERSION"),
            self.time,
            self.traffic,
            self.packets,
            host.cpu,
            host.cores,
            hasher.finish() as u32
        )
    }

    /// The settings in the order in which they are measured: what takes longest to prepare changes least often.
    fn all(&self) -> Vec<Setting> {
        let mut settings = vec![Setting {
            steering: "",
            rules: None,
            flows: None,
            churn: None,
            burst: u64::from(self.input.burst),
            capacity: None,
            pps: None,
        }];
        for axis in [Axis::Flows, Axis::Churn, Axis::Rules, Axis::Capacity, Axis::Burst] {
            let with = |value: Option<u64>, mut setting: Setting| {
                match axis {
                    Axis::Flows => setting.flows = value,
                    Axis::Churn => setting.churn = value,
                    Axis::Rules => setting.rules = value,
                    Axis::Capacity => setting.capacity = value,
                    _ => setting.burst = value.unwrap_or(setting.burst),
                }
                setting
            };
            let values = self.values(axis);
            settings = settings.iter().flat_map(|s| values.iter().map(|value| with(*value, s.clone()))).collect();
        }
        settings
    }
}

pub(super) fn sweep(args: SweepArgs) -> anyhow::Result<ExitCode> {
    args.check()?;
    let clock = Clock::new();
    let cores = if args.cores.is_empty() { vec![1] } else { core_counts(&args.cores) };
    let (host, started) = (Host::read(), SystemTime::now());
    let doubts = machine_doubts(&host, clock.floor().quantile(0.5), &cores)?;
    if args.strict && !doubts.is_empty() {
        let reasons: Vec<String> = doubts.iter().map(|doubt| format!("\n  - {doubt}")).collect();
        bail!("--strict: this machine is not fit to measure on:{}", reasons.concat());
    }
    let settings = args.settings(&host);
    let to_stdout = is_stdout(&args.csv);
    let (mut file, points) = match &args.csv {
        Some(path) if !to_stdout => SweepFile::open(path, &settings).map(|(file, points)| (Some(file), points))?,
        _ => (None, Vec::new()),
    };
    let stop = interrupt::stop()?;
    let stdout_taken = [&args.csv, &args.output.json, &args.output.report].into_iter().any(is_stdout);
    let text_wanted = !args.quiet && !stdout_taken;
    let mut out = std::io::stdout().lock();
    if !points.is_empty() {
        eprintln!("{} points are known already", points.len());
    }
    if text_wanted {
        write!(out, "{}", head())?;
    } else if to_stdout {
        write!(out, "{}", csv(&[]))?;
    }
    out.flush()?;
    let mut tell = |point: &Point, out: &mut dyn Write| -> anyhow::Result<()> {
        if let Some(file) = &mut file {
            file.add(point)?;
        }
        if text_wanted {
            writeln!(out, "{}", point.line())?;
        } else if to_stdout {
            write!(out, "{}", point.row())?;
        }
        Ok(out.flush()?)
    };
    let mut sweep = Sweep { args: &args, clock, cores, settings, points, stop };
    sweep.run(|point| tell(point, &mut out))?;

    let partial = sweep.stop.is_asked();
    if text_wanted {
        for doubt in &doubts {
            writeln!(out, "Doubt: {doubt}.")?;
        }
        if partial {
            writeln!(out, "PARTIAL: cut short by Ctrl-C; the same command with the same --csv continues.")?;
        }
    }
    if args.output.json.is_some() || args.output.report.is_some() {
        let title =
            format!("Sweep over {}", args.over.iter().map(|over| over.axis.name()).collect::<Vec<_>>().join(", "));
        args.output.write(&mut out, document(&title, started, &host, &sweep.settings, &sweep.points, partial))?;
    }
    out.flush()?;
    Ok(match () {
        () if sweep.points.iter().any(|point| point.error().is_some()) => ExitCode::from(WRONG_VERDICTS),
        () if partial => interrupt::exit_code(),
        () => ExitCode::SUCCESS,
    })
}

/// A setting as a message names it.
fn place(at: &Setting) -> String {
    let named = [at.rules, at.flows, at.churn, Some(at.burst), at.capacity, at.pps].into_iter().zip(Axis::ALL);
    let named = named.filter_map(|(value, axis)| Some(format!("{} {}", axis.name(), value?)));
    named.collect::<Vec<_>>().join(", ")
}

/// A sweep on its way.
struct Sweep<'a> {
    args: &'a SweepArgs,
    clock: Clock,
    cores: Vec<usize>,
    settings: String,
    points: Vec<Point>,
    stop: Stop,
}

impl Sweep<'_> {
    /// Measures all points that are not known yet.
    fn run(&mut self, mut tell: impl FnMut(&Point) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let args = self.args;
        let known: HashSet<Vec<String>> = self.points.iter().map(|point| point.key().to_vec()).collect();
        let mut workloads = Workloads::new(&args.input, &args.traffic, args.packets)?;
        let mut warned = HashSet::new();
        for setting in args.all() {
            let steerings = args.steering.iter().map(|steering| steering.steering(args.order_window));
            let pps = args.values(Axis::Pps);
            let here: Vec<(Steering, Setting)> = steerings
                .flat_map(|steering| pps.iter().map(move |pps| (steering, *pps)))
                .map(|(steering, pps)| (steering, Setting { steering: steering.name(), pps, ..setting.clone() }))
                .collect();
            // Named engines whose points are all known need no input.
            let wanted = (!args.engine.is_empty()).then(|| select(&args.engine).map_err(no_engine)).transpose()?;
            let is_known = |kind: &Kind| {
                here.iter().all(|(_, at)| self.cores.iter().all(|cores| known.contains(&at.key(kind.name(), *cores))))
            };
            if wanted.as_ref().is_some_and(|kinds| kinds.iter().all(is_known)) {
                continue;
            }
            if self.stop.is_asked() {
                return Ok(());
            }
            let Setting { rules, flows, churn, burst, capacity, .. } = setting;
            let mut input = workloads.load(rules, flows, churn, burst, capacity, &self.clock)?;
            for warning in &input.warnings {
                if warned.insert(warning.clone()) {
                    eprintln!("warning: {warning}");
                }
            }
            for (steering, at) in here {
                let window = steering.window().unwrap_or(u32::MAX);
                ensure!(
                    u64::from(window) >= at.burst,
                    "--order-window {window} is less than a burst of {} packets: give a larger --order-window",
                    at.burst
                );
                input.workload.steering = steering;
                let kinds = match &wanted {
                    // Of several steerings, not every engine takes each.
                    Some(kinds) => runs_under(steering, kinds.clone(), args.steering.len() == 1)?,
                    None => runnable(&input.workload, None, None)?,
                };
                let kinds = runnable(&input.workload, Some(kinds), None)?;
                let judge = Judge::new(&input.workload);
                for cores in self.cores.clone() {
                    let is_new = |kind: &Kind| {
                        !known.contains(&at.key(kind.name(), cores)) && (cores == 1 || !judge.is_single_core(*kind))
                    };
                    let kinds: Vec<Kind> = kinds.iter().copied().filter(is_new).collect();
                    if kinds.is_empty() {
                        continue;
                    }
                    let pace = at.pps.map(|pps| Pace { rate: Rate::PerSecond(pps as f64), queue: args.queue as usize });
                    let seconds = args.time * kinds.len() as f64;
                    let stop = self.stop.clone();
                    let (baseline, search, precision, stamping) = (None, None, 0.0, Some(Stamping::Every));
                    let plan =
                        Plan { kinds, cores: vec![cores], baseline, pace, search, seconds, precision, stamping, stop };
                    let results = measure::run(&input.workload, &judge, None, &plan, &self.clock, |_| ())?;
                    if results.partial {
                        return Ok(());
                    }
                    let about = input.about();
                    let around = Circumstances {
                        packets: about.evaluated,
                        flows: input.flows,
                        rules: about.rules,
                        entries: input.workload.geometry.capacity(),
                        noise_floor: results.controls.first().map(|control| control.noise_floor()),
                    };
                    for doubt in of_runs(&results.runs, around.entries) {
                        eprintln!("doubt at {}: {doubt}", place(&at));
                    }
                    for run in &results.runs {
                        let point = Point::new(&at, run, &around, &self.settings);
                        tell(&point)?;
                        self.points.push(point);
                    }
                }
            }
        }
        Ok(())
    }
}
