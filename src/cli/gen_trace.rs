//! `ctbench gen`

use super::gen_rules::{self, GenRulesArgs};
use crate::conntrack::Profile;
use crate::packet::Inside;
use crate::scenario::Scenario;
use crate::trace::synthesis::{self, FlowSizes, Made, PROFILES, PacketSizes, Recipe, Share};
use crate::trace::{Capture, Filter, Info, Selection, Trace};
use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Packets where nothing says how many.
const DEFAULT_PACKETS: u64 = 1_000_000;

pub(super) fn examples() -> String {
    let mut text = String::from("Profiles:\n");
    for (name, about, _) in PROFILES {
        text += &format!("  {name:13} {about}\n");
    }
    text + "\nProtected addresses are 10.0.0.0/8 and 2001:db8:10::/48: give --inside 10.0.0.0/8,2001:db8:10::/48 to replay.\n\n\
Examples:
  ctbench gen web -o web.pcap --packets 1000000 --seed 7
  ctbench gen dns --flows 50000 --ipv6 0.5 -o - | tcpdump -nr - | head
  ctbench gen web --print > my.toml && ctbench gen my.toml -o my.pcap
  ctbench gen --like my.pcap --inside 10.0.1.0/24 -o like-mine.pcap"
}

/// Arguments of `gen`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct GenArgs {
    #[command(subcommand)]
    other: Option<Other>,
    /// A profile, a recipe file, or a scenario with a `gen` table
    #[arg(value_name = "PROFILE", required_unless_present = "like")]
    profile: Option<String>,
    /// Fit a recipe to this capture and print it; with -o, make that trace
    #[arg(long, value_name = "TRACE", conflicts_with = "profile")]
    like: Option<PathBuf>,
    /// With --like: the capture's protected addresses [default: guessed]
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = super::block, requires = "like")]
    inside: Vec<IpNet>,
    /// With --like: only frames that this expression selects, in the language of tcpdump; needs a ctbench that was built
    /// with `--features filter`
    #[arg(long, value_name = "EXPRESSION", requires = "like")]
    filter: Option<Filter>,
    /// The trace, pcap with nanosecond timestamps (`-` for stdout)
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["print", "like"])]
    output: Option<PathBuf>,
    /// Print the recipe, with the options applied, and make no trace
    #[arg(long)]
    print: bool,
    /// Packets [default: the recipe's, else 1,000,000]
    #[arg(long, value_name = "N")]
    packets: Option<u64>,
    /// Flows that begin; the trace ends with the last of them, or after --packets
    #[arg(long, value_name = "N")]
    flows: Option<u64>,
    /// Another seed, another trace
    #[arg(long, value_name = "SEED", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// New flows a second of packet time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    flows_per_second: Option<u32>,
    /// Packets with data in a flow: fixed:N, zipf:EXPONENT:MAX, pareto:SHAPE:MIN:MAX or list:N,N,...
    #[arg(long, value_name = "SIZES")]
    flow_sizes: Option<FlowSizes>,
    /// Frames with data: bytes on the wire, imix, or mix:BYTESxWEIGHT,...
    #[arg(long, value_name = "SIZES")]
    packet_sizes: Option<PacketSizes>,
    /// Share of IPv6 flows, 0 to 1
    #[arg(long, value_name = "SHARE")]
    ipv6: Option<Share>,
    /// Share of packets that are followed by a damaged copy
    #[arg(long, value_name = "SHARE")]
    malformed: Option<Share>,
    /// Share of TCP flows that were open before the trace began
    #[arg(long, value_name = "SHARE")]
    mid_stream: Option<Share>,
    /// Share of TCP flows that one end closes early
    #[arg(long, value_name = "SHARE")]
    half_closed: Option<Share>,
    /// Share of TCP flows that fall silent without a close
    #[arg(long, value_name = "SHARE")]
    abandoned: Option<Share>,
    /// Share of flows that are elephants of 100,000 packets with data
    #[arg(long, value_name = "SHARE")]
    elephants: Option<Share>,
    /// Bytes kept of a frame, 0 for all [default: the recipe's, else 128]
    #[arg(long, value_name = "BYTES")]
    snaplen: Option<u32>,
}

/// What else can be made.
#[derive(Debug, Subcommand)]
enum Other {
    /// Make security groups and network ACLs of any size, as the AWS CLI prints them
    #[command(after_help = gen_rules::EXAMPLES)]
    Rules(GenRulesArgs),
}

pub(super) fn generate(args: GenArgs) -> anyhow::Result<ExitCode> {
    if let Some(Other::Rules(args)) = args.other {
        return gen_rules::gen_rules(args);
    }
    let mut recipe = match (&args.like, &args.profile) {
        (Some(capture), _) => fit(capture, &args.inside, args.filter.clone())?,
        (None, Some(name)) => named(name)?,
        (None, None) => bail!("name a profile, a recipe file or --like TRACE"),
    };
    args.apply(&mut recipe);
    recipe.check()?;
    if args.print || args.output.is_none() {
        io::stdout().lock().write_all(toml::to_string(&recipe)?.as_bytes())?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.like.is_some() {
        eprint!("{}", toml::to_string(&recipe)?);
    }
    let Some(output) = &args.output else { bail!("name the trace with --output FILE") };
    if output == Path::new("-") {
        return match synthesis::write(&recipe, io::stdout().lock()) {
            // Who reads has had enough.
            Err(synthesis::SynthesisError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                Ok(ExitCode::SUCCESS)
            }
            result => result.map(|_| ExitCode::SUCCESS).context("writing to stdout"),
        };
    }
    let made = write_file(&recipe, output)?;
    println!(
        "{}: {} packets, {} flows, at most {} at a time, {:.3} s, {} bytes",
        output.display(),
        made.packets,
        made.flows,
        made.concurrent,
        made.duration_ns as f64 / 1e9,
        made.bytes
    );
    Ok(ExitCode::SUCCESS)
}

/// Writes a trace under another name first, so that what has the right name is whole.
pub(super) fn write_file(recipe: &Recipe, path: &Path) -> anyhow::Result<Made> {
    // A device or a pipe cannot be replaced.
    if fs::metadata(path).is_ok_and(|file| !file.is_file()) {
        let file = File::options().write(true).open(path).with_context(|| format!("writing {}", path.display()))?;
        return synthesis::write(recipe, file).with_context(|| format!("writing {}", path.display()));
    }
    let mut name = path.file_name().context("--output names no file")?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let write = || -> anyhow::Result<Made> {
        let made = synthesis::write(recipe, File::create(&part)?)?;
        fs::rename(&part, path)?;
        Ok(made)
    };
    write().with_context(|| format!("writing {}", path.display())).inspect_err(|_| {
        let _ = fs::remove_file(&part);
    })
}

pub(super) fn named(name: &str) -> anyhow::Result<Recipe> {
    if let Some(recipe) = Recipe::profile(name) {
        return Ok(recipe);
    }
    let path = Path::new(name);
    if path.is_dir() || path.file_name().is_some_and(|file| file == "scenario.toml") {
        let (scenario, file) = Scenario::read(path)?;
        return scenario.r#gen.with_context(|| format!("{} has no [gen] table", file.display()));
    }
    ensure!(
        path.exists(),
        "`{name}` is neither a profile nor a file; profiles are {}",
        PROFILES.map(|(name, ..)| name).join(", ")
    );
    Ok(Recipe::read(path)?)
}

fn fit(path: &Path, inside: &[IpNet], filter: Option<Filter>) -> anyhow::Result<Recipe> {
    let capture = Capture::open(path)?.with_filter(filter.clone());
    let frames = capture.frames()?;
    let inside = match inside {
        [] => {
            let guess = Info::of(&capture, &path.display().to_string(), &[])?.inside;
            guess.iter().map(|block| block.parse()).collect::<Result<Vec<IpNet>, _>>()?
        }
        given => given.to_vec(),
    };
    let mut trace = Trace::sequence(&frames, frames.decode(&Inside::new(&inside)), Profile::Linux);
    if let Some(filter) = &filter {
        trace.select(&Selection::default(), Some(&frames.selected_by(filter)), None);
    }
    let wire = |number: u32| frames.list().get(number as usize - 1).map_or(0, |frame| frame.wire);
    Ok(synthesis::like(&trace, wire)?)
}

impl GenArgs {
    /// Options win over the recipe.
    fn apply(&self, recipe: &mut Recipe) {
        if self.packets.is_some() || self.flows.is_some() {
            recipe.packets = self.packets;
        }
        recipe.flows = self.flows.or(recipe.flows);
        if recipe.packets.is_none() && self.flows.is_none() && self.profile.is_some() {
            recipe.packets = Some(DEFAULT_PACKETS);
        }
        recipe.seed = self.seed.unwrap_or(recipe.seed);
        recipe.flows_per_s = self.flows_per_second.unwrap_or(recipe.flows_per_s);
        recipe.malformed = self.malformed.unwrap_or(recipe.malformed);
        recipe.snaplen = self.snaplen.unwrap_or(recipe.snaplen);
        recipe.each(|traffic| {
            traffic.flow_size = self.flow_sizes.clone().unwrap_or(traffic.flow_size.clone());
            if let Some(sizes) = &self.packet_sizes {
                (traffic.request, traffic.response) = (sizes.clone(), sizes.clone());
            }
            traffic.ipv6 = self.ipv6.unwrap_or(traffic.ipv6);
            traffic.mid_stream = self.mid_stream.unwrap_or(traffic.mid_stream);
            traffic.half_closed = self.half_closed.unwrap_or(traffic.half_closed);
            traffic.abandoned = self.abandoned.unwrap_or(traffic.abandoned);
            traffic.elephants = self.elephants.unwrap_or(traffic.elephants);
        });
    }
}
