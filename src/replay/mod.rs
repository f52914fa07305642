//! Replay: packets to cores, cores through the burst loop.
//!
//! [`steer()`] hands every packet to a core before the clock starts, as a network card would.
//! [`pass()`] is THE loop: it replays a steered trace once, through one engine a core.

mod demand;
mod movable;
mod order;
mod paced;
mod pass;
mod pool;
mod setups;
mod steer;
pub mod streamed;
mod variants;
mod wire;
mod world;

pub use demand::Peak;
pub(crate) use movable::Movable;
pub use paced::{Pace, Paced, Rate};
pub use pass::{Job, Mode, Pass, Setup, pass};
pub use pool::Pool;
pub use steer::{Lane, Steered, Steering, Stream, steer};
pub use variants::Workload;
pub use wire::{Service, Wire};
pub use world::World;
