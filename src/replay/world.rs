//! One world's rules, from the first to the last change, in the forms that engines need.

use crate::conntrack::{Config, Profile};
use crate::engine::Groups;
use crate::engine::reference;
use crate::policy::compiled::Compiled;
use crate::policy::linear::Linear;
use crate::policy::untracked::Untracked;
use crate::policy::{Epoch, Evaluate, RuleSet};

/// Security groups, or a network ACL, and what became of them in mid-replay.
pub struct World {
    /// The rules of all epochs, one after the other: what a decision's rule index refers to.
    pub rules: RuleSet,
    /// As written, epoch by epoch, each with the index of its first rule in `rules`.
    written: Vec<Epoch<(u32, RuleSet)>>,
    linear: Vec<Epoch<Groups<Linear>>>,
    compiled: Vec<Epoch<Groups<Compiled>>>,
}

/// A form of the rules that engines evaluate.
pub trait Form: Evaluate + Sized {
    /// This form of a world's rules, epoch by epoch.
    fn of(world: &World) -> &[Epoch<Groups<Self>>];
}

impl Form for Linear {
    fn of(world: &World) -> &[Epoch<Groups<Linear>>] {
        &world.linear
    }
}

impl Form for Compiled {
    fn of(world: &World) -> &[Epoch<Groups<Compiled>>] {
        &world.compiled
    }
}

impl World {
    /// Prepares rules for evaluation. Under profile `aws` security groups leave some flows untracked.
    pub fn new(rules: RuleSet, config: &Config) -> Self {
        let mut world =
            World { rules: RuleSet::new(rules.world), written: Vec::new(), linear: Vec::new(), compiled: Vec::new() };
        world.change(0, rules, config);
        world
    }

    /// From this packet time on, these rules hold. Changes come in the order of time.
    pub fn change(&mut self, from_ns: u64, rules: RuleSet, config: &Config) {
        let first = self.rules.len() as u32;
        let untracked = match config.profile {
            Profile::Aws => Untracked::new(&rules).with_auto_tracked(&config.auto_tracked),
            Profile::Linux => Untracked::default(),
        };
        self.rules.append(&rules);
        let compiled = Groups { rules: Compiled::numbered_from(first, &rules), untracked: untracked.clone() };
        let linear = Groups { rules: Linear::numbered_from(first, &rules), untracked };
        self.compiled.push(Epoch { from_ns, rules: compiled });
        self.linear.push(Epoch { from_ns, rules: linear });
        self.written.push(Epoch { from_ns, rules: (first, rules) });
    }

    /// For evaluation one by one, with what is untracked.
    pub fn linear(&self) -> &[Epoch<Groups<Linear>>] {
        &self.linear
    }

    /// Compiled, with what is untracked.
    pub fn compiled(&self) -> &[Epoch<Groups<Compiled>>] {
        &self.compiled
    }

    /// For the reference engine.
    pub(super) fn reference(&self) -> Vec<reference::Rules<'_>> {
        let untracked = self.linear.iter().map(|epoch| &epoch.rules.untracked);
        let rules = self.written.iter().zip(untracked);
        rules
            .map(|(epoch, untracked)| reference::Rules {
                from_ns: epoch.from_ns,
                rules: &epoch.rules.1,
                first: epoch.rules.0,
                is_untracked: Box::new(|packet| untracked.is_untracked(packet)),
            })
            .collect()
    }

    /// The rules that hold at this packet time, as written.
    pub fn in_force(&self, time_ns: u64) -> &RuleSet {
        let later = self.written.partition_point(|epoch| epoch.from_ns <= time_ns);
        &self.written[later.saturating_sub(1)].rules.1
    }

    /// When the rules change, in packet time.
    pub fn changes(&self) -> impl Iterator<Item = u64> {
        self.written.iter().skip(1).map(|epoch| epoch.from_ns)
    }
}
