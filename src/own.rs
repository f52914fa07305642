//! Engines of your own: implement [`OwnEngine`] in your own crate, hand it to [`main`](fn@main), and get the whole
//! harness: every verb, verification against the reference, interleaved trials, reports.
//!
//! `examples/own_engine.rs` is such a program, and docs/ENGINES.md explains it step by step.

use crate::cli;
use crate::engine::registry::{self, EngineInfo, Kind};
use crate::engine::{Decision, Engine, Stamp, Tag};
use crate::measure::Variant;
use crate::measure::statistics::Random;
use crate::packet::Packet;
use crate::replay::streamed::{Serve, served_of};
use crate::replay::{Job, Movable, Setup, Workload};
use crate::table::TableCounters;
use std::process::ExitCode;

/// Whose rules an engine follows, and so which reference judges it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// Security groups, with connection tracking: [`Workload::groups`].
    SecurityGroups,
    /// A network ACL, packet by packet: [`Workload::acl`].
    NetworkAcl,
}

/// An engine of your own, as one core runs it.
///
/// `'w` is how long the trace, the rules and the settings live, so an engine may borrow from them. Engines are made once
/// a comparison and cleared before each pass, neither of which is timed.
pub trait OwnEngine<'w>: Send + Sized {
    /// Its name: small letters, digits and hyphens, by custom `<tracking>-<table>-<rules>`.
    const NAME: &'static str;

    /// What it is, in a sentence, for `ctbench engines`.
    const ABOUT: &'static str;

    /// Whose rules it follows. It runs only where those were given.
    const FOLLOWS: Follows;

    /// True if any core may be handed any packet of a flow, as under `--steering asymmetric` and `spray`: the engine
    /// remembers nothing, or in something that its cores share.
    const SHARED: bool = false;

    /// True if it can follow rules that differ by interface ([`World::has_paths`](crate::replay::World::has_paths)).
    const BY_INTERFACE: bool = false;

    /// One engine for each of so many cores. They may share what they like, behind an `Arc`. Called again and again in a
    /// comparison, so that no figure hangs on where in memory a table lies.
    fn one_a_core(workload: &'w Workload, cores: usize) -> Vec<Self>;

    /// Forgets every connection: the next packet is the trace's first. Better keeps its memory, since
    /// memory touched for the first time is slow.
    fn clear(&mut self);

    /// As [`Engine::burst`]: decides on at most [`MAX_BURST`](crate::engine::MAX_BURST) packets, in order, writes
    /// `decisions`, and calls [`Stamp::verdict_known`] once a packet, when its verdict is known. This is what is
    /// timed.
    fn burst<S: Stamp>(&mut self, packets: &[Packet], tags: &[Tag], decisions: &mut [Decision], stamp: &mut S);

    /// As [`Engine::sweep_until`].
    fn sweep_until(&mut self, _packet_time_ns: u64) {}

    /// What its table has done since it was cleared, if it has one.
    fn counters(&self) -> Option<TableCounters> {
        None
    }

    /// As [`Engine::probes`].
    fn probes(&self, _packet: &Packet, _tag: Tag) -> Option<u32> {
        None
    }

    /// Bytes of table memory that it holds.
    fn bytes(&self) -> u64 {
        0
    }
}

/// How an engine is built: what [`engines!`](crate::engines!) writes for each.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// For a trace in memory: see [`variant`].
    pub variant: for<'a> fn(&'a Workload, Job<'a>) -> Box<dyn Variant + 'a>,
    /// For a streamed one: see [`serve`].
    pub serve: for<'a> fn(&'a Workload, usize, usize) -> Box<dyn Serve + 'a>,
}

/// An engine that [`main`](fn@main) takes. Made by [`engines!`](crate::engines!).
#[derive(Clone, Copy, Debug)]
pub struct Registration {
    pub(crate) name: &'static str,
    about: &'static str,
    pub(crate) follows: Follows,
    pub(crate) shared: bool,
    pub(crate) by_interface: bool,
    pub(crate) build: Build,
}

impl Registration {
    /// An engine and how it is built.
    pub fn new<'w, E: OwnEngine<'w>>(build: Build) -> Self {
        Registration {
            name: E::NAME,
            about: E::ABOUT,
            follows: E::FOLLOWS,
            shared: E::SHARED,
            by_interface: E::BY_INTERFACE,
            build,
        }
    }
}

/// The engines of these types, for [`ctbench::main`](fn@main).
#[macro_export]
macro_rules! engines {
    ($($engine:ty),* $(,)?) => {
        [$({
            // The engine's lifetime is that of the workload at hand, which only a function can say.
            fn variant<'a>(
                workload: &'a $crate::replay::Workload,
                job: $crate::replay::Job<'a>,
            ) -> ::std::boxed::Box<dyn $crate::measure::Variant + 'a> {
                $crate::own::variant::<$engine>(workload, job)
            }
            fn serve<'a>(
                workload: &'a $crate::replay::Workload,
                cores: usize,
                burst: usize,
            ) -> ::std::boxed::Box<dyn $crate::replay::streamed::Serve + 'a> {
                $crate::own::serve::<$engine>(workload, cores, burst)
            }
            $crate::own::Registration::new::<$engine>($crate::own::Build { variant, serve })
        }),*]
    };
}

/// The program `ctbench` with engines of your own beside its own: parses the arguments, runs the verb, prints what
/// went wrong, and gives the exit code.
pub fn main(engines: impl IntoIterator<Item = Registration>) -> ExitCode {
    let result = register(engines).map_err(anyhow::Error::msg).and_then(|()| cli::run());
    match result {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ctbench: {error:#}");
            ExitCode::from(cli::FAILURE)
        }
    }
}

/// `ctbench ... | head` is no failure.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let closed = |cause: &std::io::Error| cause.kind() == std::io::ErrorKind::BrokenPipe;
    error.chain().any(|cause| cause.downcast_ref().is_some_and(closed))
}

/// Makes these engines known to the registry, once a process.
pub fn register(engines: impl IntoIterator<Item = Registration>) -> Result<(), String> {
    let mut infos: Vec<EngineInfo> = Vec::new();
    for engine in engines {
        let name = engine.name;
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(good) {
            return Err(format!("an engine is called `{name}`: use small letters, digits and hyphens"));
        }
        if registry::ENGINES.iter().chain(&infos).any(|info| info.name == name) {
            return Err(format!("two engines are called `{name}`: rename one"));
        }
        // Lives as long as the program, like the engines that are built in.
        let kind = Kind::Own(registry::Own(Box::leak(Box::new(engine))));
        infos.push(EngineInfo { kind, name, about: engine.about });
    }
    match infos.is_empty() {
        true => Ok(()),
        false => registry::add(infos),
    }
}

/// Builds an engine over a steered trace.
///
/// # Panics
/// If the engine makes another number of engines than there are cores.
pub fn variant<'w, E: OwnEngine<'w> + 'w>(workload: &'w Workload, job: Job<'w>) -> Box<dyn Variant + 'w> {
    let Job { steered, pool, burst, clock } = job;
    workload.variant_of(OwnSetup::<E>::new(workload, pool.cores()), steered, pool, clock, burst)
}

/// Builds an engine for packets that come over so many lanes, in bursts of so many.
///
/// # Panics
/// As [`variant`].
pub fn serve<'w, E: OwnEngine<'w> + 'w>(workload: &'w Workload, cores: usize, burst: usize) -> Box<dyn Serve + 'w> {
    served_of(OwnSetup::<E>::new(workload, cores), burst)
}

struct OwnSetup<'w, E> {
    workload: &'w Workload,
    engines: Vec<Movable<E>>,
}

impl<'w, E: OwnEngine<'w>> OwnSetup<'w, E> {
    fn new(workload: &'w Workload, cores: usize) -> Self {
        let engines = E::one_a_core(workload, cores);
        assert_eq!(engines.len(), cores, "{}: `one_a_core` must make one engine for each core", E::NAME);
        OwnSetup { workload, engines: engines.into_iter().map(Movable::new).collect() }
    }
}

impl<'w, E: OwnEngine<'w>> Setup for OwnSetup<'w, E> {
    type Engine<'a>
        = Borrowed<'a, 'w, E>
    where
        Self: 'a;

    fn engines(&mut self) -> Vec<Self::Engine<'_>> {
        self.engines.iter_mut().for_each(|engine| engine.get_mut().clear());
        let borrowed = |engine| Borrowed { engine, life: std::marker::PhantomData };
        self.engines.iter_mut().map(Movable::get_mut).map(borrowed).collect()
    }

    fn renew(&mut self, random: &mut Random) {
        *self = OwnSetup::new(self.workload, self.engines.len());
        self.engines.iter_mut().for_each(|engine| engine.put_elsewhere(random));
    }

    fn table_bytes(&self) -> u64 {
        self.engines.iter().map(|engine| engine.get().bytes()).sum()
    }
}

/// An engine for one pass.
struct Borrowed<'a, 'w, E> {
    engine: &'a mut E,
    life: std::marker::PhantomData<&'w ()>,
}

impl<'w, E: OwnEngine<'w>> Engine for Borrowed<'_, 'w, E> {
    #[inline]
    fn burst<S: Stamp>(&mut self, packets: &[Packet], tags: &[Tag], decisions: &mut [Decision], stamp: &mut S) {
        self.engine.burst(packets, tags, decisions, stamp);
    }

    fn sweep_until(&mut self, packet_time_ns: u64) {
        self.engine.sweep_until(packet_time_ns);
    }

    fn probes(&self, packet: &Packet, tag: Tag) -> Option<u32> {
        self.engine.probes(packet, tag)
    }

    fn counters(&self) -> Option<TableCounters> {
        self.engine.counters()
    }
}
