//! `ctbench search`

use super::compare::{core_counts, machine_doubts, no_engine, positive, progress_bar, reasons, runnable};
use super::input::Input;
use super::interrupt;
use super::load::above_zero;
use super::output::{OutputArgs, is_stdout, write_file};
use super::{InputArgs, WRONG_VERDICTS, percentage};
use crate::engine::registry::{Kind, engines, select};
use crate::measure::fitness::of_runs;
use crate::measure::search::{Criterion, Goal, SearchPlan};
use crate::measure::{self, Clock, Host, Plan};
use crate::report::{self, Report, picture};
use crate::verify::{Judge, changes};
use anyhow::{bail, ensure};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

pub(super) const EXAMPLES: &str = "\
Examples:
  ctbench search
      the bundled scenario: no loss, half a percent, and 99.9 % within a millisecond
  ctbench search --engine stateful-lockfree-compiled --cores 1,2 --loss 0,0.1,1 --latency 100us
  ctbench search my.pcap --inside 10.0.1.0/24 --security-groups sg.json --width 0.5 --time 300 --json search.json";

/// Arguments of `search`.
#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Engines; repeat it, or use * and ? [default: those of `compare` but null and the reference, as far as
    /// the given rules can run them]
    #[arg(long, value_name = "NAME")]
    engine: Vec<String>,
    /// Numbers of cores [default: 1]
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=1024))]
    cores: Vec<u16>,
    /// Search for the highest rates at which at most these percentages of the packets are lost
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_value = "0,0.5", value_parser = loss)]
    loss: Vec<f64>,
    /// And for the highest rate at which 99.9 % of the packets are decided within this time after they were
    /// due (100us, 1ms), or `none`
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = latency)]
    latency: Latency,
    /// The search ends when the bounds lie this percentage apart
    #[arg(long, value_name = "PERCENT", default_value = "1", value_parser = percentage)]
    width: f64,
    /// A trial lasts at least so many seconds, and at least one pass
    #[arg(long, value_name = "SECONDS", default_value_t = 0.02, value_parser = positive)]
    trial: f64,
    /// So many trials decide on a rate, fewer if the rest cannot change it
    #[arg(long, value_name = "N", default_value_t = 21, value_parser = clap::value_parser!(u16).range(1..=1000))]
    trials: u16,
    /// A rate is still good if this percentage of its trials is bad
    #[arg(long, value_name = "PERCENT", default_value = "50", value_parser = loss)]
    exceed: f64,
    /// Lowest rate in packets a second [default: a hundredth of the highest, more if a pass took over a second]
    #[arg(long, value_name = "N", value_parser = above_zero)]
    min_pps: Option<f64>,
    /// Highest rate in packets a second [default: 1.2 times what the engine does in a closed loop]
    #[arg(long, value_name = "N", value_parser = above_zero)]
    max_pps: Option<f64>,
    /// At most so many packets wait for each core; what comes then is lost
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    queue: u32,
    /// Time for all searches, in seconds; what is not found by then is unfinished
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, value_parser = positive)]
    time: f64,
    /// Refuse to measure on a machine that is not fit for it: busy, its workers not pinned, its frequency or cores shared
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    output: OutputArgs,
    /// Write one CSV row an engine, number of cores and goal (`-` for stdout)
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// No progress bar, no table
    #[arg(long)]
    quiet: bool,
}

/// A bound on the 99.9th percentile in ns, or none.
#[derive(Clone, Copy, Debug)]
struct Latency(Option<u64>);

/// A shorter trace takes longer to set up than to replay.
const FEWEST_PACKETS: usize = 1_000;

/// Share of packets that may be late.
const LATE: f64 = 0.001;

fn latency(text: &str) -> Result<Latency, String> {
    if text == "none" {
        return Ok(Latency(None));
    }
    match humantime::parse_duration(text) {
        Ok(time) if (Duration::from_nanos(1)..=Duration::from_secs(60)).contains(&time) => {
            Ok(Latency(Some(time.as_nanos() as u64)))
        }
        _ => Err("a time such as 100us or 1ms, at most a minute, or none".into()),
    }
}

/// `0.5` or `0.5%` as a share below 1.
fn loss(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(percent) if (0.0..100.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("a percentage from 0 to below 100".into()),
    }
}

impl SearchArgs {
    fn goals(&self) -> Vec<Goal> {
        let goal = |name, criterion, loss_ratio| Goal {
            name,
            criterion,
            loss_ratio,
            exceed_ratio: self.exceed,
            width: self.width,
            initial_trial_s: self.trial,
            final_trial_s: self.trial,
            duration_sum_s: self.trial * f64::from(self.trials),
            preceding_targets: 2,
        };
        let name = |loss: f64| match loss {
            0.0 => "NDR".to_owned(),
            loss => format!("PDR {} %", loss * 100.0),
        };
        let mut goals: Vec<Goal> = self.loss.iter().map(|loss| goal(name(*loss), Criterion::Lost, *loss)).collect();
        if let Latency(Some(bound)) = self.latency {
            let name = format!("p99.9 {}", humantime::format_duration(Duration::from_nanos(bound)));
            goals.push(goal(name, Criterion::LostOrLate(bound), LATE));
        }
        goals
    }

    /// The engines asked for, else the usual ones that filter.
    fn kinds(&self, input: &Input) -> anyhow::Result<Vec<Kind>> {
        let filters = |kind: &Kind| kind.is_default() && !matches!(kind, Kind::Null | Kind::Reference);
        let kinds = match self.engine.as_slice() {
            [] => {
                let usual = engines().map(|engine| engine.kind).filter(filters);
                usual.filter(|kind| input.workload.can_run(*kind)).collect()
            }
            patterns => select(patterns).map_err(no_engine)?,
        };
        runnable(&input.workload, Some(kinds), None)
    }
}

pub(super) fn search(args: SearchArgs) -> anyhow::Result<ExitCode> {
    args.output.check()?;
    if let (Some(min), Some(max)) = (args.min_pps, args.max_pps) {
        ensure!(min < max, "--min-pps {min} must be below --max-pps {max}");
    }
    let clock = Clock::new();
    let input = Input::load(&args.input, &clock)?;
    let packets = input.workload.trace.packets.len();
    ensure!(
        packets >= FEWEST_PACKETS,
        "a trace of {packets} packets is over before a rate means anything: repeat it with --loop, to {FEWEST_PACKETS} packets at least"
    );
    let kinds = args.kinds(&input)?;
    let cores = if args.cores.is_empty() { vec![1] } else { core_counts(&args.cores) };
    let (host, clock_floor) = (Host::read(), clock.floor());
    let mut doubts = machine_doubts(&host, clock_floor.quantile(0.5), &cores)?;
    if args.strict && !doubts.is_empty() {
        let reasons: Vec<String> = doubts.iter().map(|doubt| format!("\n  - {doubt}")).collect();
        bail!("--strict: this machine is not fit to measure on:{}", reasons.concat());
    }
    let stop = interrupt::stop()?;
    let stdout_taken = [&args.output.json, &args.csv, &args.output.report].into_iter().any(is_stdout);
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
    let search =
        SearchPlan { goals: args.goals(), min_pps: args.min_pps, max_pps: args.max_pps, queue: args.queue as usize };
    let (baseline, pace, precision) = (None, None, 0.0);
    let search = Some(search);
    let plan = Plan { kinds, cores, baseline, pace, search, seconds: args.time, precision, stamping: None, stop };
    let bar = progress_bar(args.quiet);
    let started = std::time::SystemTime::now();
    let progress = |share: f64| bar.set_position((share * 1000.0) as u64);
    let results = measure::run(&input.workload, &judge, input.expect.as_ref(), &plan, &clock, progress)?;
    bar.finish_and_clear();

    doubts.extend(of_runs(&results.runs, input.workload.geometry.capacity()));
    let mut about = input.about();
    if args.output.json.is_some() || args.output.report.is_some() {
        about.trace_sha256 = Some(input.capture.sha256());
    }
    let report = Report {
        command: report::command_line(),
        started,
        host,
        about,
        clock_floor,
        clock_ticks: clock.ticks_per_second(),
        clock_ratio: clock.against_os(),
        differences: judge.differences(),
        allowance_exceeded: judge.allowance_exceeded(),
        reasons: reasons(&input, &judge),
        changes: changes(&input.workload, &judge),
        doubts,
        pace: None,
        stamping: None,
        results: &results,
        workload: &input.workload,
    };
    if text_wanted {
        write!(out, "{}", report::text::results(&report, picture::stdout_has_colour()))?;
    }
    if let Some(path) = &args.csv {
        write_file(path, &mut out, &report::search_csv::render(&report))?;
    }
    args.output.write(&mut out, report::json::document(&report))?;
    out.flush()?;
    Ok(match () {
        () if results.runs.iter().any(|run| run.error.is_some()) => ExitCode::from(WRONG_VERDICTS),
        () if results.partial => interrupt::exit_code(),
        () => ExitCode::SUCCESS,
    })
}
