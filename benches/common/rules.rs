//! Rules as people write them: most for a partner's block and one port, some for everybody, some for a range.

use ctbench::measure::statistics::Random;
use ctbench::packet::{Direction, protocol};
use ctbench::policy::{Rule, RuleSet, World};
use ipnet::{IpNet, Ipv4Net};
use std::net::Ipv4Addr;

/// So many for packets on their way in. With `denies`, one in ten is a deny.
pub fn rules(world: World, count: usize, denies: bool, random: &mut Random) -> RuleSet {
    let mut rules = RuleSet::new(world);
    for n in 0..count {
        let length = [16, 20, 24, 24, 24, 28, 32, 32][random.below(8)];
        // One in fifty is for everybody.
        let length = if random.below(50) == 0 { 0 } else { length };
        let address = Ipv4Addr::from_bits(random.bits() as u32);
        let port = [22, 53, 80, 123, 443, 3306, 5432, 8080, 8443, 9090][random.below(10)] + (n % 7) as u16;
        let high = if random.below(10) == 0 { port + 1000 } else { port };
        let rule = Rule {
            remote: IpNet::V4(Ipv4Net::new(address, length).expect("a length").trunc()),
            protocol: Some(if random.below(4) == 0 { protocol::UDP } else { protocol::TCP }),
            ports: Some((port, high)),
            allow: random.below(10) != 0 || !denies,
            name: String::new(),
        };
        rules.push(Direction::In, rule);
    }
    rules
}
