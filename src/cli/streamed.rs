//! `--stream`: `replay`, `compare` and `verify` of a trace that is not kept in memory.

use super::compare::RunArgs;
use super::input::Prepared;
use super::interrupt;
use super::output::{is_stdout, write_file};
use super::report::{of_path, write_report};
use super::{FAILURE, InputArgs, WRONG_VERDICTS};
use crate::engine::registry::{Kind, engines};
use crate::measure::fitness::of_runs;
use crate::measure::{Clock, ClockFloor, Host, Stop, StreamPlan, Streamed, Unfit, run_streamed};
use crate::packet::Packet;
use crate::replay::Workload;
use crate::replay::streamed::Stages;
use crate::report::result::ResultFile;
use crate::report::{self, About, Report};
use crate::scenario::Expect;
use crate::trace::stream::{Decoder, Fit, Reader, Sequence, Sink};
use crate::trace::{Selection, Trace};
use crate::verify::Counts;
use anyhow::{bail, ensure};
use clap::Args;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Debug, Args)]
pub(super) struct StreamArgs {
    /// Read, decode and replay at the same time, in memory that does not grow with the trace [default: if the trace
    /// would not fit into memory]
    #[arg(long)]
    stream: bool,
}

impl StreamArgs {
    /// Whether the trace is to be streamed: because the user says so, or because it does not fit. `whole`: options that
    /// need all of it, and whether they were given. `runs`: engines, each on each number of cores.
    pub(super) fn applies(&self, prepared: &Prepared, whole: &[(&str, bool)], runs: usize) -> anyhow::Result<bool> {
        let option = whole.iter().find(|(_, given)| *given).map(|(option, _)| option);
        if self.stream {
            if let Some(option) = option {
                bail!("{option} needs the whole trace in memory, and --stream does not keep it: leave out one of them");
            }
            return Ok(true);
        }
        let fit = Fit::of(prepared.trace(), runs);
        if fit.fits() {
            return Ok(false);
        }
        let size = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
        if let Some(option) = option {
            bail!(
                "the trace needs about {} of memory, {} are free, and {option} needs all of it at once: leave it out, or \
                 take a part of the trace, for example with editcap",
                size(fit.needed),
                size(fit.free)
            );
        }
        eprintln!(
            "the trace needs about {} of memory, {} are free: it is streamed, as with --stream",
            size(fit.needed),
            size(fit.free)
        );
        Ok(true)
    }
}

/// A trace that is about to be streamed.
struct Input {
    workload: Workload,
    decoder: Arc<Decoder>,
    selection: Selection,
    paths: Vec<PathBuf>,
    first: (Reader, Stages),
    expect: Option<Expect>,
    about: About,
    warnings: Vec<String>,
    nothing_inside: String,
}

impl Input {
    fn open(mut prepared: Prepared, args: &InputArgs) -> anyhow::Result<Self> {
        let stages = Stages::default();
        let paths = prepared.trace().to_vec();
        let mut reader = Reader::open(&paths, stages.read.clone())?;
        let decoder = Arc::new(Decoder { filter: args.selection.filter(), ..prepared.decoder(false) });
        let selection = args.selection.selection(reader.first_ns().unwrap_or(0));
        let mut start_ns = 0;
        if prepared.needs_start() {
            ensure!(
                reader.can_repeat(),
                "the scenario changes its rules at times after the first packet, which a pipe does not tell beforehand: \
                 write the trace to a file, or the times as in RFC 3339"
            );
            start_ns = first_packet_ns(reader, &decoder, selection)?;
            reader = Reader::open(&paths, stages.read.clone())?;
        }
        let workload = prepared.workload(args, Trace::default(), None, start_ns)?;
        Ok(Input {
            about: prepared.about(&workload),
            expect: prepared.expect().cloned(),
            nothing_inside: prepared.nothing_inside(),
            warnings: prepared.warnings,
            workload,
            decoder,
            selection,
            paths,
            first: (reader, stages),
        })
    }

    /// Runs these engines; completes what is said of the trace.
    fn run(
        self,
        runs: Vec<(Kind, usize)>,
        seconds: f64,
        clock: &Clock,
        stop: &Stop,
        progress: impl FnMut(f64),
    ) -> anyhow::Result<(Workload, About, Streamed)> {
        let Input { workload, decoder, selection, paths, first, expect, mut about, mut warnings, nothing_inside } =
            self;
        let decoders = std::thread::available_parallelism().map_or(1, |n| n.get());
        let open = |busy| Reader::open(&paths, busy);
        let plan = StreamPlan { runs, seconds, selection, stop: stop.clone(), decoder, decoders, open: &open };
        let streamed = run_streamed(&workload, expect.as_ref(), &plan, first, clock, progress)?;
        let summary = &streamed.summary;
        warnings.extend(summary.warnings());
        let ignored = streamed.results.runs.first().map_or(0, |run| run.tally.ignored);
        about.packets = streamed.evaluated + ignored;
        if streamed.evaluated == 0 && about.packets > 0 && selection == Selection::default() {
            warnings.push(nothing_inside);
        }
        about.evaluated = streamed.evaluated as usize;
        about.duration_s = summary.duration_s();
        about.wire_bytes = summary.wire_bytes;
        about.warnings = warnings;
        Ok((workload, about, streamed))
    }
}

/// Packet time of the first evaluated packet; 0 without one.
fn first_packet_ns(mut reader: Reader, decoder: &Decoder, selection: Selection) -> anyhow::Result<u64> {
    #[derive(Default)]
    struct First(Option<u64>);
    impl Sink for First {
        fn packet(&mut self, _: u64, packet: &Packet, _: usize) {
            self.0.get_or_insert(packet.time_ns);
        }
        fn fragment(&mut self, _: u64, packet: &Packet, _: usize) {
            self.0.get_or_insert(packet.time_ns);
        }
        fn datagram(&mut self, _: u64, _: &Packet, _: Vec<u64>) {}
        fn lost(&mut self, _: Vec<u64>) {}
    }
    let (mut sequence, mut first) = (Sequence::new(selection), First::default());
    while first.0.is_none()
        && let Some(batch) = reader.next()?
    {
        sequence.batch(&decoder.decode(batch), &mut first);
    }
    Ok(first.0.unwrap_or(0))
}

/// Every engine on each number of cores on which it can be judged; if there is none, on one.
fn runs(workload: &Workload, kinds: &[Kind], cores: &[usize]) -> Vec<(Kind, usize)> {
    // An allowance is exact on one core only.
    let one_core = |kind: Kind| kind.is_single_core() || (kind.is_stateful() && workload.config.allowance > 0);
    let mut runs = Vec::new();
    for cores in cores.iter().copied() {
        runs.extend(kinds.iter().filter(|kind| cores == 1 || !one_core(**kind)).map(|kind| (*kind, cores)));
    }
    if runs.is_empty() {
        runs.extend(kinds.iter().map(|kind| (*kind, 1)));
    }
    runs
}

/// What `compare` and `replay` do, of a trace that is not kept. `doubts`: of the machine.
pub(super) fn compare(
    prepared: Prepared,
    input_args: &InputArgs,
    args: &RunArgs,
    choose: impl Fn(&Workload) -> anyhow::Result<Vec<Kind>>,
    cores: &[usize],
    (clock, host, clock_floor, mut doubts): (&Clock, Host, ClockFloor, Vec<Unfit>),
    progress: impl FnMut(f64),
) -> anyhow::Result<ExitCode> {
    let input = Input::open(prepared, input_args)?;
    // Of a pipe, all tables are in memory at once.
    let few = args.cores.is_empty() && !input.first.0.can_repeat();
    let cores = if few { &cores[cores.len().saturating_sub(1)..] } else { cores };
    let runs = runs(&input.workload, &choose(&input.workload)?, cores);
    let (stop, started) = (interrupt::stop()?, std::time::SystemTime::now());
    let (workload, about, streamed) = input.run(runs, args.time, clock, &stop, progress)?;
    for warning in &about.warnings {
        eprintln!("warning: {warning}");
    }
    let results = &streamed.results;
    doubts.extend(of_runs(&results.runs, workload.geometry.capacity()));
    let exceeded = |counts: &Counts| counts.count(|d| d.reason() == crate::engine::Reason::AllowanceExceeded) as usize;
    let report = Report {
        command: report::command_line(),
        started,
        host,
        about,
        clock_floor,
        clock_ticks: clock.ticks_per_second(),
        clock_ratio: clock.against_os(),
        differences: streamed.refereed.differences.map(|(a, b)| (a as usize, b as usize)),
        reasons: None,
        allowance_exceeded: streamed.refereed.stateful.as_ref().map_or(0, exceeded),
        changes: Vec::new(),
        doubts,
        pace: None,
        stamping: None,
        results,
        workload: &workload,
    };
    let mut out = std::io::stdout().lock();
    if !args.quiet && ![&args.json, &args.csv, &args.report].into_iter().any(is_stdout) {
        write!(out, "{}", report::text::heading(&report.about))?;
        write!(out, "{}", report::streamed_text::results(&report, streamed.referee_beside))?;
    }
    let document = report::json::document(&report);
    if let Some(path) = &args.json {
        write_file(path, &mut out, &format!("{document:#}\n"))?;
    }
    let result = [ResultFile::from_json(Path::new("this run"), document)?];
    if let Some(path) = &args.csv {
        write_file(path, &mut out, &report::csv::render(&result))?;
    }
    if let Some(path) = &args.report {
        out.flush()?;
        write_report(of_path(path)?, &result, path)?;
    }
    out.flush()?;
    if stop.is_asked() {
        return Ok(interrupt::exit_code());
    }
    let wrong = results.runs.iter().any(|run| run.error.is_some());
    Ok(if wrong { ExitCode::from(WRONG_VERDICTS) } else { ExitCode::SUCCESS })
}

/// What `verify` does, of a trace that is not kept.
pub(super) fn verify(prepared: Prepared, args: &InputArgs, cores: &[usize]) -> anyhow::Result<ExitCode> {
    let input = Input::open(prepared, args)?;
    let kinds: Vec<Kind> = engines().map(|engine| engine.kind).filter(|kind| input.workload.can_run(*kind)).collect();
    // Of a pipe, all tables are in memory at once.
    let cores = if input.first.0.can_repeat() { cores } else { &[2] };
    let runs = runs(&input.workload, &kinds, cores);
    let expected = input.expect.as_ref().map(|expect| expect.packets);
    let (_, about, streamed) = input.run(runs, f64::MIN_POSITIVE, &Clock::new(), &Stop::default(), |_| ())?;
    for warning in &about.warnings {
        eprintln!("warning: {warning}");
    }
    let mut out = std::io::stdout().lock();
    if let Some(expected) = expected.filter(|expected| *expected != about.packets) {
        writeln!(out, "the trace has {} packets, the scenario expects {expected}", about.packets)?;
        return Ok(ExitCode::from(FAILURE));
    }
    let width = engines().map(|engine| engine.name.len()).max().unwrap_or(0);
    for run in &streamed.results.runs {
        let result = run.error.as_deref().unwrap_or("ok");
        writeln!(out, "{}", super::verify::line(run.kind, width, run.cores, run.steering, &run.tally, result))?;
    }
    let wrong = streamed.results.runs.iter().any(|run| run.error.is_some());
    Ok(if wrong { ExitCode::from(WRONG_VERDICTS) } else { ExitCode::SUCCESS })
}
