//! Synthetic traces: seeded, the same bytes for the same recipe and seed on every machine.
//!
//! ```text
//! recipe      what traffic there is; profiles are recipes with names; `like` fits one to a capture
//! sizes       packets in a flow, bytes in a packet
//! hosts       which client and which server a new flow gets, so that no two flows are one
//! conversation what a flow sends next, and when: TCP, UDP, DNS, ICMP
//! calendar    which flow is next, of a million
//! frame       headers and checksums, pcap records
//! generator   the loop
//! ```
//!
//! Nothing here rounds differently anywhere: random numbers, logarithms and powers are integers
//! ([`Random`]), and a share given as a decimal is scaled by a power of two, which is exact.
//!
//! ```
//! use ctbench::trace::synthesis::{Recipe, write};
//!
//! let mut recipe = Recipe::profile("web").unwrap();
//! recipe.packets = Some(1_000);
//! let mut pcap = Vec::new();
//! let made = write(&recipe, &mut pcap)?;
//! assert_eq!(made.packets, 1_000);
//! let mut again = Vec::new();
//! write(&recipe, &mut again)?;
//! assert_eq!(pcap, again);
//! # Ok::<(), ctbench::trace::synthesis::SynthesisError>(())
//! ```

mod calendar;
mod conversation;
mod frame;
mod generator;
mod hosts;
mod like;
mod profiles;
mod random;
mod recipe;
mod sizes;

pub use generator::{Made, write};
pub use like::like;
pub use profiles::PROFILES;
pub use random::{Random, Share};
pub use recipe::{Kind, Recipe, SynthesisError, Traffic};
pub use sizes::{FlowSizes, PacketSizes};
