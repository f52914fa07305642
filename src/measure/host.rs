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
    /// Hardware threads a physical core; 1 without SMT, or where the system does not tell.
    pub threads_per_core: usize,
    /// Caches of the first core, nearest first: `L1d 32K`.
    pub caches: Vec<String>,
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
            threads_per_core: line("/sys/devices/system/cpu/cpu0/topology/thread_siblings_list")
                .map_or(1, |list| cpus_in(&list))
                .max(1),
            caches: (0..8).map_while(cache).collect(),
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

/// How many CPUs a list like `0,4-5` names.
fn cpus_in(list: &str) -> usize {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse::<usize>().ok()?);
        (last + 1).checked_sub(first)
    };
    list.split(',').filter_map(range).sum()
}

/// The first core's cache of this index.
fn cache(index: usize) -> Option<String> {
    let line = |name: &str| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{name}");
        fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
    };
    let kind = match line("type")?.as_str() {
        "Data" => "d",
        "Instruction" => "i",
        _ => "",
    };
    Some(format!("L{}{kind} {}", line("level")?, line("size")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!(cpus_in("0"), 1);
        assert_eq!(cpus_in("0,64"), 2);
        assert_eq!(cpus_in("0-1,8-9"), 4);
        assert_eq!(cpus_in(""), 0);
        assert_eq!(cpus_in("3-1"), 0);
    }
}
