//! The options that say which core gets which packet.

use super::InputArgs;
use super::input::Input;
use crate::engine::registry::Kind;
use crate::replay::Steering;
use anyhow::{bail, ensure};
use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
pub(super) struct SteeringArgs {
    /// How packets reach cores
    #[arg(long, value_enum, default_value = "symmetric")]
    steering: SteeringArg,
    /// Under asymmetric and spray: no core runs more than so many packets of the trace ahead of the
    /// slowest
    #[arg(long, value_name = "N", default_value_t = Steering::DEFAULT_WINDOW, value_parser = clap::value_parser!(u32).range(1..))]
    order_window: u32,
    /// Make the trace's largest flow half of all packets: after each packet comes one more copy of that
    /// flow's latest
    #[arg(long)]
    elephant: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SteeringArg {
    /// Both directions of a flow on one core, as symmetric RSS does
    Symmetric,
    /// By a hash of source and destination as sent, as ordinary RSS does: the two directions of a flow
    /// may meet different cores
    Asymmetric,
    /// Round robin, whatever the flow
    Spray,
}

impl SteeringArg {
    /// With this order window.
    pub(super) fn steering(self, window: u32) -> Steering {
        match self {
            SteeringArg::Symmetric => Steering::Symmetric,
            SteeringArg::Asymmetric => Steering::Asymmetric { window },
            SteeringArg::Spray => Steering::Spray { window },
        }
    }
}

impl SteeringArgs {
    /// True if the trace is replayed as it was captured, flow by flow.
    pub(super) fn is_plain(&self) -> bool {
        self.steering == SteeringArg::Symmetric && !self.elephant
    }

    /// Applies the options to what was read.
    pub(super) fn apply(&self, input_args: &InputArgs, input: &mut Input) -> anyhow::Result<()> {
        let (window, burst) = (self.order_window, u32::from(input_args.burst));
        input.workload.steering = self.steering.steering(window);
        ensure!(
            self.steering == SteeringArg::Symmetric || window >= burst,
            "--order-window {window} is less than a burst of {burst} packets: give a larger --order-window or a smaller --burst"
        );
        if self.elephant {
            input.elephant = Some(input.workload.add_elephant()?);
            // What the scenario expects, it expects of the trace as captured.
            input.expect = None;
        }
        Ok(())
    }
}

/// The engines among these that can be run under this steering. If the user named them, one that cannot
/// is an error; if not, it is left out, and a warning says so.
pub(super) fn runnable(steering: Steering, kinds: Vec<Kind>, named: bool) -> anyhow::Result<Vec<Kind>> {
    let fits = |kind: &Kind| steering == Steering::Symmetric || kind.is_shared();
    let (kinds, unfit): (Vec<Kind>, Vec<Kind>) = kinds.into_iter().partition(fits);
    let (first, word) = (unfit.first(), steering.name());
    if let Some(kind) = first.filter(|_| named) {
        bail!(
            "engine {} has a table a core, and under --steering {word} packets of one flow meet several cores: \
             use --steering symmetric, or an engine with a shared table",
            kind.name()
        );
    }
    for kind in &unfit {
        eprintln!(
            "warning: {} is left out: it has a table a core, and --steering {word} needs a shared one",
            kind.name()
        );
    }
    Ok(kinds)
}
