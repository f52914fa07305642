//! A network namespace with two TUN devices: a router between outside and inside, all to ourselves.
//!
//! It belongs to the thread that makes it. When the thread and its open files are gone, so are the
//! devices, rules, routes, settings and connections, whichever way the program ends.

use super::LinuxError;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Device names: the rules tell directions apart by them.
pub(super) const OUTSIDE: &str = "outside";
pub(super) const INSIDE: &str = "inside";

/// How long `nft` and `ip` may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Moves the calling thread into a network namespace of its own.
pub(super) fn enter() -> Result<(), LinuxError> {
    // SAFETY: takes flags only. It changes the calling thread, which was started for this.
    match unsafe { libc::unshare(libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(LinuxError::Namespace(io::Error::last_os_error())),
    }
}

/// One end of the router: packets written to it arrive at the kernel, what the kernel sends is read.
pub(super) struct Tun(File);

impl Tun {
    /// Makes the device in the thread's namespace.
    pub(super) fn open(name: &str) -> Result<Self, LinuxError> {
        let open = || -> io::Result<File> {
            let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
            let file = File::options().read(true).write(true).custom_flags(flags).open("/dev/net/tun")?;
            // struct ifreq: 16 bytes of name, then the flags; 40 bytes in all.
            let mut request = [0u8; 40];
            request[..name.len().min(15)].copy_from_slice(&name.as_bytes()[..name.len().min(15)]);
            request[16..18].copy_from_slice(&((libc::IFF_TUN | libc::IFF_NO_PI) as u16).to_ne_bytes());
            // SAFETY: the descriptor is open, and the request is as large as the kernel's struct
            // ifreq, which it reads and writes.
            match unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) } {
                0.. => Ok(file),
                _ => Err(io::Error::last_os_error()),
            }
        };
        open().map(Tun).map_err(LinuxError::Tun)
    }

    /// Hands the kernel a packet. When this returns, the packet has gone all its way.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        (&self.0).write(packet).map(|_| ())
    }

    /// Takes all that the kernel has sent; how many packets.
    pub(super) fn drain(&self, buffer: &mut [u8]) -> io::Result<usize> {
        for count in 0.. {
            match (&self.0).read(buffer) {
                Ok(0) => return Ok(count),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(count),
                Err(error) => return Err(error),
            }
        }
        Ok(0)
    }
}

/// Makes the two devices. The kernel drops everything until [`connect`].
pub(super) fn devices() -> Result<[Tun; 2], LinuxError> {
    Ok([Tun::open(OUTSIDE)?, Tun::open(INSIDE)?])
}

/// Turns the namespace into a router that sends whatever comes in at one end out at the other.
pub(super) fn connect() -> Result<(), LinuxError> {
    for device in ["all", "default", OUTSIDE, INSIDE] {
        let v4 = |name| format!("net.ipv4.conf.{device}.{name}");
        for (name, value) in [
            ("rp_filter", "0"),
            ("accept_local", "1"),
            ("route_localnet", "1"),
            ("send_redirects", "0"),
            ("accept_redirects", "0"),
            ("forwarding", "1"),
            ("log_martians", "0"),
            ("accept_source_route", "1"),
        ] {
            set(&v4(name), value)?;
        }
        let v6 = |name| format!("net.ipv6.conf.{device}.{name}");
        // A kernel without IPv6, or an older one, lacks some: then IPv6 packets are "not routed".
        for (name, value) in [
            ("accept_dad", "0"),
            ("dad_transmits", "0"),
            ("accept_ra", "0"),
            ("autoconf", "0"),
            ("addr_gen_mode", "1"),
            ("router_solicitations", "0"),
            ("accept_redirects", "0"),
            ("forwarding", "1"),
            ("accept_source_route", "1"),
        ] {
            let _ = set(&v6(name), value);
        }
    }
    // Reassembly must give up for no other reason than the pieces.
    for (name, value) in [
        ("net.ipv4.ipfrag_max_dist", "0"),
        ("net.ipv4.ipfrag_high_thresh", "268435456"),
        ("net.ipv6.ip6frag_high_thresh", "268435456"),
        ("net.netfilter.nf_conntrack_frag6_high_thresh", "268435456"),
    ] {
        let _ = set(name, value);
    }
    let links = format!("link set {OUTSIDE} mtu 65535 up\nlink set {INSIDE} mtu 65535 up\n");
    run("ip", "iproute2", &["-batch", "-"], &links)?;
    let routes = format!(
        "rule add iif {OUTSIDE} lookup 100 pref 100\nroute add default dev {INSIDE} table 100\n\
         rule add iif {INSIDE} lookup 101 pref 101\nroute add default dev {OUTSIDE} table 101\n"
    );
    run("ip", "iproute2", &["-4", "-batch", "-"], &routes)?;
    if fs::exists("/proc/sys/net/ipv6/conf/all/forwarding").unwrap_or(false) {
        run("ip", "iproute2", &["-6", "-batch", "-"], &routes)?;
    }
    Ok(())
}

/// Loads rules.
pub(super) fn load_rules(rules: &str) -> Result<(), LinuxError> {
    run("nft", "nftables", &["-f", "-"], rules)
}

/// Sets a kernel parameter of this thread's namespace.
pub(super) fn set(name: &str, value: &str) -> Result<(), LinuxError> {
    let path = format!("/proc/sys/{}", name.replace('.', "/"));
    let sysctl = |error| LinuxError::Sysctl { name: name.into(), value: value.into(), error };
    fs::write(path, value).map_err(sysctl)
}

/// Reads a kernel parameter that is a number.
pub(super) fn get(name: &str) -> Option<usize> {
    fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).ok()?.trim().parse().ok()
}

/// Runs a program of the system with this input; it inherits the thread's namespace.
fn run(program: &'static str, package: &'static str, arguments: &[&str], input: &str) -> Result<(), LinuxError> {
    let command = format!("{program} {}", arguments.join(" "));
    let cannot = |error| LinuxError::Program { program, package, error };
    // An administrator's programs may be missing from an ordinary user's path.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut child = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(cannot)?;
    if let Some(stdin) = child.stdin.take() {
        // If it ends early it says why, which is the better error.
        let _ = File::from(OwnedFd::from(stdin)).write_all(input.as_bytes());
    }
    let until = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().map_err(cannot)? {
            break status;
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            return Err(LinuxError::Stuck { command, seconds: PATIENCE.as_secs() });
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    if status.success() {
        return Ok(());
    }
    let mut message = String::new();
    if let Some(stderr) = child.stderr.take() {
        let _ = stderr.take(4096).read_to_string(&mut message);
    }
    Err(LinuxError::Failed { command, message: message.trim().to_owned() })
}
