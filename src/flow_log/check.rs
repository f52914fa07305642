//! What AWS recorded, beside what the rules say of this trace.

use super::{Action, FiveTuple, LogStatus, Observation, Record};
use std::collections::{BTreeMap, HashMap};

const NS_PER_S: u64 = 1_000_000_000;

/// A record's `start` and `end` are when AWS saw the packets: up to 60 s after they crossed the interface (VPC guide,
/// field `start`).
const LATE_S: u64 = 60;

/// Why a record says nothing about the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum NotComparable {
    /// There was no traffic.
    NoData,
    /// AWS could not record all traffic.
    SkipData,
    /// It tells no addresses, ports, protocol, times or action.
    Incomplete,
    /// Block public access rejected it, not the rules.
    PublicAccessBlocked,
    /// The trace has no packet from this source to this destination.
    NoPacket,
    /// The trace has such packets, at other times.
    OtherTime,
}

impl NotComparable {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            NotComparable::NoData => "NODATA",
            NotComparable::SkipData => "SKIPDATA",
            NotComparable::Incomplete => "fields that comparing needs are -",
            NotComparable::PublicAccessBlocked => "rejected by block public access, not by rules",
            NotComparable::NoPacket => "no packet of the flow is evaluated in the trace",
            NotComparable::OtherTime => "the trace has the flow at other times only",
        }
    }
}

/// A record that the rules contradict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What AWS recorded.
    pub recorded: Action,
    /// The flow, as the trace has it.
    pub tuple: FiveTuple,
    /// Position in the trace of the first packet of the record's time: the rules treat all of them otherwise.
    pub position: usize,
}

/// Compares records with a trace, one by one.
pub struct Check {
    /// Packets of each flow direction, in the order of time.
    flows: HashMap<FiveTuple, Vec<Seen>>,
    /// Records that the rules agree with.
    pub agreed: u64,
    /// Records that they contradict.
    pub differing: u64,
    /// Records that cannot be compared, by reason.
    pub not_comparable: BTreeMap<NotComparable, u64>,
    /// From the earliest start to the latest end of all records with traffic, in seconds.
    span: Option<(u64, u64)>,
}

struct Seen {
    second: u64,
    position: usize,
    action: Action,
    recorded: bool,
}

impl Check {
    /// Of a trace's packets.
    pub fn new(packets: impl Iterator<Item = Observation>) -> Self {
        let mut flows: HashMap<FiveTuple, Vec<Seen>> = HashMap::new();
        for Observation { position, tuple, time_ns, action, .. } in packets {
            let seen = Seen { second: time_ns / NS_PER_S, position, action, recorded: false };
            flows.entry(tuple).or_default().push(seen);
        }
        Check { flows, agreed: 0, differing: 0, not_comparable: BTreeMap::new(), span: None }
    }

    /// Compares one record. The rules agree with it if at least one packet of its flow and time has its action: a flow
    /// of which some packets pass and others do not has a record for each.
    pub fn record(&mut self, record: &Record) -> Option<Difference> {
        match self.compare(record) {
            Ok(None) => self.agreed += 1,
            Ok(Some(difference)) => {
                self.differing += 1;
                return Some(difference);
            }
            Err(reason) => *self.not_comparable.entry(reason).or_default() += 1,
        }
        None
    }

    fn compare(&mut self, record: &Record) -> Result<Option<Difference>, NotComparable> {
        match record.status {
            Some(LogStatus::NoData) => return Err(NotComparable::NoData),
            Some(LogStatus::SkipData) => return Err(NotComparable::SkipData),
            Some(LogStatus::Ok) | None => {}
        }
        if record.labels.get(&super::Field::RejectReason).is_some_and(|reason| reason == "BPA") {
            return Err(NotComparable::PublicAccessBlocked);
        }
        let needed = || Some((record.start?, record.end?, record.action?));
        let (start, end, recorded) = needed().ok_or(NotComparable::Incomplete)?;
        let (first, last) = self.span.unwrap_or((start, end));
        self.span = Some((first.min(start), last.max(end)));
        // The packet's own addresses, or those that AWS shows for the interface.
        let ends = [
            (record.packet_source.or(record.source), record.packet_destination.or(record.destination)),
            (record.source.or(record.packet_source), record.destination.or(record.packet_destination)),
        ];
        let tuple = |(source, destination): (Option<_>, Option<_>)| {
            Some(FiveTuple {
                source: source?,
                destination: destination?,
                source_port: record.source_port?,
                destination_port: record.destination_port?,
                protocol: record.protocol?,
            })
        };
        let [Some(own), Some(shown)] = ends.map(tuple) else { return Err(NotComparable::Incomplete) };
        let tuple = if self.flows.contains_key(&own) { own } else { shown };
        let packets = self.flows.get_mut(&tuple).ok_or(NotComparable::NoPacket)?;
        let from = |second: u64| packets.partition_point(|seen| seen.second < second);
        let to = packets.partition_point(|seen| seen.second <= end);
        let exactly = from(start)..to;
        let range = if exactly.is_empty() { from(start.saturating_sub(LATE_S))..to } else { exactly };
        // A record whose end comes before its start holds nothing.
        let packets = packets.get_mut(range).filter(|packets| !packets.is_empty()).ok_or(NotComparable::OtherTime)?;
        packets.iter_mut().filter(|seen| seen.action == recorded).for_each(|seen| seen.recorded = true);
        let agrees = packets.iter().any(|seen| seen.action == recorded);
        Ok((!agrees).then(|| Difference { recorded, tuple, position: packets[0].position }))
    }

    /// Packets of the trace within the time of all records, and how many of them no record tells of with the action
    /// that the rules give them.
    pub fn unrecorded(&self) -> (u64, u64) {
        let Some((first, last)) = self.span else { return (0, 0) };
        let within = || self.flows.values().flatten().filter(|seen| (first..=last).contains(&seen.second));
        (within().count() as u64, within().filter(|seen| !seen.recorded).count() as u64)
    }
}
