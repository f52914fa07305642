//! Flows over time: how many there are at once, and how many begin.

use crate::packet::{FlowKey, Packet, flags, protocol, tcp_flags};
use hashbrown::HashMap;
use serde::Serialize;

/// Moments that the capture's time is divided into.
const MOMENTS: usize = 60;
const SECOND_NS: u64 = 1_000_000_000;

/// A part of the capture's time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Moment {
    /// When it begins, in seconds after the first packet.
    pub at_s: f64,
    /// Flows that live in it.
    pub flows: u64,
    /// Flows that begin in it.
    pub new_flows: u64,
}

/// What is known of a flow.
struct Flow {
    packets: u64,
    first_ns: u64,
    last_ns: u64,
    /// One bit a direction.
    directions: u8,
    midstream: bool,
}

/// The flows of a trace, packet by packet.
#[derive(Default)]
pub(super) struct Activity {
    flows: HashMap<FlowKey, Flow>,
    /// Packet time never goes back.
    first_ns: Option<u64>,
    last_ns: u64,
}

/// Flows described.
#[derive(Debug, Default)]
pub(super) struct Flows {
    pub flows: usize,
    /// Packets of the largest.
    pub largest: u64,
    pub one_sided: usize,
    pub midstream: usize,
    pub peak_concurrent: u64,
    pub new_per_s: f64,
    pub peak_new_per_s: u64,
    pub over_time: Vec<Moment>,
}

impl Activity {
    pub(super) fn add(&mut self, packet: &Packet) {
        let now_ns = packet.time_ns;
        self.first_ns.get_or_insert(now_ns);
        self.last_ns = now_ns;
        let flow = self.flows.entry(packet.flow_key()).or_insert_with(|| Flow {
            packets: 0,
            first_ns: now_ns,
            last_ns: now_ns,
            directions: 0,
            midstream: packet.protocol == protocol::TCP
                && !packet.has(flags::ICMP_ERROR | flags::NO_PORTS)
                && packet.tcp_flags() & tcp_flags::SYN == 0,
        });
        flow.packets += 1;
        flow.last_ns = now_ns;
        flow.directions |= 1 << packet.direction().index();
    }

    pub(super) fn describe(self) -> Flows {
        let Some(first_ns) = self.first_ns else { return Flows::default() };
        let span_ns = self.last_ns - first_ns;
        let mut starts: Vec<u64> = self.flows.values().map(|flow| flow.first_ns - first_ns).collect();
        let mut ends: Vec<u64> = self.flows.values().map(|flow| flow.last_ns - first_ns).collect();
        starts.sort_unstable();
        ends.sort_unstable();
        Flows {
            flows: starts.len(),
            largest: self.flows.values().map(|flow| flow.packets).max().unwrap_or(0),
            one_sided: self.flows.values().filter(|flow| flow.directions != 3).count(),
            midstream: self.flows.values().filter(|flow| flow.midstream).count(),
            peak_concurrent: peak(&starts, &ends),
            new_per_s: starts.len() as f64 / (span_ns as f64 / SECOND_NS as f64).max(1.0),
            peak_new_per_s: most_in_a_second(&starts),
            over_time: moments(&starts, &ends, span_ns),
        }
    }
}

/// Most flows that live at once. At the same time one begins before another ends.
fn peak(starts: &[u64], ends: &[u64]) -> u64 {
    let mut ended = 0;
    let mut most = 0;
    for (begun, start) in (1u64..).zip(starts) {
        while ends[ended] < *start {
            ended += 1;
        }
        most = most.max(begun - ended as u64);
    }
    most
}

/// Of the seconds counted from the first packet.
fn most_in_a_second(starts: &[u64]) -> u64 {
    starts.chunk_by(|a, b| a / SECOND_NS == b / SECOND_NS).map(|second| second.len() as u64).max().unwrap_or(0)
}

fn moments(starts: &[u64], ends: &[u64], span_ns: u64) -> Vec<Moment> {
    if span_ns == 0 {
        return vec![Moment { at_s: 0.0, flows: starts.len() as u64, new_flows: starts.len() as u64 }];
    }
    // The last packet lies in the last moment.
    let length = span_ns / MOMENTS as u64 + 1;
    let before = |times: &[u64], ns: u64| times.partition_point(|time| *time < ns) as u64;
    (0..span_ns / length + 1)
        .map(|moment| {
            let (begin, end) = (moment * length, (moment + 1).saturating_mul(length));
            // Where the end does not fit, nothing comes after it.
            let begun = if end == u64::MAX { starts.len() as u64 } else { before(starts, end) };
            Moment {
                at_s: begin as f64 / SECOND_NS as f64,
                flows: begun - before(ends, begin),
                new_flows: begun - before(starts, begin),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Direction, TcpFields};

    fn packet(port: u16, at_s: u64, direction: Direction, flags: u8) -> Packet {
        let ends = ([10, 0, 1, 10].into(), [198, 51, 100, 7].into());
        let mut packet = Packet::new(ends.0, ends.1, direction, protocol::TCP, 0).with_ports(80, port);
        packet = packet.with_tcp(TcpFields { flags, ..TcpFields::default() });
        packet.time_ns = 1_000 * SECOND_NS + at_s * SECOND_NS;
        packet
    }

    #[test]
    fn flows_are_counted_over_time() {
        use Direction::{In, Out};
        use tcp_flags::{ACK, SYN};
        let mut activity = Activity::default();
        // Flow 1 lives from 0 to 100 s, flow 2 from 10 to 20, flow 3 from 20 to 20, flow 4 at 60.
        for (port, at_s, direction, flags) in [
            (1, 0, In, SYN),
            (2, 10, In, SYN),
            (2, 20, Out, SYN | ACK),
            (3, 20, In, ACK),
            (4, 60, Out, ACK),
            (1, 100, Out, ACK),
        ] {
            activity.add(&packet(port, at_s, direction, flags));
        }
        let flows = activity.describe();
        assert_eq!((flows.flows, flows.largest, flows.one_sided, flows.midstream), (4, 2, 2, 2));
        assert_eq!((flows.peak_concurrent, flows.peak_new_per_s), (3, 1));
        assert!((flows.new_per_s - 0.04).abs() < 1e-9);
        assert_eq!(flows.over_time.len(), MOMENTS);
        assert_eq!(flows.over_time.iter().map(|moment| moment.new_flows).sum::<u64>(), 4);
        assert_eq!(flows.over_time.iter().map(|moment| moment.flows).max(), Some(3));
        assert_eq!(flows.over_time.last().map(|moment| (moment.flows, moment.new_flows)), Some((1, 0)));
    }

    #[test]
    fn times_at_the_ends_of_their_range_do_no_harm() {
        for span_ns in [0, 1, 59, 60, 61, u64::MAX] {
            let found = moments(&[0, span_ns / 2, span_ns], &[span_ns / 2, span_ns, span_ns], span_ns);
            assert!(
                found.len() <= MOMENTS && found.iter().map(|moment| moment.new_flows).sum::<u64>() == 3,
                "{span_ns}"
            );
        }
        assert_eq!(Activity::default().describe().flows, 0);
    }
}
