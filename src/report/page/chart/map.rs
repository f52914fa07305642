//! The crossover map: at which numbers of rules and flows remembering is cheaper than the rules.

use super::Chart;
use super::colours::{BETTER, MUTED, WORSE};
use super::svg::{Drawn, Markup, Paper, picture, text};
use crate::report::page::answer;
use crate::report::swept::{Crossing, Rest, Sweep};
use crate::report::words::{counted, thousands};
use plotters::chart::ChartBuilder;
use plotters::element::{Rectangle, Text};
use plotters::style::text_anchor::{HPos, VPos};
use plotters::style::{Color, TRANSPARENT};
use std::fmt::Write;

const LEFT: u32 = 960;
const RIGHT: u32 = 40;
const TOP: u32 = 240;
const ROW: u32 = 400;
const BELOW: u32 = 440;

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
    let height = TOP + ROW * rules.len() as u32 + BELOW;
    let svg = picture(&title, "marks", height, |paper| plot(paper, &crossings, &rules, &flows));
    let description = format!(
        "How many times as long a packet takes in the fastest stateful engine as in the fastest stateless one: blue where remembering is cheaper than the rules, orange where it is dearer, grey (≈) where the intervals do not tell: {}",
        answer::crossover(&crossings)
    );
    Some(Chart { title, description, svg, series: crossings.len(), legend: Vec::new() })
}

/// A cell for each crossing, rules from below and flows from the left, both in the order given.
fn plot(paper: &Paper, crossings: &[Crossing], rules: &[Option<u64>], flows: &[Option<u64>]) -> Drawn {
    let mut builder = ChartBuilder::on(paper);
    builder.margin_top(TOP).margin_right(RIGHT).x_label_area_size(BELOW).y_label_area_size(LEFT);
    // Cells lie around whole numbers, where plotters puts its ticks.
    let around = |values: &[Option<u64>]| -0.5..values.len() as f64 - 0.5;
    let named =
        |values: &[Option<u64>], at: f64| values.get(at.round() as usize).map_or_else(String::new, |v| name(*v));
    let mut chart = builder.build_cartesian_2d(around(flows), around(rules))?;
    chart
        .configure_mesh()
        .disable_mesh()
        .axis_style(TRANSPARENT)
        .set_all_tick_mark_size(40)
        .label_style(text(HPos::Left, VPos::Top))
        .x_labels(flows.len())
        .y_labels(rules.len())
        .x_label_formatter(&|at| named(flows, *at))
        .y_label_formatter(&|at| named(rules, *at))
        .x_desc("flows")
        .draw()?;
    paper.draw(&Text::new("rules", ((LEFT - 80) as i32, (TOP - 60) as i32), text(HPos::Right, VPos::Bottom)))?;
    let plot = chart.plotting_area();
    let place = |values: &[Option<u64>], value| values.iter().position(|v| *v == value).unwrap_or(0) as f64;
    for crossing in crossings {
        let (x, y) = (place(flows, crossing.flows), place(rules, crossing.rules));
        let colour = match (crossing.is_clear, crossing.times > 1.0) {
            (false, _) => MUTED,
            (true, true) => WORSE,
            (true, false) => BETTER,
        };
        let strength = 0.12 + 0.5 * (crossing.times.log2().abs() / FULL).min(1.0);
        let mut cell = Rectangle::new([(x - 0.5, y - 0.5), (x + 0.5, y + 0.5)], colour.mix(strength).filled());
        cell.set_margin(10, 10, 10, 10);
        // The sign says without colours what the colour says.
        let sign = if crossing.is_clear { "×" } else { "≈" };
        let value = Text::new(format!("{sign} {:.2}", crossing.times), (x, y), text(HPos::Center, VPos::Center));
        plot.draw(&Markup::group(&format!("class=\"series\" data-value=\"{}\"", crossing.times), &said(crossing)))?;
        plot.draw(&cell)?;
        plot.draw(&value)?;
        plot.draw(&Markup::end())?;
    }
    Ok(())
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
