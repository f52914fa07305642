//! `ctbench verify`

use super::flow_log;
use super::input::{Input, Prepared};
use super::steering::{self, SteeringArgs};
use super::streamed::StreamArgs;
use super::{FAILURE, InputArgs, WRONG_VERDICTS};
use crate::engine::registry::{Kind, engines};
use crate::measure::{Clock, check};
use crate::replay::{Pool, Steering};
use crate::report::text::fared;
use crate::scenario::{Expect, bless};
use crate::verify::{FlowCheck, Judge, Tally};
use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use std::io::Write;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  ctbench verify
  ctbench verify traces/web --bless
  sudo ctbench verify traces/web --against linux
  ctbench verify --steering spray
  ctbench verify my.pcap --inside 10.0.1.5/32 --network-acls acl.json --check-flow-log flows.log.gz
  ctbench verify my.pcap --inside 10.0.1.0/24 --security-groups sg.json
  ctbench verify large.pcap.zst --stream --inside 10.0.1.0/24 --security-groups sg.json";

/// Arguments of `verify`.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    steering: SteeringArgs,
    /// Write what the reference says into the scenario's `expect` table
    #[arg(long)]
    bless: bool,
    /// Compare with another judge instead
    #[arg(long, value_enum, value_name = "JUDGE", conflicts_with = "bless")]
    against: Option<Against>,
    /// The engine that is compared with that judge [default: the reference]
    #[arg(long, value_name = "NAME", requires = "against")]
    engine: Option<String>,
    #[command(flatten)]
    flow_log: flow_log::CheckArgs,
    #[command(flatten)]
    stream: StreamArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Against {
    /// This machine's own connection tracking and nftables, in a network namespace: needs Linux,
    /// root, and the programs nft and ip
    Linux,
}

/// Numbers of cores on which verdicts must be the same.
const CORES: [usize; 3] = [1, 2, 3];

pub(super) fn verify(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    ensure!(
        args.steering.is_plain() || !(args.bless || args.against.is_some() || args.flow_log.check_flow_log.is_some()),
        "--bless, --against and --check-flow-log are about the trace as captured, in its order: leave out --steering and --elephant"
    );
    ensure!(
        args.input.selection.is_whole() || !args.bless,
        "--bless is about the whole trace: leave out what selects or repeats packets"
    );
    ensure!(
        !args.input.selection.repeats() || args.against.is_none(),
        "--against takes the trace as captured: leave out --loop"
    );
    if let Some(Against::Linux) = args.against {
        return super::against::linux(args.input, args.engine.as_deref());
    }
    let clock = Clock::new();
    let prepared = Prepared::new(&args.input)?;
    let whole = [
        ("--steering or --elephant", !args.steering.is_plain()),
        ("--bless", args.bless),
        ("--check-flow-log", args.flow_log.check_flow_log.is_some()),
        ("--loop", args.input.selection.repeats()),
    ];
    // One engine after the other: only one has its lanes.
    if args.stream.applies(&prepared, &whole, 1)? {
        return super::streamed::verify(prepared, &args.input, &CORES);
    }
    let mut input = Input::of(prepared, &args.input, &clock)?;
    args.steering.apply(&args.input, &mut input)?;
    for warning in &input.warnings {
        eprintln!("warning: {warning}");
    }
    if let Some(path) = &args.flow_log.check_flow_log {
        return flow_log::check(path, &input, &args.flow_log);
    }
    let workload = &input.workload;
    let judge = Judge::new(workload);
    let mut out = std::io::stdout().lock();
    if args.bless {
        let Some(scenario) = &input.scenario else { bail!("--bless needs a scenario to write to") };
        let counts = |decisions: &Option<Vec<_>>| {
            decisions.as_ref().map(|decisions| Tally::of(&workload.trace, decisions).counts())
        };
        let expect = Expect {
            packets: input.summary.packets,
            stateful: counts(&judge.stateful),
            stateless: counts(&judge.stateless),
        };
        bless(scenario, &expect)?;
        writeln!(out, "{}: [expect] written", scenario.display())?;
        input.expect = Some(expect);
    }
    if let Some(expect) = &input.expect
        && expect.packets != input.summary.packets
    {
        writeln!(out, "the trace has {} packets, the scenario expects {}", input.summary.packets, expect.packets)?;
        return Ok(ExitCode::from(FAILURE));
    }
    let mut wrong = 0;
    let width = engines().map(|engine| engine.name.len()).max().unwrap_or(0);
    let all = engines().map(|engine| engine.kind).filter(|kind| workload.can_run(*kind)).collect();
    for kind in steering::runnable(workload.steering, all, false)? {
        for cores in CORES {
            if judge.is_single_core(kind) && cores > 1 {
                continue;
            }
            let pool = Pool::new(cores).context("starting workers")?;
            let steered = workload.steered(kind, cores);
            let Some(mut variant) = workload.variant(kind, &steered, &pool, &clock, workload.burst) else {
                continue;
            };
            let flows = FlowCheck::new(workload, &judge, kind, &steered);
            let checked = check(workload, &judge, input.expect.as_ref(), kind, flows.as_ref(), variant.as_mut());
            let result = match (&checked.error, &checked.flows) {
                (Some(error), _) => error.clone(),
                (None, Some(flows)) => format!("ok: {}", fared(flows)),
                (None, None) => "ok".to_owned(),
            };
            writeln!(out, "{}", line(kind, width, cores, workload.steering, &checked.tally, &result))?;
            wrong += usize::from(checked.error.is_some());
        }
    }
    Ok(if wrong > 0 { ExitCode::from(WRONG_VERDICTS) } else { ExitCode::SUCCESS })
}

/// One engine's verdicts on so many cores.
pub(super) fn line(kind: Kind, width: usize, cores: usize, steering: Steering, tally: &Tally, result: &str) -> String {
    let plural = if cores == 1 { " " } else { "s" };
    let digest = match steering {
        Steering::Symmetric => format!("{:016x}", tally.digest),
        _ => format!("{:16}", "-"),
    };
    format!(
        "{:width$}  {cores} core{plural}  accept {:>9}  drop {:>9}  ignored {:>7}  digest {digest}  {result}",
        kind.name(),
        tally.accept,
        tally.drop,
        tally.ignored,
    )
}
