//! Charts as plain SVG.
//!
//! Crates that draw SVG (plotters, poloto, charming) were weighed: they write fixed colours, so a page could not follow
//! the reader's light or dark mode or print well, give no names to lines for a screen reader and no values on hover, or
//! bring a megabyte of JavaScript. Two kinds of chart need little more than an axis.

use crate::report::result::{ResultError, ResultFile, Run};
use crate::report::text::time;
use std::fmt::Write;

/// A chart, ready to be put into a page or a file of its own.
#[derive(Clone, Debug)]
pub struct Chart {
    /// Heading.
    pub title: String,
    /// What to see, in words.
    pub description: String,
    /// The picture. Colours are CSS variables with defaults.
    pub svg: String,
    /// Lines or rows drawn.
    pub series: usize,
    /// Names of the lines with their style; empty where rows name themselves.
    pub legend: Vec<(String, String)>,
}

const WIDTH: f64 = 640.0;
const LEFT: f64 = 68.0;
const RIGHT: f64 = 596.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 352.0;

/// Light-mode colours of lines, for where no style sheet sets others (Okabe and Ito, "Color Universal Design", 2008).
const COLOURS: [&str; 8] = ["#0072b2", "#d55e00", "#009e73", "#b5539a", "#8a6d00", "#2a93c9", "#c0392b", "#444444"];

/// Of what the result has: percentiles for every place, and ratios to the baseline.
pub(super) fn of(file: &ResultFile) -> Result<Vec<Chart>, ResultError> {
    let mut places: Vec<String> = Vec::new();
    for place in file.result.runs.iter().map(Run::place) {
        if !places.contains(&place) {
            places.push(place);
        }
    }
    let mut charts = Vec::new();
    for place in &places {
        charts.extend(percentiles(file, place)?);
    }
    charts.extend(ratios(file));
    Ok(charts)
}

/// Text inside XML and HTML. What XML does not allow at all was replaced when the file was read.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Stateless dashed, stateful solid, neither dotted: seen at a glance, and without colours.
fn style(index: usize, engine: &str) -> String {
    let dashes = match engine {
        name if name.starts_with("stateless") => ";stroke-dasharray:7 4",
        name if name.starts_with("stateful") => "",
        _ => ";stroke-dasharray:2 3",
    };
    let colour = index % COLOURS.len();
    format!("stroke:var(--line{colour},{}){dashes}", COLOURS[colour])
}

fn open(title: &str, height: f64) -> String {
    let title = escape(title);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\" \
         font-family=\"system-ui,sans-serif\" font-size=\"14\" style=\"fill:var(--text,#222)\">"
    )
}

fn grid(svg: &mut String, [x1, y1, x2, y2]: [f64; 4]) {
    let _ = write!(svg, "<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" style=\"stroke:var(--grid,#ddd);fill:none\"/>");
}

fn label(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = write!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(text));
}

/// Latency by percentile: the axis of HdrHistogram's plotter, on which every further nine is as wide as the last.
fn percentiles(file: &ResultFile, place: &str) -> Result<Option<Chart>, ResultError> {
    let mut lines: Vec<(&str, Vec<(f64, u64)>)> = Vec::new();
    for run in file.result.runs.iter().filter(|run| run.error.is_none() && run.place() == place) {
        let Some(histogram) = run.latency_ns.as_ref().and_then(|latency| latency.decoded()) else { continue };
        let histogram =
            histogram.map_err(|problem| file.wrong(format!("{}: latency_ns.histogram", run.engine), problem))?;
        if histogram.is_empty() {
            continue;
        }
        // The last value is at 1 in as many as there are, not at 1 in infinity.
        let end = (histogram.len() as f64).max(2.0).log10();
        let mut points: Vec<(f64, u64)> = Vec::new();
        for value in histogram.iter_quantiles(4) {
            let nines = -(1.0 - value.quantile_iterated_to()).log10();
            points.push((nines.min(end), value.value_iterated_to().max(1)));
            if nines >= end {
                break;
            }
        }
        lines.push((&run.engine, points));
    }
    let all = || lines.iter().flat_map(|(_, points)| points);
    let (Some(lowest), Some(highest)) = (all().map(|(_, ns)| *ns).min(), all().map(|(_, ns)| *ns).max()) else {
        return Ok(None);
    };
    let nines = all().map(|(nines, _)| *nines).fold(2.0, f64::max).ceil();
    let (bottom, top) = ((lowest as f64).log10().floor(), ((highest + 1) as f64).log10().ceil());
    let x = |nines_: f64| LEFT + (RIGHT - LEFT) * nines_ / nines;
    let y = |ns: f64| BOTTOM - (BOTTOM - TOP) * (ns.log10() - bottom) / (top - bottom);

    let title = format!("Latency by percentile, {place}");
    let mut svg = open(&title, 396.0);
    for power in bottom as i32..=top as i32 {
        let ns = 10f64.powi(power);
        grid(&mut svg, [LEFT, y(ns), RIGHT, y(ns)]);
        label(&mut svg, LEFT - 8.0, y(ns) + 4.0, "end", &axis_time(power));
    }
    for nine in 0..=nines as usize {
        let name = match nine {
            0 => "0 %".to_owned(),
            1 => "90 %".to_owned(),
            2 => "99 %".to_owned(),
            n => format!("99.{} %", "9".repeat(n - 2)),
        };
        grid(&mut svg, [x(nine as f64), TOP, x(nine as f64), BOTTOM]);
        label(&mut svg, x(nine as f64), BOTTOM + 18.0, "middle", &name);
    }
    label(&mut svg, (LEFT + RIGHT) / 2.0, BOTTOM + 38.0, "middle", "packets that are as fast or faster");
    let mut legend = Vec::new();
    // An engine has the same colour in all charts of a result.
    let mut engines: Vec<&str> = Vec::new();
    for run in &file.result.runs {
        if !engines.contains(&run.engine.as_str()) {
            engines.push(&run.engine);
        }
    }
    for (index, (engine, points)) in lines.iter().enumerate() {
        let colour = engines.iter().position(|name| name == engine).unwrap_or(index);
        let style = style(colour, engine);
        let _ = write!(
            svg,
            "<g class=\"series\" data-line=\"{index}\"><path fill=\"none\" stroke-width=\"2\" stroke-linejoin=\"round\" style=\"{style}\" d=\""
        );
        for (number, (nines, ns)) in points.iter().enumerate() {
            let _ = write!(svg, "{}{:.1} {:.1}", if number == 0 { 'M' } else { 'L' }, x(*nines), y(*ns as f64));
        }
        let _ = write!(svg, "\"><title>{}</title></path>", escape(engine));
        for (nines, ns) in points {
            let quantile = 100.0 * (1.0 - 10f64.powf(-nines));
            let digits = (nines.ceil() as usize).max(1);
            let _ = write!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"transparent\"><title>{}: {quantile:.digits$} % within {}</title></circle>",
                x(*nines),
                y(*ns as f64),
                escape(engine),
                time(*ns)
            );
        }
        svg.push_str("</g>");
        legend.push(((*engine).to_owned(), style));
    }
    svg.push_str("</svg>");
    let description = "Left the typical packet, right the rare slow one; both axes are logarithmic. Stateless engines are dashed, stateful ones solid. Values are in the table and on hover.".into();
    Ok(Some(Chart { title, description, svg, series: lines.len(), legend }))
}

/// A power of ten ns.
fn axis_time(power: i32) -> String {
    let unit = ["ns", "us", "ms", "s"].get((power / 3) as usize).unwrap_or(&"s");
    let digits = if power >= 12 { power - 9 } else { power % 3 };
    format!("{} {unit}", 10u64.saturating_pow(digits as u32))
}

/// Throughput as a multiple of the baseline's, with intervals.
fn ratios(file: &ResultFile) -> Option<Chart> {
    let finite = |c: &&crate::report::result::Comparison| {
        c.ratio > 0.0 && c.ci95.iter().all(|bound| *bound > 0.0 && bound.is_finite())
    };
    let rows: Vec<_> = file.result.comparisons.iter().filter(finite).collect();
    let baseline = &rows.first()?.baseline;
    let low = rows.iter().map(|c| c.ci95[0].min(c.ratio)).fold(1.0, f64::min).log2();
    let high = rows.iter().map(|c| c.ci95[1].max(c.ratio)).fold(1.0, f64::max).log2();
    let (low, high) = (low.floor().max(-40.0), high.ceil().min(40.0).max(low.floor() + 1.0));
    let left = 226.0;
    let right = RIGHT - 110.0;
    let x = |ratio: f64| left + (right - left) * (ratio.log2().clamp(low, high) - low) / (high - low);
    let bottom = 16.0 + 26.0 * rows.len() as f64;
    let title = format!("Throughput as a multiple of {baseline}'s, with 95 % intervals");
    let mut svg = open(&title, bottom + 30.0);
    let step = ((high - low) / 8.0).ceil().max(1.0) as usize;
    for power in (low as i32..=high as i32).step_by(step) {
        let ratio = 2f64.powi(power);
        grid(&mut svg, [x(ratio), 8.0, x(ratio), bottom]);
        let name = if power < 0 { format!("1/{}", 2f64.powi(-power)) } else { format!("{ratio}") };
        label(&mut svg, x(ratio), bottom + 18.0, "middle", &name);
    }
    let _ =
        write!(svg, "<path d=\"M{0:.1} 8L{0:.1} {bottom:.1}\" style=\"stroke:var(--text,#222);fill:none\"/>", x(1.0));
    for (index, c) in rows.iter().enumerate() {
        let y = 28.0 + 26.0 * index as f64;
        let colour = match c.verdict.as_str() {
            "faster" => "var(--faster,#0072b2)",
            "slower" => "var(--slower,#d55e00)",
            _ => "var(--muted,#666)",
        };
        // A name that is too long for its column would lie on the chart.
        let name: String = c.engine.chars().take(26).collect();
        label(&mut svg, left - 12.0, y + 4.0, "end", &format!("{name}, {}", c.cores));
        let value = format!("{:.3} ({:.3} to {:.3})", c.ratio, c.ci95[0], c.ci95[1]);
        let _ = write!(
            svg,
            "<g class=\"series\" data-ratio=\"{ratio}\" style=\"stroke:{colour};fill:{colour}\"><title>{engine} on {} cores: {value}, {}</title>\
             <path stroke-width=\"2\" d=\"M{from:.1} {y:.1}L{to:.1} {y:.1}M{from:.1} {tick:.1}v8M{to:.1} {tick:.1}v8\"/><circle cx=\"{at:.1}\" cy=\"{y:.1}\" r=\"4.5\"/></g>",
            c.cores,
            escape(&c.verdict),
            ratio = c.ratio,
            engine = escape(&c.engine),
            from = x(c.ci95[0]),
            to = x(c.ci95[1]),
            tick = y - 4.0,
            at = x(c.ratio),
        );
        label(&mut svg, right + 12.0, y + 4.0, "start", &format!("{:.3} {}", c.ratio, c.verdict));
    }
    svg.push_str("</svg>");
    let description = format!(
        "Right of 1 is faster than {baseline}, left of it slower; the axis doubles. Behind each engine the number of cores. Where the whole interval lies 2 % or more off 1 and the noise is less, the verdict says so."
    );
    Some(Chart { title, description, svg, series: rows.len(), legend: Vec::new() })
}
