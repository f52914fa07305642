//! ctbench replays recorded packets through connection-tracking tables and measures what stateful
//! filtering costs, or saves, against stateless filtering.
//!
//! # The path of a packet
//!
//! ```text
//!  trace ──► packet ──► steer ──► one worker a core: engine(policy, conntrack, table) ──► decision
//!  frames    records    shards    bursts of 32: hash, prefetch, decide                      │
//!                                                                       verify, measure, report
//! ```
//!
//! 1. [`trace`] maps a capture, finds its frames and, with [`packet`], turns each into one 64-byte
//!    [`packet::Packet`], written from the protected side's point of view: local end, remote end,
//!    direction. What is not IP, not for the inside or malformed is counted by cause.
//! 2. [`policy`] reads security groups and network ACLs as the AWS CLI prints them, into rules that
//!    look at the remote address, the protocol and the destination port.
//! 3. [`replay`] steers, before the clock starts: both directions of a flow to one core, or not
//!    ([`replay::Steering`]). Then each core replays its lane in bursts. [`replay::pass()`] is the loop.
//!    A trace larger than memory is replayed while it is read: [`trace::stream`], [`replay::streamed`].
//! 4. An [`engine`] decides. Stateless: rules on every packet. Stateful: the flow's entry in a
//!    [`table`] first, moved by the [`conntrack`] tracker; rules only for what is new.
//! 5. [`verify`] compares every packet's verdict and state with the plain reference engine, before
//!    timing and, by digest, after every timed pass; on request also with this machine's own Linux.
//!    A [`flow_log`] says what AWS would have recorded of it, and is compared with what AWS did record.
//! 6. [`measure`] times passes in interleaved blocks, [`report`] says what came out.
//!
//! Engines of your own join in with [`own::OwnEngine`] and [`main`](fn@main).
//! [`cli`] puts them together; a [`scenario`] is a trace with its policies in a folder.
//!
//! # Guarantees
//! - **Packet time.** Tables and timeouts take the time from the packet; only [`measure`] reads a
//!   clock. The same trace, policy and engine give the same verdicts at any speed, on any number of
//!   cores, as long as each flow stays on one; else verdicts that some order of the flow's packets
//!   explains ([`verify::reordering`]).
//! - **No figure without checked verdicts.** A pass with other verdicts than the reference is an
//!   error row and exit code 3.
//! - **Every packet ends in exactly one outcome**; outcomes sum up to the packets read.
//! - **Bounded.** Tables have a fixed capacity, chosen up front; engines do not allocate.

pub mod cli;
pub mod conntrack;
pub mod derive;
pub mod engine;
pub mod explain;
pub mod flow_log;
pub mod measure;
pub mod own;
pub mod packet;
pub mod policy;
pub mod replay;
pub mod report;
pub mod scenario;
pub mod table;
pub mod trace;
pub mod verify;

pub use own::main;
