//! Recipes with names. Protected addresses lie in 10.0.0.0/8 and 2001:db8:10::/48, their peers outside.

use super::{Kind, Recipe};

/// Name, what it is, and the recipe.
pub const PROFILES: [(&str, &str, &str); 7] = [
    ("web", "HTTPS: requests, responses of heavy-tailed length, some DNS and ping", WEB),
    ("dns", "DNS queries, each with its answer", DNS),
    ("game", "players' UDP sessions: small datagrams to and fro", GAME),
    ("cps", "connections a second: a short TCP connection after the other", CPS),
    ("flood", "SYNs from everywhere, in front of a little web traffic", FLOOD),
    ("long-lived", "TCP sessions with idle gaps", LONG_LIVED),
    ("million-flows", "a million TCP connections open at once", MILLION_FLOWS),
];

impl Recipe {
    /// A profile by its name.
    pub fn profile(name: &str) -> Option<Recipe> {
        let (_, _, recipe) = PROFILES.iter().find(|(known, _, _)| *known == name)?;
        toml::from_str(recipe).ok()
    }

    /// For traffic of this kind between the profiles' usual addresses.
    pub(super) fn usual(kind: Kind) -> Option<super::Traffic> {
        let mut traffic = Recipe::profile("web")?.traffic.swap_remove(0);
        traffic.kind = kind;
        Some(traffic)
    }
}

const WEB: &str = r#"
flows_per_s = 2000

[[traffic]]
kind = "tcp"
weight = 80
clients = ["198.18.0.0/15", "2001:db8:8000::/48"]
servers = ["10.0.1.0/28", "2001:db8:10:1::/124"]
ports = [443]
flow_size = "pareto:1.2:5:20000"
request = "mix:150x1,400x2,900x1"
response = "mix:1518x5,700x1,200x1"
responses = 8
rtt_us = 30000
think_ms = 200
ipv6 = 0.3
half_closed = 0.01
abandoned = 0.01
reset = 0.03

[[traffic]]
kind = "dns"
weight = 18
clients = ["10.0.1.0/28", "2001:db8:10:1::/124"]
servers = ["198.18.0.53/32", "2001:db8:8000::53/128"]
ports = [53]
outbound = true
flow_size = "fixed:2"
rtt_us = 2000
ipv6 = 0.3

[[traffic]]
kind = "ping"
weight = 2
clients = ["198.18.0.0/15", "2001:db8:8000::/48"]
servers = ["10.0.1.0/28", "2001:db8:10:1::/124"]
flow_size = "fixed:8"
request = "102"
response = "102"
think_ms = 1000
ipv6 = 0.3
"#;

const DNS: &str = r#"
flows_per_s = 50000

[[traffic]]
kind = "dns"
clients = ["198.18.0.0/15", "2001:db8:8000::/48"]
servers = ["10.0.0.53/32", "2001:db8:10::53/128"]
ports = [53]
flow_size = "fixed:2"
rtt_us = 20000
ipv6 = 0.2
"#;

const GAME: &str = r#"
flows_per_s = 50

[[traffic]]
kind = "udp"
clients = ["198.18.0.0/15"]
servers = ["10.0.2.0/28"]
ports = [27015, 27016, 27017, 27018]
flow_size = "pareto:1.1:600:100000"
request = "mix:90x3,110x1"
response = "mix:150x3,300x2,500x1"
responses = 1
rtt_us = 25000
think_ms = 30
"#;

const CPS: &str = r#"
flows_per_s = 100000
evenly = true

[[traffic]]
kind = "tcp"
clients = ["198.18.0.0/15"]
servers = ["10.0.1.0/28"]
ports = [80]
flow_size = "fixed:2"
request = "200"
response = "300"
rtt_us = 1000
"#;

const FLOOD: &str = r#"
flows_per_s = 1000000

[[traffic]]
kind = "syn-flood"
weight = 999
clients = ["11.0.0.0/10", "45.0.0.0/10", "100.64.0.0/10"]
servers = ["10.0.1.10/32"]
ports = [443]

[[traffic]]
kind = "tcp"
weight = 1
clients = ["198.18.0.0/15"]
servers = ["10.0.1.10/32"]
ports = [443]
flow_size = "pareto:1.2:5:20000"
responses = 8
think_ms = 50
"#;

const LONG_LIVED: &str = r#"
flows_per_s = 200

[[traffic]]
kind = "tcp"
clients = ["198.18.0.0/15", "2001:db8:8000::/48"]
servers = ["10.0.3.0/28", "2001:db8:10:3::/124"]
ports = [22, 1883, 5222]
flow_size = "pareto:1.1:40:1000000"
request = "mix:90x2,150x1"
response = "mix:90x2,250x1"
think_ms = 10000
ipv6 = 0.1
mid_stream = 0.3
abandoned = 0.05
"#;

const MILLION_FLOWS: &str = r#"
flows = 1000000
flows_per_s = 500000
evenly = true

[[traffic]]
kind = "tcp"
clients = ["198.18.0.0/15"]
servers = ["10.0.1.0/24"]
ports = [443]
flow_size = "fixed:20"
request = "64"
response = "64"
rtt_us = 10000
think_ms = 2000
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_is_a_recipe() {
        for (name, _, text) in PROFILES {
            let mut recipe: Recipe = toml::from_str(text).unwrap();
            recipe.packets = Some(1);
            recipe.check().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
