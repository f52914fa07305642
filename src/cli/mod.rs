//! The command line: argument types here, one file a verb.

mod against;
mod compare;
mod completions;
mod derive;
mod diff;
mod engines;
mod explain;
mod flow_log;
mod fresh;
mod gen_rules;
mod gen_trace;
mod info;
mod input;
mod interrupt;
mod load;
mod merge;
mod output;
mod rank;
mod recorder;
mod report;
mod search;
mod selection;
mod share;
mod steering;
mod streamed;
mod sweep;
mod verify;

use crate::packet::Decap;
use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code: something failed.
pub const FAILURE: u8 = 1;
/// Exit code: wrong verdicts.
pub const WRONG_VERDICTS: u8 = 3;
/// Exit code: slower than allowed.
pub const SLOWER: u8 = 4;

const EXAMPLES: &str = "\
Examples:
  ctbench compare
      the bundled scenario: what remembering connections costs
  ctbench explain my.pcap --inside 10.0.1.0/24 --security-groups sg.json --network-acls acl.json
      your own capture and rules: what each decides, and why
  ctbench compare traces/web --json result.json --report report.html
      a page to show to others; `ctbench VERB --help` has examples of each verb";

/// Replays recorded packets through stateful and stateless packet filters, checks every verdict,
/// and measures what remembering connections costs or saves.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Compare engines on one trace: throughput, latency, verdicts
    #[command(after_help = compare::EXAMPLES, args_override_self = true)]
    Compare(compare::CompareArgs),
    /// Replay a trace through one engine
    #[command(after_help = compare::REPLAY_EXAMPLES, args_override_self = true)]
    Replay(compare::ReplayArgs),
    /// Search for the highest rates that engines keep up with, and latency below them
    #[command(after_help = search::EXAMPLES)]
    Search(search::SearchArgs),
    /// Measure engines over lists of rules, flows, new flows, bursts, table sizes, loads: a CSV row a point
    #[command(after_help = sweep::EXAMPLES)]
    Sweep(sweep::SweepArgs),
    /// Check every engine's verdicts against the reference, untimed
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::VerifyArgs),
    /// Say of every flow which rule accepted or dropped it in each world, and why the worlds differ
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::ExplainArgs),
    /// Derive the stateless twin of security groups, and say what it exposes and where it differs
    #[command(after_help = derive::EXAMPLES)]
    Derive(derive::DeriveArgs),
    /// Turn results into a page, Markdown, CSV or other formats
    #[command(after_help = report::EXAMPLES)]
    Report(report::ReportArgs),
    /// Compare two results: what became faster or slower, and whether verdicts changed
    #[command(after_help = diff::EXAMPLES)]
    Diff(diff::DiffArgs),
    /// Rank engines over several results
    #[command(after_help = rank::EXAMPLES)]
    Rank(rank::RankArgs),
    /// Add results up: repetitions, or shares of one trace
    #[command(after_help = merge::EXAMPLES)]
    Merge(merge::MergeArgs),
    /// Describe a capture
    #[command(after_help = info::EXAMPLES)]
    Info(info::InfoArgs),
    /// Make a synthetic trace, or rules
    #[command(after_help = gen_trace::examples())]
    Gen(gen_trace::GenArgs),
    /// List the engines
    #[command(
        after_help = "Examples:\n  ctbench engines\n  ctbench compare --engine 'stateful-*' --engine stateless-compiled"
    )]
    Engines,
    /// Print a shell's completion script
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::CompletionsArgs),
    /// Print the manual page
    #[command(after_help = completions::MAN_EXAMPLES)]
    Man(completions::ManArgs),
}

/// A trace and its rules.
#[derive(Clone, Debug, Args)]
pub struct InputArgs {
    /// A scenario folder, a scenario.toml, or captures (pcap, pcapng; plain, gzip, zstd, lz4): files, a
    /// folder of them, or `-` for standard input [default: the bundled scenario traces/web]
    input: Vec<PathBuf>,
    /// Protected addresses, as CIDR blocks: they give each packet its direction
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = block)]
    inside: Vec<IpNet>,
    #[command(flatten)]
    decap: DecapArgs,
    /// The stateful rules: what `aws ec2 describe-security-groups` printed, or a Terraform state or plan
    /// (`terraform show -json`), or a CloudFormation template
    #[arg(long, value_name = "FILE")]
    security_groups: Option<PathBuf>,
    /// The stateless rules: what `aws ec2 describe-network-acls` printed, or Terraform or
    /// CloudFormation
    #[arg(long, value_name = "FILE")]
    network_acls: Option<PathBuf>,
    /// More of the account: network interfaces, subnets, prefix lists (their entries as pl-ID=FILE), or
    /// Terraform or CloudFormation. With interfaces, each has its own groups and each subnet its own
    /// network ACL, and --inside may be left out. Repeats
    #[arg(long, value_name = "FILE")]
    inventory: Vec<PathBuf>,
    /// Use only these security groups of the file, by id or name
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    group: Vec<String>,
    /// Use this network ACL of the file, by id
    #[arg(long, value_name = "ACL")]
    acl: Option<String>,
    /// Skip rules that refer to groups or prefix lists of which no file holds the addresses, or whose
    /// ports AWS does not allow, with a warning, instead of stopping
    #[arg(long)]
    skip_unresolved: bool,
    /// Whose connection tracking is followed [default: the scenario's, else linux]
    #[arg(long, value_enum)]
    profile: Option<ProfileArg>,
    /// What happens to packets that belong to no connection [default: drop]
    #[arg(long, value_enum)]
    invalid: Option<InvalidArg>,
    /// Entries in the flow tables [default: twice the trace's flows, at least 65,536; streamed: 262,144]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1 << 32))]
    capacity: Option<u64>,
    /// Seed of the flow tables' hash, for a run that repeats an earlier one exactly [default: random]
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Packets handed to an engine at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=64))]
    burst: u16,
    #[command(flatten)]
    selection: selection::SelectionArgs,
}

/// Which tunnels are opened.
#[derive(Clone, Debug, Args)]
struct DecapArgs {
    /// Look into these tunnels: engines then see what they carry
    #[arg(long, value_enum, value_name = "TUNNEL", value_delimiter = ',')]
    decap: Vec<Tunnel>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Tunnel {
    /// VXLAN, which VPC traffic mirroring is
    Vxlan,
    /// Geneve, which gateway load balancers speak
    Geneve,
    /// GRE with IP, MPLS or Ethernet in it
    Gre,
    /// IPv4 or IPv6 in IPv4 or IPv6
    Ipip,
}

impl DecapArgs {
    fn decap(&self) -> Decap {
        let opened = |tunnel| self.decap.contains(&tunnel);
        Decap {
            vxlan: opened(Tunnel::Vxlan),
            geneve: opened(Tunnel::Geneve),
            gre: opened(Tunnel::Gre),
            ipip: opened(Tunnel::Ipip),
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProfileArg {
    /// AWS security groups as documented, Linux where AWS is silent
    Aws,
    /// nf_conntrack with its defaults
    Linux,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum InvalidArg {
    /// Drop them
    Drop,
    /// Let the rules decide
    Rules,
}

/// A CIDR block, or an address as the block of itself.
fn block(text: &str) -> Result<IpNet, String> {
    let wrong = || "a CIDR block such as 10.0.1.0/24, or an address".to_owned();
    text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| wrong())
}

/// `5` or `5%` as a share.
fn percentage(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim().parse::<f64>() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err("a percentage above 0, at most 100".into()),
    }
}

/// Parses the arguments and runs the verb.
pub fn run() -> anyhow::Result<ExitCode> {
    match Cli::parse().verb {
        Verb::Compare(args) => compare::compare(args),
        Verb::Replay(args) => compare::replay(args),
        Verb::Sweep(args) => sweep::sweep(args),
        Verb::Search(args) => search::search(args),
        Verb::Verify(args) => verify::verify(args),
        Verb::Explain(args) => explain::explain(args),
        Verb::Derive(args) => derive::derive(args),
        Verb::Report(args) => report::report(args),
        Verb::Completions(args) => completions::completions(args),
        Verb::Man(args) => completions::man(args),
        Verb::Diff(args) => diff::diff(args),
        Verb::Rank(args) => rank::rank(args),
        Verb::Merge(args) => merge::merge(args),
        Verb::Info(args) => info::info(args),
        Verb::Gen(args) => gen_trace::generate(args),
        Verb::Engines => engines::engines(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// What the examples of the help say must be what the program takes.
    #[test]
    fn every_verb_has_examples_that_it_takes() {
        let mut checked = 0;
        let cli = Cli::command();
        for verb in cli.get_subcommands().chain([&cli]) {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = || {
                help.lines().filter_map(|line| line.split_once("ctbench ")).filter(|(before, _)| {
                    // Indented by two is a command, by more what it does.
                    before.starts_with("  ") && !before.starts_with("   ") && !before.contains('`')
                })
            };
            assert!(help.contains("Example") && examples().next().is_some(), "{} has no example", verb.get_name());
            for (_, example) in examples() {
                let command = example.split(['|', '>', '&', ';']).next().unwrap_or_default();
                let words = command.split_whitespace().map(|word| word.trim_matches(['\'', '"']));
                let parsed = Cli::try_parse_from(std::iter::once("ctbench").chain(words));
                assert!(parsed.is_ok(), "ctbench {example}: {}", parsed.unwrap_err());
                checked += 1;
            }
        }
        assert!(checked > 30, "only {checked} examples found");
    }
}
