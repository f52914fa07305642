//! One world's rules, from the first to the last change, in the forms that engines need.

use crate::conntrack::{Config, Profile};
use crate::engine::Groups;
use crate::engine::reference;
use crate::packet::Direction;
use crate::policy;
use crate::policy::compiled::Compiled;
use crate::policy::linear::Linear;
use crate::policy::path::{Attached, NO_STEP, Paths};
use crate::policy::untracked::Untracked;
use crate::policy::{Epoch, Evaluate, Rule, RuleSet};
use ipnet::IpNet;

/// Security groups, or a network ACL, and what became of them in mid-replay.
pub struct World {
    /// The rules of all epochs, one after the other: what a decision's rule index refers to.
    pub rules: RuleSet,
    /// As written, epoch by epoch, each with the index of its first rule in `rules`.
    written: Vec<Epoch<(u32, RuleSet)>>,
    linear: Vec<Epoch<Groups<Linear>>>,
    compiled: Vec<Epoch<Groups<Compiled>>>,
    /// The same where rules differ by interface: then the three above are empty.
    attached: Vec<Epoch<(u32, Attached)>>,
    linear_paths: Vec<Epoch<Groups<Paths<Linear>>>>,
    compiled_paths: Vec<Epoch<Groups<Paths<Compiled>>>>,
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

impl Form for Paths<Linear> {
    fn of(world: &World) -> &[Epoch<Groups<Paths<Linear>>>] {
        &world.linear_paths
    }
}

impl Form for Paths<Compiled> {
    fn of(world: &World) -> &[Epoch<Groups<Paths<Compiled>>>] {
        &world.compiled_paths
    }
}

impl World {
    fn empty(world: policy::World) -> Self {
        let (written, linear, compiled) = Default::default();
        let (attached, linear_paths, compiled_paths) = Default::default();
        World { rules: RuleSet::new(world), written, linear, compiled, attached, linear_paths, compiled_paths }
    }

    /// Prepares rules that differ by interface.
    pub fn of_interfaces(attached: Attached, config: &Config) -> Self {
        let mut world = World::empty(attached.world);
        world.change_interfaces(0, attached, config);
        world
    }

    /// True if rules differ by interface.
    pub fn has_paths(&self) -> bool {
        !self.attached.is_empty()
    }

    /// From this packet time on, these rules hold, by interface. Changes come in the order of time.
    pub fn change_interfaces(&mut self, from_ns: u64, attached: Attached, config: &Config) {
        let first = self.rules.len() as u32;
        let all = Rule {
            remote: IpNet::V4(Default::default()),
            protocol: None,
            ports: None,
            allow: true,
            name: NO_STEP.into(),
        };
        self.rules.push(Direction::In, all);
        attached.sets.iter().for_each(|rules| self.rules.append(rules));
        let untracked = |rules: &RuleSet| untracked(rules, config);
        let linear = Paths::new(&attached, first, Linear::numbered_from, untracked);
        let compiled = Paths::new(&attached, first, Compiled::numbered_from, untracked);
        let none = Untracked::default;
        self.linear_paths.push(Epoch { from_ns, rules: Groups { rules: linear, untracked: none() } });
        self.compiled_paths.push(Epoch { from_ns, rules: Groups { rules: compiled, untracked: none() } });
        self.attached.push(Epoch { from_ns, rules: (first, attached) });
    }

    /// The rules of each epoch, and since when they hold.
    pub fn evaluators(&self) -> Vec<(u64, &dyn Evaluate)> {
        let plain = self.linear.iter().map(|epoch| (epoch.from_ns, &epoch.rules as &dyn Evaluate));
        plain.chain(self.linear_paths.iter().map(|epoch| (epoch.from_ns, &epoch.rules as &dyn Evaluate))).collect()
    }

    /// Prepares rules for evaluation. Under profile `aws` security groups leave some flows untracked.
    pub fn new(rules: RuleSet, config: &Config) -> Self {
        let mut world = World::empty(rules.world);
        world.change(0, rules, config);
        world
    }

    /// From this packet time on, these rules hold. Changes come in the order of time.
    pub fn change(&mut self, from_ns: u64, rules: RuleSet, config: &Config) {
        let first = self.rules.len() as u32;
        let untracked = untracked(&rules, config);
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
    pub(in crate::replay) fn reference(&self) -> Vec<reference::Rules<'_>> {
        let untracked = self.linear.iter().map(|epoch| &epoch.rules.untracked);
        let rules = self.written.iter().zip(untracked);
        let plain = rules.map(|(epoch, untracked)| reference::Rules {
            from_ns: epoch.from_ns,
            rules: &epoch.rules.1,
            first: epoch.rules.0,
            is_untracked: Box::new(|packet| untracked.is_untracked(packet)),
            interfaces: None,
        });
        let by_interface = self.attached.iter().zip(&self.linear_paths).map(|(epoch, paths)| reference::Rules {
            from_ns: epoch.from_ns,
            rules: &self.rules,
            first: epoch.rules.0,
            is_untracked: Box::new(|packet| paths.rules.is_untracked(packet)),
            interfaces: Some(&epoch.rules.1),
        });
        plain.chain(by_interface).collect()
    }

    /// The rules that hold at this packet time, as written.
    pub fn in_force(&self, time_ns: u64) -> &RuleSet {
        let later = self.written.partition_point(|epoch| epoch.from_ns <= time_ns);
        // By interface there is no one set: then all of them.
        self.written.get(later.saturating_sub(1)).map_or(&self.rules, |epoch| &epoch.rules.1)
    }

    /// When the rules change, in packet time.
    pub fn changes(&self) -> impl Iterator<Item = u64> {
        let plain = self.written.iter().skip(1).map(|epoch| epoch.from_ns);
        plain.chain(self.attached.iter().skip(1).map(|epoch| epoch.from_ns))
    }
}

/// What these rules leave untracked.
fn untracked(rules: &RuleSet, config: &Config) -> Untracked {
    match config.profile {
        Profile::Aws => Untracked::new(rules).with_auto_tracked(&config.auto_tracked),
        Profile::Linux => Untracked::default(),
    }
}
