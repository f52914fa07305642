//! `ctbench info`

use crate::trace::{Capture, Info};
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

pub(super) const EXAMPLES: &str = "\
Examples:
  ctbench info my.pcap
  ctbench info my.pcapng --inside 10.0.1.0/24 --format json";

/// Arguments of `info`.
#[derive(Debug, Args)]
pub(super) struct InfoArgs {
    /// The capture
    capture: PathBuf,
    /// Protected addresses, as CIDR blocks [default: guessed]
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = super::block)]
    inside: Vec<IpNet>,
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
    let capture = Capture::open(&args.capture)?;
    let frames = capture.frames()?;
    let info = Info::of(&frames, &args.capture.display().to_string(), &args.inside);
    let text = match args.format {
        Format::Text => info.text(),
        Format::Json => serde_json::to_string_pretty(&info)? + "\n",
    };
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
