//! Instructions that a thread executes, where the machine counts them.

/// Counts the instructions of the calling thread.
#[cfg(target_os = "linux")]
pub struct Instructions(perf_event::Counter);

#[cfg(target_os = "linux")]
impl Instructions {
    /// Counts from now on. The error says why it cannot be had.
    pub fn start() -> Result<Self, String> {
        use perf_event::events::Hardware;
        let counter = perf_event::Builder::new().kind(Hardware::INSTRUCTIONS).build();
        let mut counter = counter.map_err(|error| reason(&error))?;
        counter.enable().map_err(|error| reason(&error))?;
        Ok(Instructions(counter))
    }

    /// Instructions so far. An error, too, if the counter was taken away for a while.
    pub fn count(&mut self) -> Result<u64, String> {
        let counted = self.0.read_count_and_time().map_err(|error| reason(&error))?;
        match counted.time_running == counted.time_enabled {
            true => Ok(counted.count),
            false => Err("others use the machine's counters, too".into()),
        }
    }
}

/// What the system's refusal means.
#[cfg(target_os = "linux")]
fn reason(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            "the system forbids it: `sysctl kernel.perf_event_paranoid=2`, or run as root".into()
        }
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::ENODEV) => {
            "the machine has no hardware counters; virtual ones often have none".into()
        }
        Some(libc::ENOSYS) => "the system has no perf_event_open".into(),
        _ => format!("perf_event_open: {error}"),
    }
}

/// Counts the instructions of the calling thread.
#[cfg(not(target_os = "linux"))]
pub struct Instructions(std::convert::Infallible);

#[cfg(not(target_os = "linux"))]
impl Instructions {
    /// Always an error here.
    pub fn start() -> Result<Self, String> {
        Err("only Linux is asked for them".into())
    }

    /// Never called.
    pub fn count(&mut self) -> Result<u64, String> {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Either there is a count that grows with the work, or a reason.
    #[test]
    fn instructions_are_counted_or_it_is_said_why_not() {
        match Instructions::start() {
            Err(reason) => assert!(!reason.is_empty()),
            Ok(mut instructions) => {
                let mut sum = 0u64;
                for i in 0..100_000u64 {
                    sum = std::hint::black_box(sum ^ i);
                }
                let counted = instructions.count();
                assert!(counted.clone().is_err() || counted.clone() > Ok(100_000), "{counted:?}");
            }
        }
    }
}
