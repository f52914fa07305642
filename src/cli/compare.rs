//! `ctbench compare` and `ctbench replay`

use super::flow_log;
use super::fresh;
use super::input::{Input, Prepared, random_seed};
use super::interrupt;
use super::load::LoadArgs;
use super::output::{is_stdout, write_file, write_with};
use super::recorder::RecorderArgs;
use super::report::{of_path, write_report};
use super::share::{ShareArg, share};
use super::steering::{self, SteeringArgs};
use super::streamed::{self, StreamArgs};
use super::{InputArgs, SLOWER, WRONG_VERDICTS, percentage};
use crate::engine::registry::{Kind, engines, select};
use crate::explain::Explanation;
use crate::measure::fitness::{of_clock, of_machine, of_runs};
use crate::measure::{self, Clock, Host, Plan, Recording, Stamping, Unfit};
use crate::replay::{Pool, Workload, World};
use crate::report::differences::Differences;
use crate::report::format::Format;
use crate::report::picture;
use crate::report::result::ResultFile;
use crate::report::{self, Report};
use crate::verify::{Judge, changes};
use anyhow::{Context, bail, ensure};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  ctbench compare
      the bundled scenario through the default engines, on one core and on all
  ctbench compare traces/forgotten-ephemeral-ports
      another scenario
  ctbench compare my.pcap --inside 10.0.1.0/24 --security-groups sg.json --network-acls acl.json
      your own capture and rules
  ctbench compare --engine 'stateful-*' --cores 1 --time 30 --json result.json
  ctbench compare --load paced --pps 2000000 --cores 1
      packets when they are due, whether the engine is ready or not: latency with waiting, and loss";

pub(super) const REPLAY_EXAMPLES: &str = "\
Examples:
  ctbench replay --engine stateful-lockfree-linear --verdicts verdicts.csv
  ctbench replay my.pcap --inside 10.0.1.5/32 --security-groups sg.json --engine reference --verdicts -
  tcpdump -i eth0 -w - | ctbench replay - --stream --inside 10.0.1.5/32 --security-groups sg.json --engine stateful-percore-linear
  ctbench replay --engine stateful-lockfree-linear --flow-log flows.log.gz --flow-log-field account-id=123456789012";

/// Arguments of `compare`.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Engines to compare; repeat it, or use * and ? [default: those that `ctbench engines` lists as such, as
    /// far as the given rules can run them]
    #[arg(long, value_name = "NAME")]
    engine: Vec<String>,
    /// Engine that the others are compared with [default: stateless-linear, else null]
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// Exit code 4 if an engine is slower than the baseline by more than this percentage, with its whole 95 % interval
    #[arg(long, value_name = "PERCENT", value_parser = percentage)]
    fail_above: Option<f64>,
    #[command(flatten)]
    run: RunArgs,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    input: InputArgs,
    /// The engine
    #[arg(long, value_name = "NAME")]
    engine: String,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Numbers of cores [default: 1 and all; of a streamed pipe, all]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) cores: Vec<u16>,
    #[command(flatten)]
    steering: SteeringArgs,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    recorder: RecorderArgs,
    /// Replay the I-th of N shares of the flows; `ctbench merge` adds the shares up to the whole
    #[arg(long, value_name = "I/N", value_parser = share)]
    shard: Option<ShareArg>,
    /// Time for all measurements, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = positive)]
    pub(super) time: f64,
    /// Stop earlier, once every throughput is known to ± this percentage (half of its 95 % interval)
    #[arg(long, value_name = "PERCENT", value_parser = percentage)]
    precision: Option<f64>,
    /// Measure in so many fresh processes, one after the other, which share --time: each has its own memory layout and
    /// hash key, and their results are pooled
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    fresh_processes: u16,
    /// For those processes: write the result here, and nothing else
    #[arg(long, hide = true)]
    part: Option<PathBuf>,
    /// Refuse to measure on a machine that is not fit for it: busy, its workers not pinned, its frequency or cores shared
    #[arg(long)]
    strict: bool,
    /// Write the result as JSON (`-` for stdout)
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write one CSV row an engine and number of cores (`-` for stdout)
    #[arg(long, value_name = "FILE")]
    pub(super) csv: Option<PathBuf>,
    /// Write a report for the browser, or what the file's name ends with: md, txt, csv, json, hgrm, hlog, openmetrics, svg
    #[arg(long, value_name = "FILE.html")]
    pub(super) report: Option<PathBuf>,
    /// Write one CSV row a packet with its verdict, of a single engine (`-` for stdout)
    #[arg(long, value_name = "FILE")]
    verdicts: Option<PathBuf>,
    #[command(flatten)]
    flow_log: flow_log::WriteArgs,
    #[command(flatten)]
    stream: StreamArgs,
    /// No progress bar, no table
    #[arg(long)]
    pub(super) quiet: bool,
}

pub(super) fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(seconds),
        _ => Err("a number of seconds above 0, at most 86400".into()),
    }
}

pub(super) fn compare(args: CompareArgs) -> anyhow::Result<ExitCode> {
    let kinds = match args.engine.as_slice() {
        [] => None,
        patterns => Some(select(patterns).map_err(no_engine)?),
    };
    let baseline = match &args.baseline {
        Some(name) => Some(one_engine(name)?),
        None => None,
    };
    execute(&args.input, kinds, baseline, args.fail_above, &args.run)
}

pub(super) fn replay(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    execute(&args.input, Some(vec![one_engine(&args.engine)?]), None, None, &args.run)
}

pub(super) fn no_engine(pattern: String) -> anyhow::Error {
    anyhow::anyhow!("no engine is called `{pattern}`; `ctbench engines` lists them")
}

/// The engine of this name or pattern, which must stand for one.
pub(super) fn one_engine(name: &str) -> anyhow::Result<Kind> {
    match select(&[name.to_owned()]).map_err(no_engine)?.as_slice() {
        [kind] => Ok(*kind),
        several => bail!("`{name}` stands for {} engines; name one", several.len()),
    }
}

fn execute(
    input_args: &InputArgs,
    kinds: Option<Vec<Kind>>,
    baseline: Option<Kind>,
    fail_above: Option<f64>,
    args: &RunArgs,
) -> anyhow::Result<ExitCode> {
    if let (2.., None) = (args.fresh_processes, &args.part) {
        return in_fresh_processes(input_args, fail_above, args);
    }
    if args.verdicts.is_some() {
        let one = matches!(kinds.as_deref(), Some([_]));
        ensure!(one, "--verdicts writes the verdicts of one engine: name it with --engine");
    }
    let flow_log_settings = args.flow_log.settings()?;
    if let Some(path) = &args.report {
        // A name that asks for no format is better told before measuring.
        of_path(path)?;
    }
    let clock = Clock::new();
    let cores = core_counts(&args.cores);
    let prepared = Prepared::new(input_args)?;
    let default_kinds = || engines().filter(|engine| engine.kind.is_default()).count();
    let count = kinds.as_ref().map_or_else(default_kinds, Vec::len) * cores.len();
    if args.stream.applies(&prepared, &whole(input_args, args, baseline, fail_above)?, count)? {
        let (host, clock_floor) = (Host::read(), clock.floor());
        let doubts = machine_doubts(&host, clock_floor.quantile(0.5), &cores)?;
        refuse_if_strict(args, &doubts)?;
        let bar = progress_bar(args.quiet);
        let choose = |workload: &Workload| runnable(workload, kinds.clone(), None);
        let machine = (&clock, host, clock_floor, doubts);
        let progress = |share: f64| bar.set_position((share * 1000.0) as u64);
        let result = streamed::compare(prepared, input_args, args, choose, &cores, machine, progress);
        bar.finish_and_clear();
        return result;
    }
    let mut input = Input::of(prepared, input_args, &clock)?;
    if let Some(share) = args.shard {
        ensure!(
            args.steering.is_plain(),
            "--shard goes with --steering symmetric and without --elephant: shares are whole flows"
        );
        input.keep_share(share)?;
    }
    args.steering.apply(input_args, &mut input)?;
    ensure!(
        args.flow_log.flow_log.is_none() || input.elephant.is_none(),
        "--flow-log is about the trace as captured: leave out --elephant"
    );
    let kinds = runnable(&input.workload, kinds, baseline)?;
    let (host, clock_floor) = (Host::read(), clock.floor());
    let mut doubts = machine_doubts(&host, clock_floor.quantile(0.5), &cores)?;
    refuse_if_strict(args, &doubts)?;
    let stop = interrupt::stop()?;
    let stdout_taken =
        [&args.json, &args.csv, &args.verdicts, &args.report, &args.flow_log.flow_log].into_iter().any(is_stdout);
    let text_wanted = !args.quiet && !stdout_taken && args.part.is_none();
    let mut out = std::io::stdout().lock();
    if text_wanted {
        write!(out, "{}", report::text::heading(&input.about()))?;
        out.flush()?;
    }
    for warning in &input.warnings {
        eprintln!("warning: {warning}");
    }
    let judge = Judge::new(&input.workload);
    let pace = args.load.pace(&input, kinds.len() * cores.len())?;
    let precision = args.precision.unwrap_or(0.0);
    let stamping = args.recorder.stamping(pace.is_some())?;
    let plan = Plan { kinds, cores, baseline, pace, search: None, seconds: args.time, precision, stamping, stop };
    let bar = progress_bar(args.quiet || args.part.is_some());
    let started = std::time::SystemTime::now();
    let progress = |share: f64| bar.set_position((share * 1000.0) as u64);
    let results = measure::run(&input.workload, &judge, input.expect.as_ref(), &plan, &clock, progress)?;
    bar.finish_and_clear();

    let capacity = input.workload.geometry.capacity();
    doubts.extend(of_runs(&results.runs, capacity));
    doubts.extend(input_args.selection.repeats_flows().then_some(Unfit::LoopedTrace));
    let recordings = results.runs.iter().flat_map(|run| [&run.measured.latencies, &run.measured.paced.latency]);
    let backwards = clock_floor.backwards + recordings.map(|r: &Recording| r.backwards).sum::<u64>();
    let clock_ratio = clock.against_os();
    doubts.extend(of_clock(clock_ratio, backwards));
    let mut about = input.about();
    if args.json.is_some() || args.report.is_some() || args.part.is_some() {
        about.trace_sha256 = Some(input.capture.sha256());
    }
    let report = Report {
        command: report::command_line(),
        started,
        host,
        about,
        clock_floor,
        clock_ticks: clock.ticks_per_second(),
        clock_ratio,
        differences: judge.differences(),
        reasons: reasons(&input, &judge),
        allowance_exceeded: judge.allowance_exceeded(),
        changes: changes(&input.workload, &judge),
        doubts,
        pace,
        stamping,
        results: &results,
        workload: &input.workload,
    };
    if text_wanted {
        write!(out, "{}", report::text::results(&report, picture::stdout_has_colour()))?;
    }
    let document = report::json::document(&report);
    if let Some(path) = &args.part {
        write_file(path, &mut out, &format!("{document:#}\n"))?;
        let wrong = results.runs.iter().any(|run| run.error.is_some());
        return Ok(if wrong { ExitCode::from(WRONG_VERDICTS) } else { ExitCode::SUCCESS });
    }
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
    if let Some(path) = &args.verdicts {
        let world = plan.kinds.first().and_then(|kind| input.workload.world(*kind));
        let rules = world.map(|world| &world.rules);
        let write =
            |out: &mut dyn Write| report::verdicts::write(out, &input.workload.trace, &results.decisions, rules);
        write_with(path, &mut out, write)?;
    }
    if let Some(path) = &args.flow_log.flow_log {
        flow_log::write(path, &mut out, &input, &flow_log_settings)?;
    }
    out.flush()?;
    let wrong = results.runs.iter().any(|run| run.error.is_some());
    if wrong {
        return Ok(ExitCode::from(WRONG_VERDICTS));
    }
    if results.partial {
        return Ok(interrupt::exit_code());
    }
    let slower = |share: f64| {
        let slower = report.comparisons().into_iter().filter(|c| c.ratio.ci95[1] < 1.0 - share);
        let place = |run: &measure::Run| {
            format!("{} on {} core{}", run.kind.name(), run.cores, if run.cores == 1 { "" } else { "s" })
        };
        slower.map(|c| place(c.run)).collect()
    };
    Ok(exit_of_slower(fail_above, slower))
}

/// The same, measured by other processes; reported from their merged result.
fn in_fresh_processes(input_args: &InputArgs, fail_above: Option<f64>, args: &RunArgs) -> anyhow::Result<ExitCode> {
    ensure!(
        args.verdicts.is_none() && args.flow_log.flow_log.is_none(),
        "--verdicts and --flow-log are of one process: leave out --fresh-processes"
    );
    let report = args.report.as_ref().map(|path| Ok::<_, anyhow::Error>((of_path(path)?, path))).transpose()?;
    let seed = input_args.seed.unwrap_or_else(random_seed);
    let (result, processes, worst) = fresh::run(args.fresh_processes, args.time, seed)?;
    let result = [result];
    let mut out = std::io::stdout().lock();
    let stdout_taken = [&args.json, &args.csv, &args.report].into_iter().any(is_stdout);
    if !args.quiet && !stdout_taken {
        for document in report::plain::Plain.render(&result)? {
            write!(out, "{}", document.text)?;
        }
        writeln!(
            out,
            "Measured in {processes} fresh process{}, each with its own memory layout and hash key; intervals also cover how they differ.",
            if processes == 1 { "" } else { "es" }
        )?;
    }
    if let Some(path) = &args.json {
        write_file(path, &mut out, &format!("{:#}\n", result[0].json))?;
    }
    if let Some(path) = &args.csv {
        write_file(path, &mut out, &report::csv::render(&result))?;
    }
    out.flush()?;
    if let Some((format, path)) = report {
        drop(out);
        write_report(format, &result, path)?;
    }
    if worst != 0 {
        return Ok(ExitCode::from(worst));
    }
    let slower = |share: f64| {
        let slower = result[0].result.comparisons.iter().filter(move |c| c.ci95[1] < 1.0 - share);
        slower.map(|c| format!("{} on {} core{}", c.engine, c.cores, if c.cores == 1 { "" } else { "s" })).collect()
    };
    Ok(exit_of_slower(fail_above, slower))
}

/// Exit code 4 if an engine is slower than the baseline by more than is allowed, and which.
fn exit_of_slower(fail_above: Option<f64>, slower: impl Fn(f64) -> Vec<String>) -> ExitCode {
    let slower = fail_above.map(|share| (share, slower(share))).filter(|(_, slower)| !slower.is_empty());
    let Some((share, slower)) = slower else { return ExitCode::SUCCESS };
    eprintln!("ctbench: slower than the baseline by more than {} %: {}", share * 100.0, slower.join("; "));
    ExitCode::from(SLOWER)
}

/// On which flows the worlds differ. Only where one set of rules holds for all addresses is that told.
pub(super) fn reasons(input: &Input, judge: &Judge) -> Option<Differences> {
    let workload = &input.workload;
    let by_interface = [&workload.groups, &workload.acl].into_iter().flatten().any(World::has_paths);
    let differ = judge.differences().is_some_and(|(stateful, stateless)| stateful + stateless > 0);
    (differ && !by_interface).then(|| Differences::of(&Explanation::new(workload, judge)))
}

/// What is wrong with the machine for so many workers.
pub(super) fn machine_doubts(host: &Host, clock_ns: u64, cores: &[usize]) -> anyhow::Result<Vec<Unfit>> {
    let workers = cores.iter().copied().max().unwrap_or(1);
    let pool = Pool::new(workers).context("starting one worker thread a core")?;
    Ok(of_machine(host, clock_ns, workers, pool.pinned()))
}

fn refuse_if_strict(args: &RunArgs, doubts: &[Unfit]) -> anyhow::Result<()> {
    if args.strict && !doubts.is_empty() {
        let reasons: Vec<String> = doubts.iter().map(|doubt| format!("\n  - {doubt}")).collect();
        bail!("--strict: this machine is not fit to measure on:{}", reasons.concat());
    }
    Ok(())
}

/// The options that need the whole trace in memory, and whether they were given.
fn whole(
    input_args: &InputArgs,
    args: &RunArgs,
    baseline: Option<Kind>,
    fail_above: Option<f64>,
) -> anyhow::Result<[(&'static str, bool); 9]> {
    let stamping = args.recorder.stamping(args.load.is_paced())?;
    Ok([
        ("--steering or --elephant", !args.steering.is_plain()),
        ("--load paced", args.load.is_paced()),
        ("--shard", args.shard.is_some()),
        ("--loop", input_args.selection.repeats()),
        ("--verdicts", args.verdicts.is_some()),
        ("--flow-log", args.flow_log.flow_log.is_some()),
        ("--baseline or --fail-above", baseline.is_some() || fail_above.is_some()),
        ("--precision", args.precision.is_some()),
        ("--recorder", matches!(stamping, Some(Stamping::Burst | Stamping::Sampled(_)))),
    ])
}

/// The engines asked for, or all that the rules allow; the baseline with them.
pub(super) fn runnable(
    workload: &Workload,
    kinds: Option<Vec<Kind>>,
    baseline: Option<Kind>,
) -> anyhow::Result<Vec<Kind>> {
    let runnable = |kinds, named| steering::runnable(workload.steering, kinds, named);
    let mut kinds = match kinds {
        Some(kinds) => runnable(kinds, true)?,
        None => {
            let all = engines().map(|engine| engine.kind);
            runnable(all.filter(|kind| kind.is_default() && workload.can_run(*kind)).collect(), false)?
        }
    };
    let baseline = baseline.filter(|baseline| !kinds.contains(baseline));
    kinds.extend(runnable(baseline.into_iter().collect(), true)?);
    if let Some(kind) = kinds.iter().find(|kind| !workload.can_run(**kind)) {
        if workload.world(*kind).is_some() {
            bail!("engine {} cannot follow rules that differ by interface: leave out --inventory", kind.name());
        }
        let (what, option) = match kind.is_stateful() {
            true => ("security groups", "--security-groups"),
            false => ("a network ACL", "--network-acls"),
        };
        bail!("engine {} needs {what}, and none were given: add {option} FILE", kind.name());
    }
    Ok(kinds)
}

/// 1 and all, unless the user says otherwise. Ascending, each once.
pub(super) fn core_counts(asked: &[u16]) -> Vec<usize> {
    let available = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut cores: Vec<usize> =
        if asked.is_empty() { vec![1, available] } else { asked.iter().map(|n| usize::from(*n)).collect() };
    cores.sort_unstable();
    cores.dedup();
    cores
}

/// On stderr, only on a terminal; moved between passes, never by a worker.
pub(super) fn progress_bar(quiet: bool) -> ProgressBar {
    let hidden = quiet || !std::io::stderr().is_terminal();
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(1000), target);
    match ProgressStyle::with_template("measuring {wide_bar} {percent} %  {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
