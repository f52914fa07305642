//! `ctbench explain`

use super::InputArgs;
use super::input::Input;
use crate::explain::{Explanation, Flow, Tracking};
use crate::measure::Clock;
use crate::packet::Packet;
use crate::policy::quota::quotas;
use crate::replay::World;
use crate::report::{explain_rows, explain_text, text};
use crate::verify::Judge;
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use std::io::{BufWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::str::FromStr;

pub(super) const EXAMPLES: &str = "\
Examples:
  ctbench explain traces/forgotten-ephemeral-ports
  ctbench explain my.pcap --inside 10.0.1.0/24 --security-groups sg.json --network-acls acl.json --differing
  ctbench explain --flow 198.51.100.7:51334
  ctbench explain --flow :443 --format csv > flows.csv
  ctbench explain --profile aws --allowance 4000";

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Only flows with this end: an address, a CIDR block, address:port or :port. Several: flows with
    /// all of them. The summary stays that of the whole trace
    #[arg(long, value_name = "END", value_delimiter = ',')]
    flow: Vec<End>,
    /// Only flows on which the two worlds differ
    #[arg(long)]
    differing: bool,
    /// Flows shown of each cause, and in the list of flows; text only
    #[arg(long, value_name = "N", default_value_t = 3)]
    show: usize,
    /// Connections that the instance may track (AWS's conntrack allowance)
    #[arg(long, value_name = "N")]
    allowance: Option<u64>,
    /// How it is printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people: summary, causes, and a few flows of each
    Text,
    /// A row for each step of each flow
    Csv,
    /// Summary and flows
    Json,
}

/// One end of a flow.
#[derive(Clone, Copy, Debug)]
struct End {
    block: Option<IpNet>,
    port: Option<u16>,
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<End, String> {
        if let Some(port) = text.strip_prefix(':').and_then(|port| port.parse().ok()) {
            return Ok(End { block: None, port: Some(port) });
        }
        if let Ok(socket) = text.parse::<SocketAddr>() {
            return Ok(End { block: Some(socket.ip().into()), port: Some(socket.port()) });
        }
        let block = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let wrong = "an address, a CIDR block, address:port ([address]:port for IPv6) or :port";
        block.map(|block| End { block: Some(block), port: None }).map_err(|_| wrong.into())
    }
}

impl End {
    /// True if either end of the packet's flow is this one.
    fn is_of(&self, packet: &Packet) -> bool {
        let ends = [(packet.local_addr(), packet.local_port), (packet.remote_addr(), packet.remote_port)];
        ends.iter().any(|(address, port)| {
            self.block.is_none_or(|block| block.contains(address)) && self.port.is_none_or(|wanted| wanted == *port)
        })
    }
}

pub(super) fn explain(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    let clock = Clock::new();
    let mut input = Input::load(&args.input, &clock)?;
    if let Some(allowance) = args.allowance {
        input.workload.config.allowance = allowance;
    }
    for warning in &input.warnings {
        eprintln!("warning: {warning}");
    }
    let workload = &input.workload;
    let judge = Judge::new(workload);
    let explanation = Explanation::new(workload, &judge);
    let worlds = [&workload.groups, &workload.acl];
    let quotas: Vec<_> =
        worlds.into_iter().flatten().flat_map(|world: &World| quotas(&world.rules, world.most_groups())).collect();
    let tracking = judge.stateful.as_ref().and_then(|decisions| Tracking::of(workload, decisions));
    let selects = |flow: &Flow| {
        let packet = explanation.packet(flow.first);
        (!args.differing || flow.differs()) && args.flow.iter().all(|end| end.is_of(packet))
    };
    let selected = explanation.flows.iter().enumerate().filter(|(_, flow)| selects(flow));
    let selected = selected.map(|(n, flow)| (n + 1, flow));
    let mut out = BufWriter::new(std::io::stdout().lock());
    match args.format {
        Format::Csv => explain_rows::csv(&mut out, &explanation, selected)?,
        Format::Json => {
            let trace = input.trace_name.clone();
            explain_rows::json(&mut out, (&input.title, &trace), &explanation, &quotas, tracking.as_ref(), selected)?;
        }
        Format::Text => {
            write!(out, "{}", text::heading(&input.about()))?;
            write!(out, "{}", explain_text::summary(&explanation, &quotas, tracking.as_ref()))?;
            write!(out, "{}", explain_text::causes(&explanation, &selects, args.differing, args.show))?;
            let count = selected.clone().count();
            // Those that differ, then those with drops, then the rest.
            for class in 0..3 {
                let of_class = |flow: &Flow| match class {
                    0 => flow.differs(),
                    1 => !flow.differs() && flow.has_drops(),
                    _ => !flow.has_drops(),
                };
                let title = ["on which the worlds differ", "with dropped packets, alike in both worlds", "accepted"];
                let members = || selected.clone().filter(|(_, flow)| of_class(flow));
                let members_count = members().count();
                if members_count > 0 {
                    writeln!(out, "\nFlows {}: {} of {}", title[class], members_count, count)?;
                }
                for (_, flow) in members().take(args.show) {
                    write!(out, "{}", explain_text::flow(&explanation, flow))?;
                }
                if members_count > args.show {
                    writeln!(out, "... and {} more flows: --show, --flow or --format csv", members_count - args.show)?;
                }
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
