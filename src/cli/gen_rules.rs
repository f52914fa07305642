//! `ctbench gen rules`

use crate::policy::synthetic::{self, MOST_ACL_RULES, MOST_RULES};
use anyhow::{Context, ensure};
use clap::{ArgGroup, Args};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  ctbench gen rules --rules 250 --security-groups sg.json --network-acls acl.json
  ctbench gen rules --rules 10000 --seed 7 --network-acls -";

/// Above this many rules, files are written without line breaks: they are for programs, and a third as large.
const READABLE: usize = 1_000;

/// Arguments of `gen rules`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["security_groups", "network_acls"])))]
pub(super) struct GenRulesArgs {
    /// How many rules, inbound and outbound together; a network ACL holds at most 65,532
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MOST_RULES as i64))]
    rules: u32,
    /// The same seed makes the same rules, on every machine
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Write security groups, as `aws ec2 describe-security-groups` prints them (`-` for stdout)
    #[arg(long, value_name = "FILE")]
    security_groups: Option<PathBuf>,
    /// Write a network ACL, as `aws ec2 describe-network-acls` prints it (`-` for stdout)
    #[arg(long, value_name = "FILE")]
    network_acls: Option<PathBuf>,
}

pub(super) fn gen_rules(args: GenRulesArgs) -> anyhow::Result<ExitCode> {
    let rules = args.rules as usize;
    let too_many = "a network ACL has rule numbers for";
    ensure!(
        args.network_acls.is_none() || rules <= MOST_ACL_RULES,
        "{too_many} {MOST_ACL_RULES} rules at most, and {rules} were asked for"
    );
    if let Some(path) = &args.security_groups {
        write(path, rules, &synthetic::security_groups(rules, args.seed))?;
    }
    if let Some(path) = &args.network_acls {
        write(path, rules, &synthetic::network_acl(rules, args.seed).context(too_many)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(path: &Path, rules: usize, document: &Value) -> anyhow::Result<()> {
    let text = match rules <= READABLE {
        true => serde_json::to_string_pretty(document)?,
        false => document.to_string(),
    };
    if path == Path::new("-") {
        return Ok(writeln!(std::io::stdout().lock(), "{text}")?);
    }
    std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
}
