//! The inputs of a sweep's points: the user's, with made-up rules and traces in their place where those are swept.

use crate::cli::InputArgs;
use crate::cli::gen_trace::{named, write_file};
use crate::cli::input::Input;
use crate::measure::Clock;
use crate::policy::synthetic;
use anyhow::{Context, ensure};
use std::path::PathBuf;
use tempfile::TempDir;

/// Rules a direction where a made-up trace needs some and none are swept: what a security group may hold by default.
const DEFAULT_RULES: u64 = 60;

/// The protected addresses of the profiles.
const INSIDE: [&str; 2] = ["10.0.0.0/8", "2001:db8:10::/48"];

/// Made-up files, for as long as they are needed.
pub(super) struct Workloads<'a> {
    input: &'a InputArgs,
    traffic: &'a str,
    packets: u64,
    seed: u64,
    folder: TempDir,
    /// Of which flows and churn the trace in the folder is.
    trace: Option<(Option<u64>, Option<u64>)>,
    /// How many rules the files in the folder have.
    rules: Option<u64>,
}

impl<'a> Workloads<'a> {
    pub(super) fn new(input: &'a InputArgs, traffic: &'a str, packets: u64) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("making a folder for made-up traces and rules")?;
        let seed = input.seed.unwrap_or(1);
        Ok(Workloads { input, traffic, packets, seed, folder, trace: None, rules: None })
    }

    /// The input with so many rules, flows and new flows a second, as far as they are swept.
    pub(super) fn load(
        &mut self,
        rules: Option<u64>,
        flows: Option<u64>,
        churn: Option<u64>,
        burst: u64,
        capacity: Option<u64>,
        clock: &Clock,
    ) -> anyhow::Result<Input> {
        let mut args = self.input.clone();
        args.burst = burst as u16;
        args.capacity = capacity.or(args.capacity);
        let is_made_up = flows.is_some() || churn.is_some();
        if is_made_up {
            args.input = vec![self.trace(flows, churn)?];
            if args.inside.is_empty() {
                args.inside = INSIDE.iter().map(|block| block.parse()).collect::<Result<_, _>>()?;
            }
        }
        let has_rules = args.security_groups.is_some() || args.network_acls.is_some() || !args.inventory.is_empty();
        if rules.is_some() || (is_made_up && !has_rules) {
            let [groups, acl] = self.rules(rules.unwrap_or(DEFAULT_RULES))?;
            (args.security_groups, args.network_acls) = (Some(groups), Some(acl));
        }
        let mut input = Input::load(&args, clock)?;
        // What a scenario expects, it expects of its own rules and table.
        input.expect = None;
        // That made-up rules hide each other is no mistake of the user's.
        let folder = self.folder.path().to_string_lossy();
        input.warnings.retain(|warning| !warning.contains(&*folder));
        Ok(input)
    }

    fn trace(&mut self, flows: Option<u64>, churn: Option<u64>) -> anyhow::Result<PathBuf> {
        let path = self.folder.path().join("made-up.pcap");
        if self.trace != Some((flows, churn)) {
            let mut recipe = named(self.traffic)?;
            recipe.flows = flows.or(recipe.flows);
            recipe.packets = Some(self.packets);
            recipe.flows_per_s = churn.map_or(recipe.flows_per_s, |churn| u32::try_from(churn).unwrap_or(u32::MAX));
            recipe.seed = self.seed;
            let made = write_file(&recipe, &path)?;
            if let Some(flows) = flows.filter(|flows| made.flows < *flows) {
                eprintln!(
                    "warning: of {flows} flows {} begin within {} packets: raise --packets",
                    made.flows, made.packets
                );
            }
            self.trace = Some((flows, churn));
        }
        Ok(path)
    }

    fn rules(&mut self, rules: u64) -> anyhow::Result<[PathBuf; 2]> {
        let paths = ["security-groups.json", "network-acls.json"].map(|name| self.folder.path().join(name));
        if self.rules != Some(rules) {
            let made = synthetic::passing(rules as usize, self.seed);
            ensure!(made.is_some(), "at most {} rules", synthetic::MOST_PASSING_RULES);
            for (path, document) in paths.iter().zip(made.into_iter().flatten()) {
                std::fs::write(path, document.to_string()).with_context(|| format!("writing {}", path.display()))?;
            }
            self.rules = Some(rules);
        }
        Ok(paths)
    }
}
