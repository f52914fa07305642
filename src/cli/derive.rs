//! `ctbench derive`

use super::InputArgs;
use super::input::Input;
use crate::derive::{Ephemeral, Twin, describe, entries};
use crate::explain::Explanation;
use crate::measure::Clock;
use crate::packet::Direction;
use crate::policy::path::Attached;
use crate::policy::quota::{QuotaUse, RULES_PER_ACL, RULES_PER_ACL_ON_REQUEST};
use crate::policy::{Rule, RuleSet};
use crate::replay::World;
use crate::report::{derive_text, explain_rows, explain_text, text, words};
use crate::verify::Judge;
use anyhow::{Context, bail, ensure};
use clap::Args;
use ipnet::IpNet;
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

pub(super) const EXAMPLES: &str = "\
Examples:
  ctbench derive
  ctbench derive traces/web --ephemeral documented -o twin.json
  ctbench derive my.pcap --inside 10.0.1.0/24 --security-groups sg.json --differences all.csv

The twin, entry by entry, into an ACL that exists and is empty:
  ctbench derive --twin-id acl-0123456789abcdef0 --entries entries.jsonl
  while read -r entry; do
    aws ec2 create-network-acl-entry --cli-input-json \"$entry\"
  done < entries.jsonl";

/// Arguments of `derive`.
#[derive(Debug, Args)]
pub(super) struct DeriveArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Ports to which answers may go: from-trace (the fewest that the trace needs), documented (AWS's
    /// 1024-65535), linux (32768-60999), or a range LOW-HIGH
    #[arg(long, value_name = "PORTS", default_value = "from-trace")]
    ephemeral: EphemeralArg,
    /// Write the twin as `aws ec2 describe-network-acls` would print it: what ctbench's --network-acls
    /// takes
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the twin as JSON lines, each what `aws ec2 create-network-acl-entry --cli-input-json` takes
    #[arg(long, value_name = "FILE")]
    entries: Option<PathBuf>,
    /// Write every packet on which the groups and the twin differ, with the cause, as CSV
    #[arg(long, value_name = "FILE")]
    differences: Option<PathBuf>,
    /// Write what the twin exposes, every range of it, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Id of the twin in what is written
    #[arg(long, value_name = "ACL", default_value = "acl-twin")]
    twin_id: String,
    /// Flows shown of each cause
    #[arg(long, value_name = "N", default_value_t = 3)]
    show: usize,
}

/// The value of `--ephemeral`.
#[derive(Clone, Copy, Debug)]
struct EphemeralArg(Ephemeral);

impl FromStr for EphemeralArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = || {
            let (low, high) = text.split_once('-')?;
            let (low, high): (u16, u16) = (low.parse().ok()?, high.parse().ok()?);
            (low <= high).then_some(Ephemeral::Range(low, high))
        };
        match text {
            "from-trace" => Ok(EphemeralArg(Ephemeral::FromTrace)),
            "documented" => Ok(EphemeralArg(Ephemeral::DOCUMENTED)),
            "linux" => Ok(EphemeralArg(Ephemeral::LINUX)),
            _ => range()
                .map(EphemeralArg)
                .ok_or_else(|| "from-trace, documented, linux, or a range such as 1024-65535".into()),
        }
    }
}

pub(super) fn derive(args: DeriveArgs) -> anyhow::Result<ExitCode> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    ensure!(args.twin_id.chars().all(fits) && !args.twin_id.is_empty(), "--twin-id: letters, digits, '-', '_', '.'");
    let clock = Clock::new();
    let mut input = Input::load(&args.input, &clock)?;
    for warning in &input.warnings {
        eprintln!("warning: {warning}");
    }
    // The ACL at hand is no part of the question.
    input.workload.acl = None;
    let Some(groups) = &input.workload.groups else { bail!("derive needs security groups: --security-groups FILE") };
    ensure!(
        groups.changes().next().is_none(),
        "derive makes the twin of one rule set, and this scenario's security groups change: \
         name one of its files with --security-groups"
    );
    let attached = groups.interfaces_at(0).map(|(_, attached)| attached);
    let Some(stateful) = input.workload.reference(true) else { bail!("derive needs security groups") };
    let (records, ephemeral) = (&input.workload.trace.packets, args.ephemeral.0);
    let (twins, without) = match attached {
        Some(attached) => Twin::of_subnets(attached, records, &stateful, ephemeral),
        None => (vec![Twin::of_all(&groups.rules, records, &stateful, ephemeral)], Vec::new()),
    };
    for interface in without {
        eprintln!("warning: {interface}: its subnet is in no file, so no twin filters its packets");
    }
    for twin in &twins {
        ensure!(
            crate::derive::can_be_numbered(&twin.rules),
            "the twin would need {} rules, and an ACL has no more than 32,766 rule numbers",
            twin.rules.len()
        );
    }
    let ids: Vec<String> = twins.iter().map(|twin| id_of(&args.twin_id, twin)).collect();
    let acl = match attached {
        Some(attached) => {
            let acls =
                twins.iter().zip(&ids).filter_map(|(twin, id)| Some((&**id, twin.subnet.as_deref()?, &twin.rules)));
            World::of_interfaces(Attached::of_acls(&attached.inventory, acls)?, &input.workload.config)
        }
        None => World::new(twins[0].rules.clone(), &input.workload.config),
    };
    input.workload.acl = Some(acl);
    let workload = &input.workload;
    let judge = Judge::new(workload);
    let explanation = Explanation::new(workload, &judge);

    let mut out = report_target(&args);
    write!(out, "{}", text::heading(&input.about()))?;
    for (twin, id) in twins.iter().zip(&ids) {
        match &twin.subnet {
            Some(subnet) => {
                writeln!(out, "The stateless twin of {subnet}, {id}: {} network ACL rules", twin.rules.len())?
            }
            None => writeln!(out, "The stateless twin: {} network ACL rules", twin.rules.len())?,
        }
        write!(out, "{}", derive_text::rules(&twin.rules))?;
    }
    for (twin, id) in twins.iter().zip(&ids) {
        warn_of(twin, id, ephemeral);
    }
    for exposure in twins.iter().flat_map(|twin| &twin.exposed) {
        match &exposure.interfaces[..] {
            [] => writeln!(out, "\nWhat the twin lets pass that the groups' rules do not, exactly:")?,
            of => {
                let (interfaces, groups) = (few(of), &exposure.groups);
                writeln!(out, "\nWhat the twin lets pass that the rules of {groups} at {interfaces} do not, exactly:")?;
            }
        }
        match exposure.exposed.is_empty() {
            true => writeln!(out, "  nothing")?,
            false => write!(out, "{}", derive_text::exposed(&exposure.exposed))?,
        }
    }
    let (flows, packets) = explanation.differing();
    writeln!(
        out,
        "\nReplayed, groups and twin differ on {} of {}, in {}.",
        words::thousands(packets),
        words::counted(workload.trace.packets.len() as u64, "packet"),
        words::counted(flows, "flow")
    )?;
    write!(out, "{}", explain_text::causes(&explanation, &|_| true, true, args.show))?;
    if let (Some(stateless), true) = (&judge.stateless, args.differences.is_some()) {
        write_to(args.differences.as_deref(), |out| {
            Ok(explain_rows::differences(out, &explanation, [&stateful, stateless])?)
        })?;
    } else if packets > 0 {
        writeln!(out, "Every one of them: --differences FILE")?;
    }
    write_to(args.output.as_deref(), |out| {
        let all = twins.iter().zip(&ids).map(|(twin, id)| (&twin.rules, &**id, twin.subnet.as_deref()));
        Ok(writeln!(out, "{}", serde_json::to_string_pretty(&describe(all))?)?)
    })?;
    write_to(args.entries.as_deref(), |out| {
        for (twin, id) in twins.iter().zip(&ids) {
            entries(&twin.rules, id).try_for_each(|entry| writeln!(out, "{entry}"))?;
        }
        Ok(())
    })?;
    write_to(args.json.as_deref(), |out| {
        let mut document = json!({
            "schema": 1,
            "title": input.title,
            "rules": twins.iter().map(|twin| twin.rules.len()).sum::<usize>(),
            "differing_packets": packets,
            "differing_flows": flows,
        });
        match &twins[..] {
            [twin] if twin.subnet.is_none() => document["exposed"] = json!(twin.exposed[0].exposed),
            _ => {
                let of = |(twin, id): (&Twin, &String)| json!({"id": id, "subnet": twin.subnet, "rules": twin.rules.len(), "exposed": twin.exposed});
                document["twins"] = twins.iter().zip(&ids).map(of).collect();
            }
        }
        Ok(writeln!(out, "{}", serde_json::to_string_pretty(&document)?)?)
    })?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// The id of a twin in what is written.
fn id_of(given: &str, twin: &Twin) -> String {
    twin.subnet.as_ref().map_or_else(|| given.to_owned(), |subnet| format!("{given}-{subnet}"))
}

/// A few names of many.
fn few(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Quotas that a twin exceeds, and answers that the trace does not show.
fn warn_of(twin: &Twin, id: &str, ephemeral: Ephemeral) {
    let of = if twin.subnet.is_some() { format!("{id}: ") } else { String::new() };
    for quota in twin_quotas(&twin.rules) {
        let advice = if quota.used > RULES_PER_ACL_ON_REQUEST {
            format!("more than the {RULES_PER_ACL_ON_REQUEST} that AWS grants on request")
        } else {
            format!("ask AWS for more, up to {RULES_PER_ACL_ON_REQUEST}")
        };
        eprintln!("warning: {of}{} of {} {}: {advice}", quota.used, quota.quota, quota.what);
    }
    if ephemeral == Ephemeral::FromTrace {
        let unseen = twin.needs.unseen(&twin.groups);
        if !unseen.is_empty() {
            let shown = few(&unseen);
            eprintln!("warning: {of}no answer in the trace, so no ports are opened for answers to {shown}");
        }
    }
}

/// The report goes to stderr if a file goes to stdout.
fn report_target(args: &DeriveArgs) -> Box<dyn Write> {
    let files = [&args.output, &args.entries, &args.differences, &args.json];
    let to_stdout = files.into_iter().flatten().any(|file| file == Path::new("-"));
    if to_stdout { Box::new(std::io::stderr()) } else { Box::new(BufWriter::new(std::io::stdout())) }
}

/// Writes a file, or stdout for `-`.
fn write_to(file: Option<&Path>, write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let Some(file) = file else { return Ok(()) };
    if file == Path::new("-") {
        let mut out = BufWriter::new(std::io::stdout().lock());
        write(&mut out)?;
        return Ok(out.flush()?);
    }
    let context = || format!("cannot write {}", file.display());
    let mut out = BufWriter::new(File::create(file).with_context(context)?);
    write(&mut out).with_context(context)?;
    out.flush().with_context(context)
}

/// The quotas that the twin exceeds.
fn twin_quotas(twin: &RuleSet) -> Vec<QuotaUse> {
    let mut over = Vec::new();
    for (direction, way) in [(Direction::In, "inbound"), (Direction::Out, "outbound")] {
        for (ipv6, family) in [(false, "IPv4"), (true, "IPv6")] {
            let is = |rule: &Rule| matches!(rule.remote, IpNet::V6(_)) == ipv6;
            let used = twin.rules(direction).filter(|(_, rule)| is(rule)).count() as u32 + 1;
            let quota = QuotaUse {
                what: format!("{way} {family} rules, with the final deny"),
                used,
                quota: RULES_PER_ACL,
                on_request: Some(RULES_PER_ACL_ON_REQUEST),
                unknown_lists: 0,
            };
            over.extend(quota.is_over().then_some(quota));
        }
    }
    over
}
