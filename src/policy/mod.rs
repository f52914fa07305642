//! Rules: what passes, by remote address, protocol and port.
//!
//! Two worlds share one form. A *security group* set is a union of allows; a *network ACL* is an
//! ordered list of allows and denies of which the first match wins. Both are compiled to a
//! [`RuleSet`]: per direction a list of [`Rule`]s in the order in which they are tried.

mod classbench;
pub mod compiled;
mod cursor;
mod document;
mod epochs;
mod error;
mod fields;
mod formats;
mod inventory;
pub mod linear;
mod naive;
mod network_acl;
mod options;
mod origin;
pub mod path;
pub mod quota;
mod security_groups;
pub mod synthetic;
pub mod untracked;

pub use epochs::{Epoch, Epochs};
pub use error::PolicyError;
pub use inventory::{Interface, Inventory, PrefixList, Subnet};
pub use network_acl::load_network_acl;
pub use options::{LoadOptions, Loaded, Unresolved};
pub use origin::{Origin, Remote};
pub use security_groups::load_security_groups;

use crate::packet::{Direction, Packet};
use ipnet::IpNet;
use path::Ends;

/// Which of AWS's two packet filters a rule set is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// Security groups: stateful, allows only, order does not matter.
    SecurityGroups,
    /// A network ACL: stateless, first match by rule number wins.
    NetworkAcl,
}

/// One rule, in the form in which people wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The remote addresses that it covers: source on ingress, destination on egress.
    pub remote: IpNet,
    /// IANA protocol number; `None` for all.
    pub protocol: Option<u8>,
    /// TCP and UDP: destination ports, both ends included. ICMP: `type << 8 | code` from lowest to
    /// highest. `None` for all (then it also matches packets without ports, as later fragments are).
    pub ports: Option<(u16, u16)>,
    /// Allow or deny.
    pub allow: bool,
    /// How the verdict CSV names it: `rule:<group-id>#<n>` or `acl:<number>`.
    pub name: String,
}

impl Rule {
    /// True if every packet that `inner` matches is matched by this rule, too.
    pub fn covers(&self, inner: &Rule) -> bool {
        let ports = match (self.ports, inner.ports) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some((low, high)), Some((inner_low, inner_high))) => low <= inner_low && inner_high <= high,
        };
        ports && self.remote.contains(&inner.remote) && (self.protocol.is_none() || self.protocol == inner.protocol)
    }
}

/// A packet filter: the rules of both directions, in the order in which they are tried.
#[derive(Clone, Debug)]
pub struct RuleSet {
    /// Which filter.
    pub world: World,
    rules: Vec<Rule>,
    direction_of: Vec<Direction>,
    origins: Vec<Option<Box<Origin>>>,
    left_out: Vec<(Direction, Origin)>,
}

impl RuleSet {
    /// An empty filter: it drops everything.
    pub fn new(world: World) -> Self {
        RuleSet { world, rules: Vec::new(), direction_of: Vec::new(), origins: Vec::new(), left_out: Vec::new() }
    }

    /// Appends a rule. Its index is the number of rules before it.
    pub fn push(&mut self, direction: Direction, rule: Rule) {
        self.rules.push(rule);
        self.direction_of.push(direction);
        self.origins.push(None);
    }

    /// Appends a rule that was read from a file.
    pub fn push_from(&mut self, direction: Direction, rule: Rule, origin: Origin) {
        self.push(direction, rule);
        if let Some(last) = self.origins.last_mut() {
            *last = Some(Box::new(origin));
        }
    }

    /// Notes a rule that the file holds and this set does not: it counts against quotas all the same.
    pub fn leave_out(&mut self, direction: Direction, origin: Origin) {
        self.left_out.push((direction, origin));
    }

    /// Appends all rules of another filter.
    pub fn append(&mut self, other: &RuleSet) {
        self.rules.extend_from_slice(&other.rules);
        self.direction_of.extend_from_slice(&other.direction_of);
        self.origins.extend_from_slice(&other.origins);
        self.left_out.extend_from_slice(&other.left_out);
    }

    /// The rules of one direction with their indices, in the order in which they are tried.
    pub fn rules(&self, direction: Direction) -> impl Iterator<Item = (u32, &Rule)> {
        let of = self.direction_of.iter();
        self.rules
            .iter()
            .zip(of)
            .enumerate()
            .filter(move |(_, (_, d))| **d == direction)
            .map(|(i, (r, _))| (i as u32, r))
    }

    /// The rule with this index.
    pub fn rule(&self, index: u32) -> &Rule {
        &self.rules[index as usize]
    }

    /// Where the rule with this index was read, if it was.
    pub fn origin(&self, index: u32) -> Option<&Origin> {
        self.origins[index as usize].as_deref()
    }

    /// The direction of the rule with this index.
    pub fn direction(&self, index: u32) -> Direction {
        self.direction_of[index as usize]
    }

    /// Rules that the files hold and this set does not.
    pub fn left_out(&self) -> &[(Direction, Origin)] {
        &self.left_out
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// True if there is no rule.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// How the verdict CSV names the implicit deny.
    pub fn implicit_deny(&self) -> &'static str {
        match self.world {
            World::SecurityGroups => "no-rule",
            World::NetworkAcl => "acl:*",
        }
    }
}

/// The first rule that matches a packet, by an evaluation method that engines can inline.
pub trait Evaluate: Send + Sync {
    /// Index and action of the first match in the packet's direction; `None` if nothing matches.
    fn first_match(&self, packet: &Packet) -> Option<RuleMatch>;

    /// True if the packet's flow is not tracked, where that depends on its path.
    #[inline(always)]
    fn is_untracked(&self, _packet: &Packet) -> bool {
        false
    }

    /// [`Evaluate::first_match`] where it may be known already which rule sets the packet meets.
    #[inline(always)]
    fn first_match_between(&self, packet: &Packet, _ends: Ends) -> Option<RuleMatch> {
        self.first_match(packet)
    }

    /// [`Evaluate::is_untracked`] in the same way.
    #[inline(always)]
    fn is_untracked_between(&self, packet: &Packet, _ends: Ends) -> bool {
        self.is_untracked(packet)
    }
}

/// A rule that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleMatch {
    /// Index in the [`RuleSet`].
    pub rule: u32,
    /// Whether it allows.
    pub allow: bool,
}
