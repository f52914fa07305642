//! From arguments to a workload: scenario or capture, rules, trace.

use super::{InputArgs, InvalidArg, ProfileArg};
use crate::conntrack::{Config, Invalid, Profile};
use crate::measure::Clock;
use crate::packet::{Decap, FlowKey, Inside};
use crate::policy::path::Attached;
use crate::policy::{self, Inventory, LoadOptions, RuleSet, Unresolved};
use crate::replay::{Workload, World};
use crate::report::About;
use crate::report::result::Share;
use crate::scenario::{Expect, Instant, RuleChange, Scenario, TableSettings};
use crate::table::Geometry;
use crate::table::lockfree::MAX_ENTRIES_PER_SHARD;
use crate::trace::stream::Decoder;
use crate::trace::{Capture, Elephant, Summary, Trace};
use anyhow::{Context, bail, ensure};
use ipnet::IpNet;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Fewest entries of a table that is sized by its trace.
const MIN_CAPACITY: u64 = 65_536;

/// Entries of a table where nobody knows how many flows will come: Linux's default from 4 GiB of memory on
/// (`nf_conntrack_max`, nf_conntrack-sysctl.rst).
const STREAMED_CAPACITY: u64 = 262_144;

/// Key of the shard hash where the scenario names none.
const DEFAULT_SCENARIO_KEY: u64 = 1;

/// Where the input came from.
pub(super) struct Input {
    /// What the user reads as the name.
    pub title: String,
    /// The `scenario.toml`, if there is one.
    pub scenario: Option<PathBuf>,
    /// Where the trace was read from.
    pub trace_name: String,
    /// The capture files.
    pub capture: Capture,
    /// What the scenario expects, unless an option changes verdicts.
    pub expect: Option<Expect>,
    /// Everything that engines need.
    pub workload: Workload,
    /// About the capture.
    pub summary: Summary,
    /// Flows in the trace.
    pub flows: usize,
    /// The protected addresses.
    pub inside: Vec<IpNet>,
    /// The flow that was made half of all packets, if any.
    pub elephant: Option<Elephant>,
    /// The share of the flows that is replayed, if not all are.
    pub share: Option<Share>,
    /// Things that the user should know.
    pub warnings: Vec<String>,
    /// ns a packet for what comes before replay.
    pub stages: Stages,
}

/// Time of the stages before replay, in ns a packet of the trace.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct Stages {
    /// Framing, from the page cache or the disk.
    pub read: f64,
    /// Bytes to records, all cores.
    pub decode: f64,
    /// Putting in sequence, one core.
    pub sequence: f64,
}

/// What is known before the trace is read.
struct Sources {
    title: String,
    scenario: Option<PathBuf>,
    trace: Vec<PathBuf>,
    decap: Decap,
    inside: Vec<IpNet>,
    security_groups: Option<PathBuf>,
    network_acls: Option<PathBuf>,
    inventory: Vec<PathBuf>,
    groups: Vec<String>,
    acl: Option<String>,
    config: Config,
    table: TableSettings,
    changes: Vec<RuleChange>,
    expect: Option<Expect>,
}

/// All but the trace.
pub(super) struct Prepared {
    sources: Sources,
    inventory: Arc<Inventory>,
    groups: Option<RuleSet>,
    acl: Option<RuleSet>,
    /// Rules that replace those, and when.
    changes: Vec<(Instant, RuleSet)>,
    /// Rules by interface; those without a time hold from the beginning.
    paths: Vec<(Option<Instant>, Attached)>,
    /// Things that the user should know.
    pub warnings: Vec<String>,
}

impl Prepared {
    /// Reads the rules that the arguments name.
    pub(super) fn new(args: &InputArgs) -> anyhow::Result<Self> {
        let mut sources = sources(args)?;
        let mut warnings = Vec::new();
        let unresolved = if args.skip_unresolved { Unresolved::Warn } else { Unresolved::Error };
        let mut inventory = Inventory::load(&sources.inventory, unresolved)?;
        let by_interface = !inventory.interfaces.is_empty();
        if by_interface {
            ensure!(
                sources.groups.is_empty() && sources.acl.is_none(),
                "--group and --acl choose rules for all addresses alike; with interfaces in the inventory each has its own"
            );
            if !sources.inside.is_empty() {
                inventory.keep_inside(&sources.inside);
                let none = "no interface of the inventory has an address in `inside`";
                ensure!(!inventory.interfaces.is_empty(), "{none}");
            }
            sources.inside = inventory.addresses();
            warnings.append(&mut inventory.warnings);
        }
        let needs_inside = sources.inside.is_empty() && !sources.inventory.is_empty();
        ensure!(!needs_inside, "--inside is needed: the inventory holds no network interfaces");
        let inventory = Arc::new(inventory);
        let options = LoadOptions {
            inventory: Some(inventory.clone()),
            groups: sources.groups.clone(),
            acl: sources.acl.clone(),
            unresolved,
        };
        let mut attached = |path: &Option<PathBuf>, attach: AttachRules| -> anyhow::Result<Option<Attached>> {
            let Some(path) = path.as_ref().filter(|_| by_interface) else { return Ok(None) };
            let mut with_rules = Inventory::clone(&inventory);
            if !sources.inventory.contains(path) {
                with_rules.add_rules(path)?;
            }
            let mut attached = attach(&Arc::new(with_rules), &options)?;
            warnings.append(&mut attached.warnings);
            Ok(Some(attached))
        };
        let mut paths = Vec::new();
        let changes =
            sources.changes.iter().map(|change| (Some(change.at), &change.security_groups, &change.network_acls));
        let first = [(None, &sources.security_groups, &sources.network_acls)];
        for (at, groups, acls) in first.into_iter().chain(changes) {
            let both = [attached(groups, Attached::security_groups)?, attached(acls, Attached::network_acls)?];
            paths.extend(both.into_iter().flatten().map(|rules| (at, rules)));
        }
        let mut rules = |path: &Option<PathBuf>, load: LoadRules| -> anyhow::Result<Option<RuleSet>> {
            let path = path.as_ref().filter(|_| !by_interface);
            let Some(path) = path else { return Ok(None) };
            let loaded = load(path, &options)?;
            warnings.extend(loaded.warnings);
            Ok(Some(loaded.rules))
        };
        let groups = rules(&sources.security_groups, policy::load_security_groups)?;
        let acl = rules(&sources.network_acls, policy::load_network_acl)?;
        let mut changes = Vec::new();
        for change in &sources.changes {
            let both = [
                rules(&change.security_groups, policy::load_security_groups)?,
                rules(&change.network_acls, policy::load_network_acl)?,
            ];
            changes.extend(both.into_iter().flatten().map(|rules| (change.at, rules)));
        }
        Ok(Prepared { sources, inventory, groups, acl, changes, paths, warnings })
    }

    /// Where the trace is read from.
    pub(super) fn trace(&self) -> &[PathBuf] {
        &self.sources.trace
    }

    /// True if the rules change at times that are counted from the first evaluated packet.
    pub(super) fn needs_start(&self) -> bool {
        let paths = self.paths.iter().filter_map(|(at, _)| *at);
        self.changes.iter().map(|(at, _)| *at).chain(paths).any(|at| matches!(at, Instant::AfterStart(_)))
    }

    /// How frames are decoded.
    pub(super) fn decoder(&self, every_header: bool) -> Decoder {
        let inside = match every_header {
            true => Inside::destinations(),
            false if !self.inventory.interfaces.is_empty() => Inside::new(&self.sources.inside).with_pairs(),
            false => Inside::new(&self.sources.inside),
        };
        let Sources { decap, config, .. } = &self.sources;
        let exempt = self.inventory.exempt.clone();
        Decoder { inside, decap: *decap, profile: config.profile, exempt, filter: None }
    }

    /// The workload over a trace that begins at this packet time; `flows` where the table is sized by them.
    pub(super) fn workload(
        &mut self,
        args: &InputArgs,
        trace: Trace,
        flows: Option<usize>,
        start_ns: u64,
    ) -> anyhow::Result<Workload> {
        let geometry = geometry(args, &self.sources.table, flows)?;
        let changes = std::mem::take(&mut self.changes);
        let mut changes: Vec<_> = changes.into_iter().map(|(at, rules)| (at.resolve(start_ns), rules)).collect();
        changes.sort_by_key(|(at, _)| *at);
        let mut paths: Vec<_> = std::mem::take(&mut self.paths)
            .into_iter()
            .map(|(at, rules)| (at.map_or(0, |at| at.resolve(start_ns)), at.is_some(), rules))
            .collect();
        paths.sort_by_key(|(at, later, _)| (*later, *at));
        let mut workload = Workload::new(
            trace,
            self.groups.take(),
            self.acl.take(),
            self.sources.config.clone(),
            geometry,
            self.sources.table.key.unwrap_or(DEFAULT_SCENARIO_KEY),
            args.seed.unwrap_or_else(random_seed),
            usize::from(args.burst),
        );
        changes.into_iter().for_each(|(at, rules)| workload.change(at, rules));
        paths.into_iter().for_each(|(at, _, rules)| workload.attach(at, rules));
        Ok(workload)
    }

    /// What the scenario expects, if it expects anything of what is replayed.
    pub(super) fn expect(&self) -> Option<&Expect> {
        self.sources.expect.as_ref()
    }

    /// What reports say of it, but for the trace.
    pub(super) fn about(&self, workload: &Workload) -> About {
        about(&self.sources.title, &names(&self.sources.trace), &self.sources.inside, workload)
    }

    /// What the user should know of a trace without an evaluated packet.
    pub(super) fn nothing_inside(&self) -> String {
        let inside = self.sources.inside.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!(
            "no packet of {} has exactly one end inside {inside}: nothing is evaluated; `ctbench info` guesses what to protect",
            names(&self.sources.trace),
        )
    }
}

impl Input {
    /// Reads all that the arguments name.
    pub(super) fn load(args: &InputArgs, clock: &Clock) -> anyhow::Result<Input> {
        Input::of(Prepared::new(args)?, args, clock)
    }

    /// Reads the trace.
    pub(super) fn of(mut prepared: Prepared, args: &InputArgs, clock: &Clock) -> anyhow::Result<Input> {
        let mut start = clock.raw();
        let capture = Capture::open_all(prepared.trace())?.with_decap(prepared.sources.decap);
        let every_header = capture.is_header_trace() && prepared.sources.inside.is_empty();
        let decoder = prepared.decoder(every_header);
        let (mut summary, mut trace, stages, selected) = loop {
            let frames = capture.frames()?;
            let framed = clock.raw();
            let decoded = frames.decode(&decoder.inside);
            let done = clock.raw();
            let trace = Trace::sequence_with(&frames, decoded, decoder.profile, &decoder.exempt);
            let sequenced = clock.raw();
            if frames.are_cut() {
                start = clock.raw();
                continue;
            }
            let per_packet = |from, to| clock.ns(from, to) as f64 / frames.summary().packets.max(1) as f64;
            let stages = Stages {
                read: per_packet(start, framed),
                decode: per_packet(framed, done),
                sequence: per_packet(done, sequenced),
            };
            break (frames.summary().clone(), trace, stages, args.selection.selected(&frames));
        };
        prepared.warnings.extend(summary.warnings());
        prepared.warnings.extend(args.selection.apply(&mut trace, selected)?);
        if !args.selection.is_whole() {
            // Copies are counted with the trace.
            summary.packets = (trace.packets.len() - trace.copies.len() + trace.ignored.len()) as u64;
        }
        if trace.packets.is_empty() && summary.packets > 0 && args.selection.is_whole() {
            prepared.warnings.push(prepared.nothing_inside());
        }
        let flows = trace.packets.iter().map(|p| p.flow_key()).collect::<HashSet<FlowKey>>().len();
        let start_ns = trace.packets.first().map_or(0, |packet| packet.time_ns);
        let end_ns = trace.packets.last().map_or(0, |packet| packet.time_ns);
        let workload = prepared.workload(args, trace, Some(flows), start_ns)?;
        let is_outside = |world: &World| world.changes().any(|at| !(start_ns..=end_ns).contains(&at));
        if workload.groups.as_ref().is_some_and(is_outside) || workload.acl.as_ref().is_some_and(is_outside) {
            prepared.warnings.push("a [[change]] lies before the first or after the last packet".into());
        }
        let Prepared { sources, warnings, .. } = prepared;
        Ok(Input {
            title: sources.title,
            scenario: sources.scenario,
            trace_name: names(&sources.trace),
            capture,
            expect: sources.expect,
            workload,
            summary,
            flows,
            inside: sources.inside,
            elephant: None,
            share: None,
            warnings,
            stages,
        })
    }
}

type AttachRules = fn(&Arc<Inventory>, &LoadOptions) -> Result<Attached, policy::PolicyError>;
type LoadRules = fn(&Path, &LoadOptions) -> Result<policy::Loaded, policy::PolicyError>;

fn sources(args: &InputArgs) -> anyhow::Result<Sources> {
    let bundled;
    let inputs = match args.input.as_slice() {
        [] => {
            bundled = [bundled_scenario()?];
            &bundled
        }
        inputs => inputs,
    };
    let scenario = inputs.iter().find(|input| is_scenario(input));
    let mut sources = match (scenario, inputs) {
        (Some(input), [_]) => from_scenario(input)?,
        (Some(input), _) => bail!("{} is a scenario, which goes with no other input", input.display()),
        (None, captures) => from_captures(args, captures)?,
    };
    sources.decap = args.decap.decap();
    if scenario.is_some() {
        ensure!(args.inside.is_empty(), "--inside goes with a capture file; the scenario names its own `inside`");
    }
    // Options win over the scenario; then its expectations no longer hold.
    let mut changed = !sources.decap.is_none();
    let mut replace = |slot: &mut Option<PathBuf>, option: &Option<PathBuf>| {
        if option.is_some() {
            slot.clone_from(option);
            changed = true;
        }
    };
    replace(&mut sources.security_groups, &args.security_groups);
    replace(&mut sources.network_acls, &args.network_acls);
    if args.security_groups.is_some() || args.network_acls.is_some() {
        // The scenario's changes were meant for its own rules.
        sources.changes.clear();
    }
    if !args.inventory.is_empty() {
        sources.inventory.clone_from(&args.inventory);
        changed = true;
    }
    if !args.group.is_empty() {
        sources.groups.clone_from(&args.group);
        changed = true;
    }
    if args.acl.is_some() {
        sources.acl.clone_from(&args.acl);
        changed = true;
    }
    if let Some(profile) = args.profile {
        let profile = match profile {
            ProfileArg::Aws => Profile::Aws,
            ProfileArg::Linux => Profile::Linux,
        };
        changed |= profile != sources.config.profile;
        sources.config = if profile == sources.config.profile { sources.config } else { Config::new(profile) };
    }
    if let Some(invalid) = args.invalid {
        let invalid = match invalid {
            InvalidArg::Drop => Invalid::Drop,
            InvalidArg::Rules => Invalid::Rules,
        };
        changed |= invalid != sources.config.invalid;
        sources.config.invalid = invalid;
    }
    if changed || args.capacity.is_some() || !args.selection.is_whole() {
        sources.expect = None;
    }
    Ok(sources)
}

fn from_scenario(input: &Path) -> anyhow::Result<Sources> {
    let (scenario, path) = Scenario::read(input)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let trace = folder.join(&scenario.trace);
    if let Some(recipe) = &scenario.r#gen
        && !trace.exists()
    {
        eprintln!("making {} by its scenario's recipe", trace.display());
        super::gen_trace::write_file(recipe, &trace)?;
    }
    Ok(Sources {
        config: scenario.config(&path)?,
        title: scenario.title,
        trace: vec![trace],
        decap: Decap::default(),
        inside: scenario.inside,
        security_groups: scenario.security_groups.map(|file| folder.join(file)),
        network_acls: scenario.network_acls.map(|file| folder.join(file)),
        inventory: scenario.inventory.iter().map(|file| in_folder(folder, file)).collect(),
        groups: scenario.groups,
        acl: scenario.acl,
        table: scenario.table,
        changes: scenario
            .changes
            .into_iter()
            .map(|change| RuleChange {
                security_groups: change.security_groups.map(|file| folder.join(file)),
                network_acls: change.network_acls.map(|file| folder.join(file)),
                ..change
            })
            .collect(),
        expect: scenario.expect,
        scenario: Some(path.clone()),
    })
}

/// A folder with a `scenario.toml`, or a `.toml` file.
fn is_scenario(input: &Path) -> bool {
    match input.is_dir() {
        true => input.join("scenario.toml").exists(),
        false => input.extension().is_some_and(|extension| extension == "toml"),
    }
}

/// How a message names the files.
pub(super) fn names(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn from_captures(args: &InputArgs, inputs: &[PathBuf]) -> anyhow::Result<Sources> {
    // A path that does not exist is the mistake to name first.
    for input in inputs.iter().filter(|input| *input != Path::new("-")) {
        std::fs::metadata(input).with_context(|| format!("cannot open {}", input.display()))?;
        if input.is_dir() {
            // As is a folder that holds neither a capture nor a scenario.
            Capture::open(input)?;
        }
    }
    let is_header_trace = || Capture::open_all(inputs).is_ok_and(|capture| capture.is_header_trace());
    if args.inside.is_empty() && args.inventory.is_empty() && !is_header_trace() {
        bail!(
            "a capture needs --inside: which addresses are protected? `ctbench info {}` gives a guess",
            names(inputs)
        );
    }
    if args.security_groups.is_none() && args.network_acls.is_none() {
        bail!("a capture needs rules: --security-groups FILE, --network-acls FILE or both");
    }
    Ok(Sources {
        title: match inputs {
            [input] => input.file_name().unwrap_or(input.as_os_str()).to_string_lossy().into_owned(),
            several => format!("{} captures", several.len()),
        },
        scenario: None,
        trace: inputs.to_vec(),
        decap: Decap::default(),
        inside: args.inside.clone(),
        security_groups: None,
        network_acls: None,
        inventory: Vec::new(),
        groups: Vec::new(),
        acl: None,
        config: Config::new(Profile::Linux),
        table: TableSettings::default(),
        changes: Vec::new(),
        expect: None,
    })
}

/// A file of the inventory, perhaps with a prefix list's id before it.
fn in_folder(folder: &Path, file: &Path) -> PathBuf {
    match file.to_str().and_then(|text| text.split_once('=')) {
        Some((id, file)) if id.starts_with("pl-") => {
            let mut named = std::ffi::OsString::from(format!("{id}="));
            named.push(folder.join(file));
            named.into()
        }
        _ => folder.join(file),
    }
}

/// `traces/web`, here or where the program was built.
fn bundled_scenario() -> anyhow::Result<PathBuf> {
    let name = Path::new("traces/web");
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    [name.to_owned(), built].into_iter().find(|folder| folder.join("scenario.toml").exists()).context(
        "the bundled scenario traces/web is neither in this folder nor where ctbench was built: \
         run in a checkout of the project, or name a scenario or a capture",
    )
}

fn geometry(args: &InputArgs, settings: &TableSettings, flows: Option<usize>) -> anyhow::Result<Geometry> {
    let shards = settings.shards.unwrap_or(Geometry::DEFAULT_SHARDS);
    let by_trace = flows.map_or(STREAMED_CAPACITY, |flows| (2 * flows as u64).next_power_of_two().max(MIN_CAPACITY));
    let capacity = args.capacity.or(settings.capacity).unwrap_or(by_trace);
    let geometry = Geometry::with_capacity(capacity, shards);
    let most = u64::from(MAX_ENTRIES_PER_SHARD) * u64::from(shards);
    ensure!(
        geometry.entries_per_shard <= MAX_ENTRIES_PER_SHARD,
        "a table of {capacity} entries is too large for {shards} shards: at most {most}"
    );
    Ok(geometry)
}

/// Not for secrets: a hash key that differs between runs. Recorded in the result.
pub(super) fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

impl Input {
    /// What reports say of the input.
    pub(super) fn about(&self) -> About {
        let w = &self.workload;
        About {
            packets: self.summary.packets + w.trace.copies.len() as u64,
            elephant: self.elephant,
            share: self.share,
            evaluated: w.trace.packets.len(),
            flows: Some(self.flows),
            duration_s: self.summary.duration_s(),
            wire_bytes: self.summary.wire_bytes,
            read_ns: self.stages.read,
            decode_ns: self.stages.decode,
            sequence_ns: self.stages.sequence,
            warnings: self.warnings.clone(),
            ..about(&self.title, &self.trace_name, &self.inside, w)
        }
    }
}

/// What is known before the trace is read.
fn about(title: &str, trace: &str, inside: &[IpNet], workload: &Workload) -> About {
    let count = |world: &Option<World>| world.as_ref().map(|world| world.rules.len());
    About {
        title: title.to_owned(),
        trace: trace.to_owned(),
        trace_sha256: None,
        packets: 0,
        elephant: None,
        share: None,
        steering: workload.steering,
        evaluated: 0,
        flows: None,
        duration_s: 0.0,
        wire_bytes: 0,
        inside: match inside {
            [] => "every destination".into(),
            blocks => blocks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        },
        rules: [count(&workload.groups), count(&workload.acl)],
        read_ns: 0.0,
        decode_ns: 0.0,
        sequence_ns: 0.0,
        warnings: Vec::new(),
    }
}
