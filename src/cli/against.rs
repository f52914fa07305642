//! `ctbench verify --against linux`

use super::InputArgs;
use anyhow::bail;
use std::process::ExitCode;

#[cfg(not(target_os = "linux"))]
pub(super) fn linux(_: InputArgs, _: Option<&str>) -> anyhow::Result<ExitCode> {
    bail!("--against linux asks the kernel of the machine that it runs on: run it on Linux")
}

#[cfg(target_os = "linux")]
pub(super) fn linux(mut args: InputArgs, engine: Option<&str>) -> anyhow::Result<ExitCode> {
    use super::compare::one_engine;
    use super::input::Input;
    use super::{ProfileArg, WRONG_VERDICTS};
    use crate::engine::registry::Kind;
    use crate::measure::Clock;
    use crate::replay::{Mode, Pool, World};
    use crate::verify::linux::{self, Agreement, Job, Rules};
    use anyhow::{Context, ensure};
    use std::io::Write;

    if let Some(ProfileArg::Aws) = args.profile {
        bail!("--against linux compares under profile linux: leave out --profile aws");
    }
    // A scenario may say `aws`, but it is Linux that answers.
    args.profile = Some(ProfileArg::Linux);
    let kinds = match engine {
        None => vec![Kind::Reference, Kind::StatelessLinear],
        Some(name) => vec![one_engine(name)?],
    };
    let clock = Clock::new();
    let input = Input::load(&args, &clock)?;
    for warning in &input.warnings {
        eprintln!("warning: {warning}");
    }
    let workload = &input.workload;
    let changes = |world: &Option<World>| world.as_ref().is_some_and(|world| world.changes().next().is_some());
    ensure!(
        !changes(&workload.groups) && !changes(&workload.acl),
        "--against linux judges by one set of rules: leave out the scenario's [[change]]"
    );
    let frames = input.capture.frames()?;
    ensure!(
        frames.list().len() == workload.trace.timestamps_ns.len(),
        "{} changed while it was read",
        input.trace_name
    );
    let mut out = std::io::stdout().lock();
    let (mut compared, mut differing) = (false, false);
    for stateful in [true, false] {
        let of_world = |kind: &&Kind| **kind != Kind::Null && kind.is_stateful() == stateful;
        let kinds: Vec<Kind> = kinds.iter().filter(of_world).copied().collect();
        let Some(world) = kinds.first().and_then(|kind| workload.world(*kind)) else { continue };
        let rules = match world.interfaces_at(0) {
            Some((_, attached)) => Rules::ByInterface(attached),
            None => Rules::One(&world.rules),
        };
        let job = Job { frames: &frames, trace: &workload.trace, rules, config: &workload.config };
        let seen = linux::judge(&job)?;
        let rules = if stateful { "security groups" } else { "network ACL" };
        for kind in kinds {
            let decisions = match engine {
                None => workload.reference(stateful),
                Some(_) => {
                    let pool = Pool::new(1).context("starting a worker")?;
                    let steered = workload.steered(kind, 1);
                    let variant = workload.variant(kind, &steered, &pool, &clock, workload.burst);
                    variant.map(|mut variant| {
                        let pass = variant.pass(Mode::Throughput, Vec::new());
                        variant.gather(&pass.decisions)
                    })
                }
            };
            let decisions = decisions.context("an engine without rules")?;
            let agreement = Agreement::of(&workload.trace, &seen, &decisions);
            let name = engine.map_or("reference", |_| kind.name());
            write!(out, "Linux {} and {name}, {rules}: {agreement}", linux::release())?;
            compared = true;
            differing |= agreement.differences() > 0;
        }
    }
    ensure!(compared, "nothing to compare: this engine follows rules that were not given");
    Ok(if differing { ExitCode::from(WRONG_VERDICTS) } else { ExitCode::SUCCESS })
}
