//! The machine that a result comes from. What cannot be read is `unknown`, never a failure.

use serde::Serialize;
use std::fs;

/// A machine, as far as it can be read without rights and without running programs.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// Processor model.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// Operating system and architecture.
    pub platform: String,
    /// Runs under a hypervisor (x86: the processor says so).
    pub virtual_machine: bool,
    /// Frequency governor.
    pub governor: String,
    /// Transparent huge pages: always, madvise or never.
    pub huge_pages: String,
    /// Load average over the last minute, when the run began.
    pub load: String,
}

impl Host {
    /// Reads this machine.
    pub fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            cpuinfo.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                (key.trim() == name).then(|| value.trim().to_owned())
            })
        };
        let line = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let unknown = || "unknown".to_owned();
        let bracketed = |text: String| {
            let chosen = text.split_whitespace().find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
            chosen.map(str::to_owned)
        };
        Host {
            cpu: field("model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, |n| n.get()),
            kernel: line("/proc/sys/kernel/osrelease").unwrap_or_else(unknown),
            platform: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            virtual_machine: field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            governor: line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").unwrap_or_else(unknown),
            huge_pages: line("/sys/kernel/mm/transparent_hugepage/enabled").and_then(bracketed).unwrap_or_else(unknown),
            load: line("/proc/loadavg")
                .and_then(|text| text.split(' ').next().map(str::to_owned))
                .unwrap_or_else(unknown),
        }
    }
}
