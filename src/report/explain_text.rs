//! `ctbench explain` on the terminal: the summary first, then causes, then flows.

use super::words::{counted, thousands};
use crate::explain::tracking::Tracking;
use crate::explain::{Cause, Explanation, Flow, Polarity, Role, RuleUse, flow_name, index, protocol_name};
use crate::packet::{Direction, protocol};
use crate::policy::World;
use crate::policy::quota::QuotaUse;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Rows of a list before it is cut.
const ROWS: usize = 20;
/// The worlds, as people call them.
const WORLDS: [(World, &str); 2] = [(World::SecurityGroups, "security groups"), (World::NetworkAcl, "network ACL")];

/// What is said of the trace as a whole.
pub fn summary(explanation: &Explanation, quotas: &[QuotaUse], tracking: Option<&Tracking>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail; hence the ignored results here and below.
    for (world, name) in WORLDS {
        if let Some(fates) = &explanation.fates[index(world)] {
            let _ = writeln!(
                text,
                "{name:15}  accept {:>11}  drop {:>11} packets;  flows: {} accepted, {} dropped, {} in part",
                thousands(fates.accept),
                thousands(fates.drop),
                thousands(fates.flows_accepted),
                thousands(fates.flows_dropped),
                thousands(fates.flows_in_part),
            );
        }
    }
    if explanation.fates.iter().all(Option::is_some) {
        let (flows, packets) = explanation.differing();
        let _ = writeln!(text, "The two differ on {} of {}.", counted(packets, "packet"), counted(flows, "flow"));
    }
    let ignored = explanation.workload.trace.ignored.iter().fold(BTreeMap::new(), |mut counts, (_, why)| {
        *counts.entry(why.reason()).or_insert(0u64) += 1;
        counts
    });
    for (why, count) in ignored {
        let _ = writeln!(text, "Not evaluated, {why}: {}.", counted(count, "packet"));
    }
    text += &lost_replies(explanation);
    for (world, name) in WORLDS {
        text += &rules(name, &explanation.rules[index(world)]);
    }
    text += &of_quotas(quotas);
    if let Some(tracking) = tracking {
        text += &of_tracking(tracking);
    }
    text
}

/// By service, with the destination ports that a rule would have to cover.
fn lost_replies(explanation: &Explanation) -> String {
    let lost = explanation.lost_replies();
    if lost.is_empty() {
        return String::new();
    }
    let mut text = "\nReplies lost to the network ACL, which a stateful group passes, by service\n".to_owned();
    for lost in lost.iter().take(ROWS) {
        let ports = if lost.low == lost.high { lost.low.to_string() } else { format!("{}-{}", lost.low, lost.high) };
        let (whose, way) = if lost.outbound { ("inside", "outbound") } else { ("outside", "inbound") };
        let _ = writeln!(
            text,
            "  {:>10} packets of {:>9} flows  {} port {} {whose}: {way} destination ports {ports}",
            thousands(lost.packets),
            thousands(lost.flows),
            lost.protocol,
            lost.service,
        );
    }
    text += &more(lost.len().saturating_sub(ROWS), "services");
    text
}

fn more(hidden: usize, what: &str) -> String {
    if hidden == 0 {
        String::new()
    } else {
        format!("  ... and {} more {what}: see --format json\n", thousands(hidden as u64))
    }
}

fn rules(world: &str, uses: &[RuleUse]) -> String {
    if uses.is_empty() {
        return String::new();
    }
    let (mut used, unused): (Vec<&RuleUse>, Vec<&RuleUse>) = uses.iter().partition(|rule| rule.packets > 0);
    used.sort_by_key(|rule| std::cmp::Reverse(rule.packets + rule.tracked));
    let mut text = format!("\nRules of the {world}: {} used, {} never\n", used.len(), unused.len());
    for rule in used.iter().take(ROWS) {
        let tracked = if rule.tracked > 0 { format!(" + {} tracked", thousands(rule.tracked)) } else { String::new() };
        let _ = writeln!(
            text,
            "  {:>10} packets{tracked} of {:>9} flows  {} {} {}{}",
            thousands(rule.packets),
            thousands(rule.flows),
            rule.direction,
            rule.rule,
            rule.remote,
            place(rule)
        );
    }
    text += &more(used.len().saturating_sub(ROWS), "rules that were used");
    for rule in unused.iter().take(ROWS) {
        let _ = writeln!(text, "  never used  {} {} {}{}", rule.direction, rule.rule, rule.remote, place(rule));
    }
    text += &more(unused.len().saturating_sub(ROWS), "rules that were never used");
    text
}

fn place(rule: &RuleUse) -> String {
    rule.path.as_ref().map_or_else(String::new, |path| format!("  {path}"))
}

fn of_quotas(quotas: &[QuotaUse]) -> String {
    if quotas.is_empty() {
        return String::new();
    }
    let mut text =
        "\nQuotas (VPC guide, \"Amazon VPC quotas\"; a group counts 1, a prefix list its MaxEntries)\n".to_owned();
    for quota in quotas {
        let request = quota.on_request.map_or_else(String::new, |most| format!(", {most} on request"));
        let over = if quota.is_over() { "  OVER" } else { "" };
        let unknown = match quota.unknown_lists {
            0 => String::new(),
            n => format!(" ({n} prefix lists of unknown MaxEntries counted 1 each)"),
        };
        let _ = writeln!(
            text,
            "  {:>5} of {}{request}  {}{unknown}{over}",
            thousands(quota.used.into()),
            thousands(quota.quota.into()),
            quota.what
        );
    }
    text
}

fn of_tracking(tracking: &Tracking) -> String {
    let mut text = format!(
        "\nTracking (profile {})\n  flows: {} tracked, of them {} automatically; {} untracked; {} refused\n",
        format!("{:?}", tracking.profile).to_lowercase(),
        thousands(tracking.tracked_flows),
        thousands(tracking.automatically_tracked_flows),
        thousands(tracking.untracked_flows),
        thousands(tracking.refused_flows),
    );
    if let Some(flows) = tracking.untracked_under_aws.filter(|flows| *flows > 0) {
        let _ = writeln!(text, "  with --profile aws {} flows would be untracked", thousands(flows));
    }
    let _ = write!(text, "  peak: {} connections at once", thousands(tracking.peak.entries as u64));
    let _ = match tracking.allowance {
        Some(allowance) => writeln!(
            text,
            ", {:.1} % of the allowance of {}",
            tracking.peak.entries as f64 / allowance as f64 * 100.0,
            thousands(allowance)
        ),
        None => writeln!(text, "; no allowance was given (--allowance)"),
    };
    if let Some(peak) = tracking.peak_without_allowance {
        let _ = writeln!(text, "  without the allowance the peak would be {}", thousands(peak.entries as u64));
    }
    match tracking.first_refused {
        Some(first) => {
            let _ = writeln!(
                text,
                "  {} packets refused for want of room; the first is packet {}",
                thousands(tracking.refused_packets),
                first.packet
            );
        }
        None => text += "  no packet was refused for want of room\n",
    }
    for idle in &tracking.idle {
        let _ = write!(
            text,
            "  {} idle for more than {} s: {} flows",
            idle.protocol,
            thousands(idle.seconds),
            thousands(idle.flows)
        );
        if idle.flows > 0 {
            let _ = write!(
                text,
                " (up to {} s); that timeout would cost {} flows packets",
                thousands(idle.longest_s),
                thousands(idle.broken)
            );
        }
        text.push('\n');
    }
    text
}

/// Causes, each with up to `limit` of its flows among those that `selects`.
pub fn causes(explanation: &Explanation, selects: &dyn Fn(&Flow) -> bool, differing: bool, limit: usize) -> String {
    let mut text = String::new();
    for cause in &explanation.causes {
        if differing && cause.polarity == Polarity::All {
            continue;
        }
        let selected = || cause.flows.iter().filter(|(flow, _)| selects(&explanation.flows[*flow as usize]));
        let count = selected().count();
        if count == 0 {
            continue;
        }
        if text.is_empty() {
            text += "\nWhy packets were dropped";
            text += if differing { ", where the worlds differ\n" } else { "; where the worlds differ comes first\n" };
        }
        let _ = writeln!(text, "{}", cause_line(cause));
        for (flow, met) in selected().take(limit) {
            let flow = &explanation.flows[*flow as usize];
            let met = &flow.met[*met as usize];
            let number = explanation.workload.trace.name(met.first as usize);
            let packets = if met.packets > 1 {
                format!(" (and {} more)", thousands(u64::from(met.packets) - 1))
            } else {
                String::new()
            };
            let _ = writeln!(text, "    {number}{packets}: {}", explanation.sentence(flow, met));
        }
        if count > limit {
            let _ = writeln!(text, "    ... and {} more flows", thousands((count - limit) as u64));
        }
    }
    text
}

/// What a cause did, in a line.
fn cause_line(cause: &Cause) -> String {
    let who = match cause.polarity {
        Polarity::OnlyAcl => "the network ACL alone drops",
        Polarity::OnlyGroups => "the security groups alone drop",
        Polarity::All => "dropped",
    };
    let way = if cause.direction == Direction::In { "inbound" } else { "outbound" };
    let role = match cause.role {
        Role::Request => "requests",
        Role::Reply => "replies",
        Role::IcmpError => "ICMP errors",
    };
    let ports = match (cause.ports.first_key_value(), cause.ports.last_key_value()) {
        (Some((low, _)), Some((high, _))) if matches!(cause.protocol, protocol::TCP | protocol::UDP) => {
            match cause.ports.len() {
                1 => format!(" to port {low}"),
                n => format!(" to {} ports from {low} to {high}", thousands(n as u64)),
            }
        }
        _ => String::new(),
    };
    format!(
        "  {} {way} {} {role}{ports}: {who}: {}",
        thousands(cause.packets),
        protocol_name(cause.protocol),
        cause.text
    )
}

/// One flow, step by step.
pub fn flow(explanation: &Explanation, flow: &Flow) -> String {
    let start_ns = explanation.workload.trace.packets.first().map_or(0, |packet| packet.time_ns);
    let first = explanation.packet(flow.first);
    let fates: Vec<String> = WORLDS
        .iter()
        .filter_map(|(world, name)| Some(format!("{} by the {name}", flow.fate(*world)?.name())))
        .collect();
    let mut text = format!(
        "{}: {} from {}, {:.3} s: {}\n",
        flow_name(first, flow.opened),
        counted(flow.packets(), "packet"),
        explanation.workload.trace.name(flow.first as usize),
        (first.time_ns - start_ns) as f64 / 1e9,
        fates.join(", "),
    );
    for met in &flow.met {
        let mark = match (met.differs(), met.is_dropped()) {
            (true, _) => "differ",
            (false, true) => "drop",
            (false, false) => "accept",
        };
        let _ = writeln!(text, "  {:>8} {mark:6}  {}", thousands(met.packets.into()), explanation.sentence(flow, met));
    }
    text
}
