//! `--flow-log` and `--check-flow-log`

use super::WRONG_VERDICTS;
use super::input::Input;
use crate::flow_log::{self, Action, Check, Field, Format, Labels, Observations, OnBadRecord, Settings, rulings};
use crate::replay::Workload;
use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What to write.
#[derive(Debug, Args)]
pub(super) struct WriteArgs {
    /// Write the flow log that AWS would have recorded: text, `.gz` or `.parquet` (`-` for stdout). Where security
    /// groups and a network ACL are given, what either of them drops is rejected
    #[arg(long, value_name = "FILE")]
    pub flow_log: Option<PathBuf>,
    /// Its fields, as AWS takes them: '${version} ${srcaddr} ...' [default: version 2]
    #[arg(long, value_name = "FIELDS", requires = "flow_log", value_parser = format)]
    flow_log_format: Option<Format>,
    /// Seconds of traffic in one record
    #[arg(long, value_name = "SECONDS", requires = "flow_log", value_enum, default_value_t = Interval::TenMinutes)]
    flow_log_interval: Interval,
    /// A value that no capture tells, such as account-id=123456789012; repeat it [default: -]
    #[arg(long, value_name = "FIELD=VALUE", requires = "flow_log", value_parser = label)]
    flow_log_field: Vec<(Field, String)>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Interval {
    /// One minute
    #[value(name = "60")]
    Minute,
    /// Ten minutes
    #[value(name = "600")]
    TenMinutes,
}

fn format(text: &str) -> Result<Format, String> {
    Format::parse(text).map_err(|error| error.to_string())
}

fn label(text: &str) -> Result<(Field, String), String> {
    let (name, value) = text.split_once('=').ok_or("FIELD=VALUE")?;
    let field = Field::named(name).filter(|field| field.is_label());
    let field = field.ok_or_else(|| format!("{name} is no field that a capture leaves open"))?;
    let is_word = !value.is_empty() && !value.contains(char::is_whitespace);
    if !is_word || field == Field::TrafficPath && !matches!(value, "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8") {
        return Err(format!("{value:?} is no value of {name}: one word; for traffic-path, 1 to 8"));
    }
    Ok((field, value.to_owned()))
}

impl WriteArgs {
    /// Checked before anything is measured.
    pub(super) fn settings(&self) -> anyhow::Result<Settings> {
        let labels: Labels = self.flow_log_field.iter().cloned().collect();
        let interval = match self.flow_log_interval {
            Interval::Minute => 60,
            Interval::TenMinutes => 600,
        };
        Ok(Settings::new(self.flow_log_format.clone().unwrap_or_default(), interval, labels)?)
    }
}

/// Writes the flow log of a trace.
pub(super) fn write(path: &Path, out: &mut dyn Write, input: &Input, settings: &Settings) -> anyhow::Result<()> {
    let workload = &input.workload;
    with_packets(input, |packets| {
        if path == Path::new("-") {
            return Ok(flow_log::write(path, out, packets, settings)?);
        }
        let write = || -> io::Result<()> {
            let mut file = io::BufWriter::new(std::fs::File::create(path)?);
            flow_log::write(path, &mut file, packets, settings)?;
            file.flush()
        };
        write().with_context(|| format!("writing {}", path.display()))
    })
    .with_context(|| format!("flow log of {} packets", workload.trace.packets.len()))
}

/// The packets of the capture, as flow logs see them. It is read again: records do not hold lengths.
fn with_packets<T>(input: &Input, then: impl FnOnce(Observations<'_>) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let trace = &input.workload.trace;
    ensure!(trace.copies.is_empty(), "flow logs are about the trace as captured: leave out --elephant");
    let frames = input.capture.frames()?;
    ensure!(frames.list().len() == trace.timestamps_ns.len(), "{} changed while it was read", input.trace_name);
    let rulings = rulings(&input.workload);
    then(Observations::new(trace, &frames, &rulings))
}

/// What to compare with.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Compare the ACCEPT and REJECT of a VPC flow log (text, gzip, CloudWatch export or events, Parquet) with what the
    /// rules say of this trace, instead
    #[arg(long, value_name = "FILE", conflicts_with_all = ["bless", "against"])]
    pub check_flow_log: Option<PathBuf>,
    /// Fields of a flow log without a header line, as '${version} ${srcaddr} ...' [default: version 2]
    #[arg(long, value_name = "FIELDS", requires = "check_flow_log", value_parser = format)]
    flow_log_format: Option<Format>,
    /// Count records that cannot be read, instead of stopping at the first
    #[arg(long, requires = "check_flow_log")]
    skip_bad_records: bool,
}

/// `verify --check-flow-log`
pub(super) fn check(path: &Path, input: &Input, args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let workload: &Workload = &input.workload;
    let rulings = rulings(workload);
    let mut check = with_packets(input, |packets| Ok(Check::new(packets)))?;
    let on_bad = if args.skip_bad_records { OnBadRecord::Skip } else { OnBadRecord::Stop };
    let mut out = std::io::stdout().lock();
    let mut written = Ok(());
    let counts = flow_log::read(path, args.flow_log_format.as_ref(), on_bad, |place, record| {
        let Some(difference) = check.record(&record) else { return };
        let ruling = &rulings[difference.position];
        let verb = match ruling.action() {
            Action::Accept => "accept",
            Action::Reject => "drop",
        };
        let line = writeln!(
            out,
            "{}: {place}: {} recorded, the rules {verb} {} ({}): {}",
            path.display(),
            difference.recorded,
            workload.trace.name(difference.position),
            ruling.cause(workload),
            difference.tuple,
        );
        if written.is_ok() {
            written = line;
        }
    })?;
    written?;
    let compared = check.agreed + check.differing;
    writeln!(
        out,
        "{} records: {compared} compared, {} agree, {} differ",
        counts.records, check.agreed, check.differing
    )?;
    for (reason, count) in &check.not_comparable {
        writeln!(out, "  {count:>9} not comparable: {}", reason.name())?;
    }
    if let Some(first) = &counts.first_bad {
        writeln!(out, "  {:>9} could not be read; the first: {first}", counts.bad)?;
    }
    let (within, unrecorded) = check.unrecorded();
    writeln!(out, "{within} packets of the trace lie within the log's time, {unrecorded} of them in no record")?;
    if compared == 0 {
        eprintln!("warning: no record could be compared: do trace and flow log show the same interface and time?");
    }
    Ok(if check.differing > 0 { ExitCode::from(WRONG_VERDICTS) } else { ExitCode::SUCCESS })
}
