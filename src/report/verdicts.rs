//! The verdict CSV: one line a packet of the trace, in trace order.

use crate::engine::{Decision, Reason};
use crate::packet::Direction;
use crate::policy::RuleSet;
use crate::trace::Trace;
use std::io::{self, Write};

/// Writes `index,timestamp_ns,direction,verdict,state,reason`. `decisions` stand in the order of
/// [`Trace::packets`]; `rules` name the rules that they refer to.
pub fn write(out: &mut dyn Write, trace: &Trace, decisions: &[Decision], rules: Option<&RuleSet>) -> io::Result<()> {
    writeln!(out, "index,timestamp_ns,direction,verdict,state,reason")?;
    let mut ignored = trace.ignored.iter().peekable();
    // Copies are no packets of the capture, so they have no line.
    let in_capture = |frame: &u32| *frame as usize <= trace.timestamps_ns.len();
    let evaluated = trace.frames.iter().zip(&trace.packets).zip(decisions);
    let mut evaluated = evaluated.filter(|((frame, _), _)| in_capture(frame)).peekable();
    for (index, timestamp_ns) in (1u32..).zip(&trace.timestamps_ns) {
        if let Some((_, why)) = ignored.next_if(|(frame, _)| *frame == index) {
            writeln!(out, "{index},{timestamp_ns},none,ignored,-,{why}")?;
        } else if let Some(((_, packet), decision)) = evaluated.next_if(|((frame, _), _)| **frame == index) {
            let direction = match packet.direction() {
                Direction::In => "in",
                Direction::Out => "out",
            };
            writeln!(
                out,
                "{index},{timestamp_ns},{direction},{},{},{}",
                decision.verdict().name(),
                decision.state().name(),
                reason(*decision, rules)
            )?;
        }
    }
    Ok(())
}

/// The word of the `reason` column.
pub(crate) fn reason(decision: Decision, rules: Option<&RuleSet>) -> &str {
    match decision.reason() {
        Reason::Rule => match (rules, decision.rule()) {
            (Some(rules), Some(rule)) => &rules.rule(rule).name,
            _ => "rule",
        },
        Reason::NoRule => rules.map_or("no-rule", |rules| rules.implicit_deny()),
        Reason::Tracked => "tracked",
        Reason::Invalid => "invalid",
        Reason::TableFull => "table-full",
        Reason::FragmentIncomplete => "fragment-incomplete",
        Reason::Null => "null",
        Reason::AllowanceExceeded => "allowance-exceeded",
    }
}
