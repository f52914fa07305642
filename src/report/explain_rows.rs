//! `ctbench explain` for other programs: a CSV row for each step of a flow, and JSON with the summary.

use crate::engine::Decision;
use crate::explain::{
    Explanation, Fates, Filter, FilterJson, Flow, Lost, Met, Role, RuleUse, Tracking, index, protocol_name, way,
};
use crate::packet::Direction;
use crate::policy::World;
use crate::policy::quota::QuotaUse;
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};
use std::io::{self, Write};

/// The worlds, as columns name them.
const WORLDS: [(World, &str); 2] = [(World::SecurityGroups, "security-groups"), (World::NetworkAcl, "network-acl")];

/// One filter that packets of a flow met, and what it decided.
#[derive(Clone, Debug, Serialize)]
pub struct Step<'a> {
    /// "security-groups" or "network-acl".
    pub filter: &'static str,
    /// "in" or "out".
    pub direction: &'static str,
    /// What the packets are to the flow.
    pub role: Role,
    /// "accept" or "drop".
    pub verdict: &'static str,
    /// Connection-tracking state, as in the verdict CSV.
    pub state: &'static str,
    /// As in the verdict CSV: a rule's name, or why there is none.
    pub reason: &'a str,
    /// File of the rule.
    pub file: Option<String>,
    /// JSON path of the rule in the file.
    pub path: Option<&'a str>,
    /// Packets.
    pub packets: u32,
    /// Number of the first of them in the capture.
    pub first_packet: u32,
    /// True if the other world's verdict on these packets differs.
    pub differs: bool,
    /// In words.
    pub why: String,
    /// Where rules differ by interface: the filters of this world that the packets met, up to the one that decided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub way: Vec<FilterJson>,
}

/// The steps of one flow: what each world decided on each kind of packet.
pub fn steps<'a>(explanation: &'a Explanation, flow: &Flow) -> Vec<Step<'a>> {
    let of = |met: &Met| {
        let why = explanation.sentence(flow, met);
        let both = WORLDS.iter().filter_map(move |(world, name)| {
            let decision = met.decisions[index(*world)]?;
            let workload = explanation.workload;
            let rules = match world {
                World::SecurityGroups => workload.groups.as_ref(),
                World::NetworkAcl => workload.acl.as_ref(),
            };
            let rules = rules.map(|world| &world.rules)?;
            let origin = decision.rule().and_then(|rule| rules.origin(rule));
            Some(Step {
                filter: name,
                direction: direction(met.direction),
                role: met.role,
                verdict: decision.verdict().name(),
                state: decision.state().name(),
                reason: super::verdicts::reason(decision, Some(rules)),
                file: origin.map(|origin| origin.file.display().to_string()),
                path: origin.map(|origin| origin.path.as_str()),
                packets: met.packets,
                first_packet: workload.trace.frames[met.first as usize],
                differs: met.differs(),
                why: why.clone(),
                way: way(workload, explanation.packet(met.first), decision, *world)
                    .iter()
                    .map(Filter::to_json)
                    .collect(),
            })
        });
        both.collect::<Vec<_>>()
    };
    flow.met.iter().flat_map(of).collect()
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}

/// Writes a row for each step of each of these flows.
pub fn csv<'e>(
    out: &mut dyn Write,
    explanation: &'e Explanation,
    flows: impl Iterator<Item = (usize, &'e Flow)>,
) -> io::Result<()> {
    writeln!(
        out,
        "flow,protocol,local,local_port,remote,remote_port,opened,filter,direction,role,verdict,state,reason,file,path,packets,first_packet,differs,why,step,interface,set"
    )?;
    for (number, flow) in flows {
        let packet = explanation.packet(flow.first);
        for step in steps(explanation, flow) {
            let decided = step.way.last();
            writeln!(
                out,
                "{number},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
                protocol_name(packet.protocol),
                packet.local_addr(),
                packet.local_port,
                packet.remote_addr(),
                packet.remote_port,
                direction(flow.opened),
                step.filter,
                step.direction,
                step.role.name(),
                step.verdict,
                step.state,
                step.reason,
                quoted(step.file.as_deref().unwrap_or_default()),
                quoted(step.path.unwrap_or_default()),
                step.packets,
                step.first_packet,
                step.differs,
                quoted(&step.why),
                decided.map_or_else(String::new, |filter| filter.step.to_string()),
                decided.map_or("", |filter| &filter.interface),
                decided.map_or("", |filter| &filter.set),
            )?;
        }
    }
    Ok(())
}

/// A field that may hold commas and quotes (RFC 4180).
pub(super) fn quoted(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

/// A flow in JSON.
#[derive(Serialize)]
struct FlowJson<'a> {
    flow: usize,
    protocol: String,
    local: String,
    local_port: u16,
    remote: String,
    remote_port: u16,
    opened: &'static str,
    packets: u64,
    security_groups: Option<crate::explain::Fate>,
    network_acl: Option<crate::explain::Fate>,
    differs: bool,
    steps: Vec<Step<'a>>,
}

/// A cause in JSON.
#[derive(Serialize)]
struct CauseJson<'a> {
    dropped_only_by: Option<&'static str>,
    role: Role,
    direction: &'static str,
    protocol: String,
    packets: u64,
    flows: usize,
    ports: &'a std::collections::BTreeMap<u16, u64>,
    text: &'a str,
}

/// The document.
#[derive(Serialize)]
struct Document<'a, F: Serialize> {
    schema: u32,
    title: &'a str,
    trace: &'a str,
    security_groups: Option<Fates>,
    network_acl: Option<Fates>,
    differing_packets: Option<u64>,
    differing_flows: Option<u64>,
    lost_replies: Vec<Lost>,
    rules: [&'a [RuleUse]; 2],
    quotas: &'a [QuotaUse],
    tracking: Option<&'a Tracking>,
    causes: Vec<CauseJson<'a>>,
    flows: F,
}

/// Flows that are written one by one, as they are made.
struct Flows<'e, F> {
    explanation: &'e Explanation<'e>,
    flows: F,
}

impl<'e, F: Iterator<Item = (usize, &'e Flow)> + Clone> Serialize for Flows<'e, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for (number, flow) in self.flows.clone() {
            let packet = self.explanation.packet(flow.first);
            list.serialize_element(&FlowJson {
                flow: number,
                protocol: protocol_name(packet.protocol),
                local: packet.local_addr().to_string(),
                local_port: packet.local_port,
                remote: packet.remote_addr().to_string(),
                remote_port: packet.remote_port,
                opened: direction(flow.opened),
                packets: flow.packets(),
                security_groups: flow.fate(World::SecurityGroups),
                network_acl: flow.fate(World::NetworkAcl),
                differs: flow.differs(),
                steps: steps(self.explanation, flow),
            })?;
        }
        list.end()
    }
}

/// Writes the summary and these flows as one JSON document.
pub fn json<'e>(
    out: &mut dyn Write,
    (title, trace): (&str, &str),
    explanation: &'e Explanation<'e>,
    quotas: &[QuotaUse],
    tracking: Option<&Tracking>,
    flows: impl Iterator<Item = (usize, &'e Flow)> + Clone,
) -> io::Result<()> {
    let both = explanation.fates.iter().all(Option::is_some).then(|| explanation.differing());
    let causes = explanation.causes.iter().map(|cause| CauseJson {
        dropped_only_by: match cause.polarity {
            crate::explain::Polarity::OnlyAcl => Some(WORLDS[1].1),
            crate::explain::Polarity::OnlyGroups => Some(WORLDS[0].1),
            crate::explain::Polarity::All => None,
        },
        role: cause.role,
        direction: direction(cause.direction),
        protocol: protocol_name(cause.protocol),
        packets: cause.packets,
        flows: cause.flows.len(),
        ports: &cause.ports,
        text: &cause.text,
    });
    let document = Document {
        schema: 1,
        title,
        trace,
        security_groups: explanation.fates[0],
        network_acl: explanation.fates[1],
        differing_packets: both.map(|(_, packets)| packets),
        differing_flows: both.map(|(flows, _)| flows),
        lost_replies: explanation.lost_replies(),
        rules: [&explanation.rules[0], &explanation.rules[1]],
        quotas,
        tracking,
        causes: causes.collect(),
        flows: Flows { explanation, flows },
    };
    serde_json::to_writer_pretty(&mut *out, &document)?;
    writeln!(out)
}

/// Writes a row for each packet on which the worlds differ, in trace order.
pub fn differences(out: &mut dyn Write, explanation: &Explanation, decisions: [&[Decision]; 2]) -> io::Result<()> {
    writeln!(out, "index,timestamp_ns,direction,security_groups,network_acl,why")?;
    let trace = &explanation.workload.trace;
    let numbers = explanation.numbers();
    for (position, packet) in trace.packets.iter().enumerate() {
        let [groups, acl] = [0, 1].map(|i| decisions[i][position]);
        if groups.verdict() == acl.verdict() {
            continue;
        }
        let Some(number) = numbers.get(&packet.flow_key()) else { continue };
        let flow = &explanation.flows[*number as usize];
        let met = Met {
            direction: packet.direction(),
            role: Role::of(packet, flow.opened),
            decisions: [Some(groups), Some(acl)],
            packets: 1,
            first: position as u32,
        };
        writeln!(
            out,
            "{},{},{},{},{},{}",
            trace.frames[position],
            packet.time_ns,
            direction(packet.direction()),
            groups.verdict().name(),
            acl.verdict().name(),
            quoted(&explanation.sentence(flow, &met)),
        )?;
    }
    Ok(())
}
