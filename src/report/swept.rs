//! The points of a sweep, as they are read from a result.

use super::result::printable;
use serde::Deserialize;

/// What `ctbench sweep` measured. See `results/schema.json` for units.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Sweep {
    /// What is the same at all points.
    #[serde(default, deserialize_with = "printable")]
    pub settings: String,
    /// An engine at a setting each.
    pub points: Vec<SweepPoint>,
}

/// An engine at a setting; what was not swept or not measured is `None`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // Their names, and the schema, say it.
pub struct SweepPoint {
    #[serde(deserialize_with = "printable")]
    pub engine: String,
    pub cores: u64,
    #[serde(deserialize_with = "printable")]
    pub steering: String,
    pub rules: Option<u64>,
    pub flows: Option<u64>,
    pub churn: Option<u64>,
    pub burst: u64,
    pub capacity: Option<u64>,
    pub pps: Option<u64>,
    pub mpps: Option<f64>,
    pub mpps_low: Option<f64>,
    pub mpps_high: Option<f64>,
    pub noise_floor: Option<f64>,
    pub lost: Option<u64>,
    pub p50_ns: Option<u64>,
    pub p99_ns: Option<u64>,
    pub error: Option<String>,
}

/// What stands beside rules and flows in a setting: cores, steering, churn, burst, capacity, offered load.
pub type Rest<'a> = (u64, &'a str, Option<u64>, u64, Option<u64>, Option<u64>);

impl SweepPoint {
    /// Median and 95 % interval in Mpps, if there is one.
    pub fn throughput(&self) -> Option<[f64; 3]> {
        let figures = [self.mpps?, self.mpps_low?, self.mpps_high?];
        (self.error.is_none() && figures.iter().all(|mpps| *mpps > 0.0 && mpps.is_finite())).then_some(figures)
    }

    /// The setting but for rules and flows.
    pub fn rest(&self) -> Rest<'_> {
        (self.cores, &self.steering, self.churn, self.burst, self.capacity, self.pps)
    }
}

/// The price of remembering at one number of rules and flows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crossing<'a> {
    /// Rules in each world, if they were swept.
    pub rules: Option<u64>,
    /// Flows, if they were.
    pub flows: Option<u64>,
    /// The fastest stateful engine but the reference.
    pub stateful: &'a SweepPoint,
    /// The fastest stateless one.
    pub stateless: &'a SweepPoint,
    /// How many times as long a packet takes in the stateful one.
    pub times: f64,
    /// True if the intervals lie apart by more than the noise.
    pub is_clear: bool,
}

impl Sweep {
    /// Settings beside rules and flows, in their order.
    pub fn rests(&self) -> Vec<Rest<'_>> {
        let mut rests: Vec<Rest> = Vec::new();
        for point in &self.points {
            if !rests.contains(&point.rest()) {
                rests.push(point.rest());
            }
        }
        rests
    }

    /// All combinations of rules and flows with a stateful and a stateless engine, rules first, ascending.
    pub fn crossings(&self, rest: Rest) -> Vec<Crossing<'_>> {
        let here = || self.points.iter().filter(move |point| point.rest() == rest);
        let mut places: Vec<_> = here().map(|point| (point.rules, point.flows)).collect();
        places.sort_unstable();
        places.dedup();
        let crossing = |(rules, flows): (Option<u64>, Option<u64>)| {
            let fastest = |world: &str| {
                let of_world = here().filter(|p| (p.rules, p.flows) == (rules, flows) && p.engine.starts_with(world));
                let timed = of_world.filter_map(|point| Some((point, point.throughput()?)));
                timed.max_by(|(_, a), (_, b)| a[0].total_cmp(&b[0]))
            };
            let (stateful, ours) = fastest("stateful")?;
            let (stateless, theirs) = fastest("stateless")?;
            let times = theirs[0] / ours[0];
            let noise = stateful.noise_floor.unwrap_or(0.0).max(stateless.noise_floor.unwrap_or(0.0));
            let is_apart = ours[2] < theirs[1] || theirs[2] < ours[1];
            let is_clear = is_apart && (times - 1.0).abs() > noise;
            Some(Crossing { rules, flows, stateful, stateless, times, is_clear })
        };
        places.into_iter().filter_map(crossing).collect()
    }
}
