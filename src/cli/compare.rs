//! `ctbench compare` and `ctbench replay`

use super::flow_log;
use super::input::Input;
use super::load::LoadArgs;
use super::output::{is_stdout, write_file, write_with};
use super::recorder::RecorderArgs;
use super::report::{of_path, write_report};
use super::share::{ShareArg, share};
use super::steering::{self, SteeringArgs};
use super::{InputArgs, SLOWER, WRONG_VERDICTS, percentage};
use crate::engine::registry::{Kind, select};
use crate::explain::Explanation;
use crate::measure::fitness::{of_machine, of_runs};
use crate::measure::{self, Clock, ClockFloor, Host, Plan, Unfit};
use crate::replay::{Pool, World};
use crate::report::differences::Differences;
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
struct RunArgs {
    /// Numbers of cores [default: 1 and all]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    cores: Vec<u16>,
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
    time: f64,
    /// Stop earlier, once every throughput is known to ± this percentage (half of its 95 % interval)
    #[arg(long, value_name = "PERCENT", value_parser = percentage)]
    precision: Option<f64>,
    /// Refuse to measure on a machine that is not fit for it: busy, its workers not pinned, its frequency or cores shared
    #[arg(long)]
    strict: bool,
    /// Write the result as JSON (`-` for stdout)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write one CSV row an engine and number of cores (`-` for stdout)
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Write a report for the browser, or what the file's name ends with: md, csv, json, hgrm, openmetrics, svg
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Write one CSV row a packet with its verdict, of a single engine (`-` for stdout)
    #[arg(long, value_name = "FILE")]
    verdicts: Option<PathBuf>,
    #[command(flatten)]
    flow_log: flow_log::WriteArgs,
    /// No progress bar, no table
    #[arg(long)]
    quiet: bool,
}

fn positive(text: &str) -> Result<f64, String> {
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

fn no_engine(pattern: String) -> anyhow::Error {
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
    let mut input = Input::load(input_args, &clock)?;
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
    let kinds = runnable(&input, kinds, baseline)?;
    let cores = core_counts(&args.cores);
    let (host, clock_floor) = (Host::read(), clock.floor());
    let mut doubts = machine_doubts(&host, &clock_floor, &cores)?;
    if args.strict && !doubts.is_empty() {
        let reasons: Vec<String> = doubts.iter().map(|doubt| format!("\n  - {doubt}")).collect();
        bail!("--strict: this machine is not fit to measure on:{}", reasons.concat());
    }
    let stdout_taken =
        [&args.json, &args.csv, &args.verdicts, &args.report, &args.flow_log.flow_log].into_iter().any(is_stdout);
    let text_wanted = !args.quiet && !stdout_taken;
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
    let plan = Plan { kinds, cores, baseline, pace, seconds: args.time, precision, stamping };
    let bar = progress_bar(args.quiet);
    let started = std::time::SystemTime::now();
    let progress = |share: f64| bar.set_position((share * 1000.0) as u64);
    let results = measure::run(&input.workload, &judge, input.expect.as_ref(), &plan, &clock, progress)
        .context("starting one worker thread a core")?;
    bar.finish_and_clear();

    let capacity = input.workload.geometry.capacity();
    doubts.extend(of_runs(&results.runs, capacity));
    let mut about = input.about();
    if args.json.is_some() || args.report.is_some() {
        about.trace_sha256 = Some(input.capture.sha256());
    }
    let report = Report {
        command: std::env::args().collect::<Vec<_>>().join(" "),
        started,
        host,
        about,
        clock_floor,
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
    if let Some(share) = fail_above {
        let slower = report.comparisons().into_iter().filter(|c| c.ratio.ci95[1] < 1.0 - share);
        let slower: Vec<String> = slower
            .map(|c| {
                format!("{} on {} core{}", c.run.kind.name(), c.run.cores, if c.run.cores == 1 { "" } else { "s" })
            })
            .collect();
        if !slower.is_empty() {
            eprintln!("ctbench: slower than the baseline by more than {} %: {}", share * 100.0, slower.join("; "));
            return Ok(ExitCode::from(SLOWER));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// On which flows the worlds differ. Only where one set of rules holds for all addresses is that told.
fn reasons(input: &Input, judge: &Judge) -> Option<Differences> {
    let workload = &input.workload;
    let by_interface = [&workload.groups, &workload.acl].into_iter().flatten().any(World::has_paths);
    let differ = judge.differences().is_some_and(|(stateful, stateless)| stateful + stateless > 0);
    (differ && !by_interface).then(|| Differences::of(&Explanation::new(workload, judge)))
}

/// What is wrong with the machine for so many workers.
fn machine_doubts(host: &Host, floor: &ClockFloor, cores: &[usize]) -> anyhow::Result<Vec<Unfit>> {
    let workers = cores.iter().copied().max().unwrap_or(1);
    let pool = Pool::new(workers).context("starting one worker thread a core")?;
    Ok(of_machine(host, floor, workers, pool.pinned()))
}

/// The engines asked for, or all that the rules allow; the baseline with them.
fn runnable(input: &Input, kinds: Option<Vec<Kind>>, baseline: Option<Kind>) -> anyhow::Result<Vec<Kind>> {
    let workload = &input.workload;
    let runnable = |kinds, named| steering::runnable(workload.steering, kinds, named);
    let mut kinds = match kinds {
        Some(kinds) => runnable(kinds, true)?,
        None => {
            let all = crate::engine::registry::ENGINES.iter().map(|engine| engine.kind);
            runnable(all.filter(|kind| kind.is_default() && workload.can_run(*kind)).collect(), false)?
        }
    };
    let baseline = baseline.filter(|baseline| !kinds.contains(baseline));
    kinds.extend(runnable(baseline.into_iter().collect(), true)?);
    if let Some(kind) = kinds.iter().find(|kind| !workload.can_run(**kind)) {
        let (what, option) = match kind.is_stateful() {
            true => ("security groups", "--security-groups"),
            false => ("a network ACL", "--network-acls"),
        };
        bail!("engine {} needs {what}, and none were given: add {option} FILE", kind.name());
    }
    Ok(kinds)
}

/// 1 and all, unless the user says otherwise. Ascending, each once.
fn core_counts(asked: &[u16]) -> Vec<usize> {
    let available = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut cores: Vec<usize> =
        if asked.is_empty() { vec![1, available] } else { asked.iter().map(|n| usize::from(*n)).collect() };
    cores.sort_unstable();
    cores.dedup();
    cores
}

/// On stderr, only on a terminal; moved between passes, never by a worker.
fn progress_bar(quiet: bool) -> ProgressBar {
    let hidden = quiet || !std::io::stderr().is_terminal();
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(1000), target);
    match ProgressStyle::with_template("measuring {wide_bar} {percent} %  {eta} left") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
