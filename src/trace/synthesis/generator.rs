//! The loop: new flows as they come, packets in order of time.

use super::calendar::Calendar;
use super::conversation::{Class, Flow};
use super::frame::Pcap;
use super::{Random, Recipe, SynthesisError};
use std::io::Write;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Packets.
    pub packets: u64,
    /// Flows that began.
    pub flows: u64,
    /// Flows under way at one time, at most: what memory grows with.
    pub concurrent: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// From the first to the last packet, ns.
    pub duration_ns: u64,
}

/// All traces begin on 2026-01-01, 00:00 UTC.
const START_NS: u64 = 1_767_225_600_000_000_000;
/// So many flows under way at most (some 2 GB); further ones wait until one has ended.
const MAX_CONCURRENT: usize = 1 << 24;
/// A pcap file's seconds have 32 bits.
const LAST_NS: u64 = (1 << 32) * 1_000_000_000 - 1;

/// Writes the trace of a recipe as pcap with nanosecond timestamps. Memory grows with the flows under way, not with
/// the trace.
pub fn write(recipe: &Recipe, out: impl Write) -> Result<Made, SynthesisError> {
    recipe.check()?;
    let mut random = Random::new(recipe.seed);
    let mut classes: Vec<Class> = recipe.traffic.iter().map(Class::new).collect();
    let weights: Vec<u32> = recipe.traffic.iter().map(|traffic| traffic.weight).collect();
    let total: u32 = weights.iter().sum();
    let packets_a_flow: u64 =
        classes.iter().zip(&weights).map(|(class, weight)| class.packets_a_flow() * u64::from(*weight)).sum();
    let rate = u64::from(recipe.flows_per_s);
    let mean_gap = 1_000_000_000 / rate;
    let mut calendar = Calendar::new(rate.saturating_mul(packets_a_flow / u64::from(total)), START_NS);
    let mut out = Pcap::new(out, recipe.snaplen);
    let (mut flows, mut free): (Vec<Flow>, Vec<u32>) = (Vec::new(), Vec::new());
    let most_packets = recipe.packets.unwrap_or(u64::MAX);
    let most_flows = recipe.flows.unwrap_or(u64::MAX);
    let mut made = Made::default();
    // Carried over whole: a gap that is no whole number of ns must not change the rate.
    let mut arrivals = Arrivals { at: START_NS, rest: 0, rate, mean_gap, evenly: recipe.evenly };
    let mut last = START_NS;
    let mut due: Vec<(u64, u32)> = Vec::new();
    'trace: while out.packets < most_packets && (made.flows < most_flows || !calendar.is_empty()) {
        let next_arrival = if made.flows < most_flows { arrivals.at } else { u64::MAX };
        calendar.next_day(next_arrival, &mut due);
        let mut at = 0;
        loop {
            let begins = arrivals.at < calendar.day_ends() && made.flows < most_flows;
            let (now, flow) = match due.get(at) {
                Some((time, flow)) if !begins || *time <= arrivals.at => {
                    at += 1;
                    (*time, *flow)
                }
                _ if begins => {
                    let concurrent = flows.len() - free.len();
                    if concurrent >= MAX_CONCURRENT {
                        arrivals.at = calendar.day_ends();
                        continue;
                    }
                    let class = pick(&weights, total, &mut random);
                    let flow = classes[class].begin(class as u16, &mut random);
                    let number = free.pop().unwrap_or(flows.len() as u32);
                    match flows.get_mut(number as usize) {
                        Some(slot) => *slot = flow,
                        None => flows.push(flow),
                    }
                    made.flows += 1;
                    made.concurrent = made.concurrent.max(concurrent as u64 + 1);
                    let now = arrivals.at;
                    arrivals.next(&mut random);
                    (now, number)
                }
                _ => break,
            };
            if now > LAST_NS {
                return Err(SynthesisError::TooLong);
            }
            let state = &mut flows[flow as usize];
            let class = &classes[state.class()];
            let gap = state.step(class, now, &mut random, &mut out)?;
            last = now;
            if out.packets < most_packets && random.chance(recipe.malformed) {
                out.damaged_copy((random.draw() >> 32) as u32);
            }
            if out.packets >= most_packets {
                break 'trace;
            }
            match gap {
                None => free.push(flow),
                Some(gap) if !calendar.add(flow, now + gap) => {
                    let later = (now + gap, flow);
                    let place = at + due[at..].partition_point(|event| *event <= later);
                    due.insert(place, later);
                }
                Some(_) => {}
            }
        }
    }
    made.packets = out.packets;
    made.duration_ns = last - START_NS;
    made.bytes = out.finish()?;
    Ok(made)
}

/// When flows begin.
struct Arrivals {
    at: u64,
    /// Numerator of the part of a ns, over `rate`.
    rest: u64,
    rate: u64,
    mean_gap: u64,
    evenly: bool,
}

impl Arrivals {
    #[inline]
    fn next(&mut self, random: &mut Random) {
        if self.evenly {
            self.rest += 1_000_000_000 % self.rate;
            self.at += self.mean_gap + self.rest / self.rate;
            self.rest %= self.rate;
        } else {
            // The mean in 2^-16 ns, so that a million flows a second are not rounded.
            self.rest += random.exponential((1_000_000_000 << 16) / self.rate);
            self.at += self.rest >> 16;
            self.rest &= 0xffff;
        }
    }
}

/// A kind of traffic by weight.
#[inline]
fn pick(weights: &[u32], total: u32, random: &mut Random) -> usize {
    if weights.len() == 1 {
        return 0;
    }
    let mut point = random.below(total);
    for (class, weight) in weights.iter().enumerate() {
        if point < *weight {
            return class;
        }
        point -= weight;
    }
    0
}
