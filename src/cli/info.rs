//! `ctbench info`

use super::DecapArgs;
use super::selection::FilterArgs;
use crate::trace::{Capture, Info};
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  ctbench info my.pcap
  ctbench info my.pcapng --inside 10.0.1.0/24 --format json
  ctbench info rotated/ --decap vxlan
  tcpdump -c 1000 -w - | ctbench info -";

/// Arguments of `info`.
#[derive(Debug, Args)]
pub(super) struct InfoArgs {
    /// Captures: files, a folder of them, or `-` for standard input
    #[arg(required = true)]
    capture: Vec<PathBuf>,
    /// Protected addresses, as CIDR blocks [default: guessed]
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = super::block)]
    inside: Vec<IpNet>,
    #[command(flatten)]
    decap: DecapArgs,
    #[command(flatten)]
    filter: FilterArgs,
    /// How it is printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

pub(super) fn info(args: InfoArgs) -> anyhow::Result<ExitCode> {
    let capture = args.filter.apply(Capture::open_all(&args.capture)?.with_decap(args.decap.decap()));
    let info = Info::of(&capture, &super::input::names(&args.capture), &args.inside)?;
    info.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let text = match args.format {
        Format::Text => info.text(),
        Format::Json => serde_json::to_string_pretty(&info)? + "\n",
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
