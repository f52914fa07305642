//! Packets to records: one a flow direction, verdict and window.

use super::{Action, FiveTuple, FlowDirection, LogStatus, Observation, Record};
use std::collections::HashMap;

const NS_PER_S: u64 = 1_000_000_000;

/// Empty windows of one gap that get a record each; the rest of a longer gap gets one together. A stray frame from
/// another century would else fill the disk.
const MOST_EMPTY: u64 = 1_000;

/// Hands out the records, window by window, in the order of their first packets. Windows of `interval_s` seconds follow
/// one another from the first packet on; AWS does not say where its own begin. A window without traffic gets `NODATA`.
///
/// # Errors
/// Those of `emit`.
pub fn aggregate<E>(
    observations: impl Iterator<Item = Observation>,
    interval_s: u64,
    mut emit: impl FnMut(&Record) -> Result<(), E>,
) -> Result<(), E> {
    let interval_ns = interval_s.max(1).saturating_mul(NS_PER_S);
    let mut window = Window::default();
    let mut first_ns = None;
    let mut current = 0;
    for packet in observations {
        let first_ns = *first_ns.get_or_insert(packet.time_ns);
        let number = (packet.time_ns - first_ns) / interval_ns;
        if number != current {
            window.flush(&mut emit)?;
            let starts = |number: u64| (first_ns + number * interval_ns) / NS_PER_S;
            let mut empty = current + 1;
            while empty < number {
                let next = if empty - current > MOST_EMPTY { number } else { empty + 1 };
                emit(&Record::empty(LogStatus::NoData, starts(empty), starts(next)))?;
                empty = next;
            }
            current = number;
        }
        window.add(&packet);
    }
    window.flush(&mut emit)
}

/// The records of one window, in the order of their first packets.
#[derive(Default)]
struct Window {
    place: HashMap<(FiveTuple, FlowDirection, Action), usize>,
    records: Vec<Record>,
}

impl Window {
    fn add(&mut self, packet: &Observation) {
        let second = packet.time_ns / NS_PER_S;
        let place = *self.place.entry((packet.tuple, packet.direction, packet.action)).or_insert(self.records.len());
        if place == self.records.len() {
            self.records.push(first(packet, second));
        }
        let record = &mut self.records[place];
        record.packets = record.packets.map(|packets| packets + 1);
        record.bytes = record.bytes.map(|bytes| bytes + packet.bytes);
        record.tcp_flags = record.tcp_flags.map(|flags| flags | packet.tcp_flags);
        record.end = Some(second);
    }

    fn flush<E>(&mut self, emit: &mut impl FnMut(&Record) -> Result<(), E>) -> Result<(), E> {
        self.place.clear();
        self.records.drain(..).try_for_each(|record| emit(&record))
    }
}

/// A record of nothing yet. The interface's primary address, which AWS writes for all of its addresses, is unknown:
/// `srcaddr` and `dstaddr` are the packet's own.
fn first(packet: &Observation, second: u64) -> Record {
    let FiveTuple { source, destination, source_port, destination_port, protocol } = packet.tuple;
    Record {
        source: Some(source),
        destination: Some(destination),
        source_port: Some(source_port),
        destination_port: Some(destination_port),
        protocol: Some(protocol),
        packets: Some(0),
        bytes: Some(0),
        action: Some(packet.action),
        tcp_flags: Some(0),
        family: Some(if source.is_ipv6() { "IPv6" } else { "IPv4" }.into()),
        packet_source: Some(source),
        packet_destination: Some(destination),
        direction: Some(packet.direction),
        ..Record::empty(LogStatus::Ok, second, second)
    }
}
