//! The crossover map: at which numbers of rules and flows remembering is cheaper than the rules.

use super::svg::{WIDTH, label, open};
use super::{Chart, escape};
use crate::report::page::answer;
use crate::report::swept::{Crossing, Rest, Sweep};
use crate::report::text::{counted, thousands};
use std::fmt::Write;

const LEFT: f64 = 96.0;
const RIGHT: f64 = WIDTH - 4.0;
const TOP: f64 = 24.0;
const ROW: f64 = 40.0;

/// Four times as long, or a quarter, has the full colour.
const FULL: f64 = 2.0;

/// A map for every setting beside rules and flows.
pub(super) fn of(sweep: &Sweep) -> Vec<Chart> {
    sweep.rests().into_iter().filter_map(|rest| map(sweep, rest)).collect()
}

fn map(sweep: &Sweep, rest: Rest) -> Option<Chart> {
    let crossings = sweep.crossings(rest);
    let mut rules: Vec<Option<u64>> = crossings.iter().map(|crossing| crossing.rules).collect();
    let mut flows: Vec<Option<u64>> = crossings.iter().map(|crossing| crossing.flows).collect();
    for values in [&mut rules, &mut flows] {
        values.sort_unstable();
        values.dedup();
    }
    if crossings.len() < 2 {
        return None;
    }
    let title = format!("Remembering against rules, {}", place(rest));
    let bottom = TOP + ROW * rules.len() as f64;
    let mut svg = open(&title, "marks", bottom + 44.0);
    let width = (RIGHT - LEFT) / flows.len() as f64;
    let x = |flow: Option<u64>| LEFT + width * flows.iter().position(|f| *f == flow).unwrap_or(0) as f64;
    // Most rules on top, as on any chart's axis.
    let y = |rule: Option<u64>| bottom - ROW * (1.0 + rules.iter().position(|r| *r == rule).unwrap_or(0) as f64);
    label(&mut svg, LEFT - 8.0, TOP - 8.0, "end", "rules");
    for rule in &rules {
        label(&mut svg, LEFT - 8.0, y(*rule) + 25.0, "end", &name(*rule));
    }
    for flow in &flows {
        label(&mut svg, x(*flow) + width / 2.0, bottom + 18.0, "middle", &name(*flow));
    }
    label(&mut svg, (LEFT + RIGHT) / 2.0, bottom + 38.0, "middle", "flows");
    for crossing in &crossings {
        let (left, top) = (x(crossing.flows), y(crossing.rules));
        let colour = match (crossing.is_clear, crossing.times > 1.0) {
            (false, _) => "var(--muted,#666)",
            (true, true) => "var(--slower,#d55e00)",
            (true, false) => "var(--faster,#0072b2)",
        };
        let strength = 0.12 + 0.5 * (crossing.times.log2().abs() / FULL).min(1.0);
        let _ = write!(
            svg,
            "<g class=\"series\" data-value=\"{}\"><title>{}</title><rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" style=\"fill:{colour};fill-opacity:{strength:.2}\"/>",
            crossing.times,
            escape(&said(crossing)),
            left + 1.0,
            top + 1.0,
            width - 2.0,
            ROW - 2.0,
        );
        // The sign says without colours what the colour says.
        let sign = if crossing.is_clear { "× " } else { "≈ " };
        label(&mut svg, left + width / 2.0, top + 25.0, "middle", &format!("{sign}{:.2}", crossing.times));
        svg.push_str("</g>");
    }
    svg.push_str("</svg>");
    let description = format!(
        "How many times as long a packet takes in the fastest stateful engine as in the fastest stateless one: blue where remembering is cheaper than the rules, orange where it is dearer, grey (≈) where the intervals do not tell. {}",
        answer::crossover(&crossings)
    );
    Some(Chart { title, description, svg, series: crossings.len(), legend: Vec::new() })
}

fn name(value: Option<u64>) -> String {
    value.map_or_else(|| "as given".to_owned(), thousands)
}

fn said(crossing: &Crossing) -> String {
    let engine = |point: &crate::report::swept::SweepPoint| {
        let ns = point.throughput().map_or(f64::NAN, |[mpps, ..]| 1e3 / mpps);
        format!("{} {ns:.1} ns", point.engine)
    };
    let unclear = if crossing.is_clear { "" } else { ", within the intervals or the noise" };
    format!(
        "{} rules, {} flows: {}, {}; {:.2} times as long{unclear}",
        name(crossing.rules),
        name(crossing.flows),
        engine(crossing.stateful),
        engine(crossing.stateless),
        crossing.times
    )
}

/// The setting beside rules and flows, as far as it was swept.
fn place((cores, steering, churn, burst, capacity, pps): Rest) -> String {
    let mut text = format!("{}, {steering}, burst {burst}", counted(cores, "core"));
    let others = [(churn, "new flows a second"), (capacity, "table entries"), (pps, "packets a second")];
    for (value, what) in others {
        if let Some(value) = value {
            let _ = write!(text, ", {} {what}", thousands(value));
        }
    }
    text
}
