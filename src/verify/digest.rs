//! One number for all answers of a replay.

use crate::engine::Decision;
use crate::trace::Trace;

/// The wrapping sum, over all packets, of a hash of (frame number, verdict, state): independent of
/// order and sharding, equal exactly (but for a chance of 2^-64) when every packet got the same
/// answer. Reasons do not count: two engines may find different rules that say the same.
///
/// `decisions` stand in the order of [`Trace::packets`].
pub fn of(trace: &Trace, decisions: &[Decision]) -> u64 {
    let terms = trace.frames.iter().zip(decisions).map(|(frame, decision)| term(u64::from(*frame), *decision));
    terms.fold(0, u64::wrapping_add)
}

/// What one packet adds to the sum.
#[inline(always)]
pub fn term(frame: u64, decision: Decision) -> u64 {
    mix(frame << 8 | (decision.verdict() as u64) << 4 | decision.state() as u64)
}

/// The finaliser of SplitMix64.
#[inline(always)]
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
