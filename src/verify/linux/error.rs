//! Why the machine cannot be the judge.

use std::io;
use thiserror::Error;

/// What stands in the way. Every message says what is needed.
#[derive(Debug, Error)]
pub enum LinuxError {
    /// No network namespace.
    #[error(
        "cannot make a network namespace ({0}): `--against linux` needs root, for example `sudo ctbench verify ...`"
    )]
    Namespace(io::Error),
    /// No TUN devices.
    #[error(
        "cannot make a TUN device ({0}): `--against linux` needs /dev/net/tun and root; `modprobe tun` loads the driver"
    )]
    Tun(io::Error),
    /// A program is missing or cannot be started.
    #[error("cannot run `{program}` ({error}): `--against linux` needs it; it is in the package {package}")]
    Program {
        /// The program.
        program: &'static str,
        /// The package that it comes in.
        package: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// A program failed.
    #[error("`{command}` failed: {message}")]
    Failed {
        /// Program and arguments.
        command: String,
        /// What it says.
        message: String,
    },
    /// A program does not come to an end.
    #[error("`{command}` did not finish within {seconds} s")]
    Stuck {
        /// Program and arguments.
        command: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// A kernel setting that cannot be made.
    #[error("cannot set {name} to {value} ({error}): the kernel is built without it, or does not allow the value")]
    Sysctl {
        /// Its name, as `sysctl` prints it.
        name: String,
        /// The value.
        value: String,
        /// What the system says.
        error: io::Error,
    },
    /// A setting of ours that this kernel has no counterpart for.
    #[error("{0}")]
    Unsupported(String),
    /// Something that should not fail did.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        error: io::Error,
    },
    /// The kernel's table is too small for the trace.
    #[error(
        "the trace has more connections at once than the kernel holds (nf_conntrack_max is {0}): \
         raise it, for example with `sysctl -w net.netfilter.nf_conntrack_max=1048576`"
    )]
    TableFull(usize),
    /// The kernel's reports do not go with the packets.
    #[error("the kernel's reports got out of step with the packets at packet {0}: this kernel cannot be the judge")]
    OutOfStep(u32),
    /// The judge's thread ended unexpectedly.
    #[error("the judge's thread ended unexpectedly")]
    Thread,
}

/// Names what was tried when something fails.
pub(super) fn failed(what: &'static str) -> impl FnOnce(io::Error) -> LinuxError {
    move |error| LinuxError::Io { what, error }
}
