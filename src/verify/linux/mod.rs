//! This machine's Linux as the judge: the trace through the kernel's own connection tracking and
//! nftables, and what it says of every packet against what an engine says.
//!
//! ```text
//! namespace    a network namespace with two TUN devices, gone with the thread that made it
//! rules        our rules as nftables reads them; a log prefix says verdict and state
//! path         the same where rules differ by interface
//! settings     our connection-tracking settings as the kernel's
//! inject       the packet as the kernel is given it
//! log, netlink what the kernel answers
//! connections  the kernel's connections, aged on packet time
//! replay       packet by packet
//! agreement    what differs, by cause, and what cannot be compared, by reason
//! ```
//!
//! Needs root, `/dev/net/tun`, and the programs `nft` and `ip`.

mod agreement;
mod connections;
mod error;
mod inject;
mod log;
mod namespace;
mod netlink;
mod path;
mod replay;
mod rules;
mod settings;
mod tuple;

pub use agreement::{Agreement, Cause, Frames as FrameNumbers};
pub use error::LinuxError;
pub use replay::{Incomparable, Seen};

use crate::conntrack::Config;
use crate::policy::path::Attached;
use crate::policy::{RuleSet, World};
use crate::trace::{Frames, Trace};
use std::thread;

/// What the kernel is to judge.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// The capture's frames: the bytes of the packets.
    pub frames: &'a Frames<'a>,
    /// The packets, sequenced under profile `linux`.
    pub trace: &'a Trace,
    /// Security groups are judged with connection tracking, a network ACL without.
    pub rules: Rules<'a>,
    /// Connection tracking.
    pub config: &'a Config,
}

/// By what the kernel is to judge.
#[derive(Clone, Copy)]
pub enum Rules<'a> {
    /// One set of rules for all of the protected addresses.
    One(&'a RuleSet),
    /// Rules that differ by interface.
    ByInterface(&'a Attached),
}

impl Rules<'_> {
    fn world(&self) -> World {
        match self {
            Rules::One(rules) => rules.world,
            Rules::ByInterface(attached) => attached.world,
        }
    }
}

/// What the kernel says of each of the trace's packets.
///
/// # Errors
/// If the machine cannot be the judge: [`LinuxError`] says what is needed.
pub fn judge(job: &Job) -> Result<Vec<Seen>, LinuxError> {
    // The namespace is the thread's, and ends with it.
    thread::scope(|scope| scope.spawn(|| replay::replay(job)).join().unwrap_or(Err(LinuxError::Thread)))
}

/// Whether this machine can be the judge: makes all that is needed, and lets it go.
///
/// # Errors
/// [`LinuxError`] says what is needed.
pub fn available() -> Result<(), LinuxError> {
    let attempt = || {
        namespace::enter()?;
        let _devices = namespace::devices()?;
        let config = Config::new(crate::conntrack::Profile::Linux);
        namespace::load_rules(&rules::ruleset(Rules::One(&RuleSet::new(World::SecurityGroups)), config.invalid))?;
        settings::apply(&config)?;
        namespace::connect()?;
        log::Log::open().map(|_| ())
    };
    thread::scope(|scope| scope.spawn(attempt).join().unwrap_or(Err(LinuxError::Thread)))
}

/// The kernel's release, as `uname -r` prints it.
pub fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}
