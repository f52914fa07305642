//! One record: its values, to and from their words.

use super::{Field, Labels, observe::FlowDirection};
use std::fmt::{self, Write};
use std::net::IpAddr;
use std::str::FromStr;

/// What became of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It passed.
    Accept,
    /// A security group or a network ACL denied it, or it came after its connection was closed.
    Reject,
}

/// Whether the record tells of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogStatus {
    /// It does.
    Ok,
    /// There was none in the window.
    NoData,
    /// AWS could not record all of it.
    SkipData,
}

/// A record. `None` is written `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `version` as read; written, the format's.
    pub version: Option<u8>,
    /// `srcaddr`.
    pub source: Option<IpAddr>,
    /// `dstaddr`.
    pub destination: Option<IpAddr>,
    /// `srcport`: 0 for ICMP.
    pub source_port: Option<u16>,
    /// `dstport`: 0 for ICMP.
    pub destination_port: Option<u16>,
    /// `protocol`, IANA's number.
    pub protocol: Option<u8>,
    /// `packets`.
    pub packets: Option<u64>,
    /// `bytes`, IP headers included.
    pub bytes: Option<u64>,
    /// `start`: of the first packet in the window, in seconds since 1970.
    pub start: Option<u64>,
    /// `end`: of the last one.
    pub end: Option<u64>,
    /// `action`.
    pub action: Option<Action>,
    /// `log-status`.
    pub status: Option<LogStatus>,
    /// `tcp-flags`: FIN 1, SYN 2, RST 4, SYN with ACK 18, of all packets together.
    pub tcp_flags: Option<u8>,
    /// `type`: IPv4, IPv6 or EFA.
    pub family: Option<String>,
    /// `pkt-srcaddr`.
    pub packet_source: Option<IpAddr>,
    /// `pkt-dstaddr`.
    pub packet_destination: Option<IpAddr>,
    /// `flow-direction`.
    pub direction: Option<FlowDirection>,
    /// What no capture tells.
    pub labels: Labels,
}

impl Record {
    /// A record that tells of no traffic.
    pub fn empty(status: LogStatus, start: u64, end: u64) -> Record {
        Record {
            version: None,
            source: None,
            destination: None,
            source_port: None,
            destination_port: None,
            protocol: None,
            packets: None,
            bytes: None,
            start: Some(start),
            end: Some(end),
            action: None,
            status: Some(status),
            tcp_flags: None,
            family: None,
            packet_source: None,
            packet_destination: None,
            direction: None,
            labels: Labels::new(),
        }
    }

    /// Sets a field from its word; `-` stands for nothing. The error says what is allowed.
    pub fn set(&mut self, field: Field, word: &str) -> Result<(), &'static str> {
        const PORT: &str = "0 to 65535, or -";
        const NUMBER: &str = "a whole number, or -";
        const ADDRESS: &str = "an IPv4 or IPv6 address, or -";
        match field {
            Field::Version => self.version = number(word, "a version number, 2 or higher")?,
            Field::SrcAddr => self.source = number(word, ADDRESS)?,
            Field::DstAddr => self.destination = number(word, ADDRESS)?,
            Field::SrcPort => self.source_port = number(word, PORT)?,
            Field::DstPort => self.destination_port = number(word, PORT)?,
            Field::Protocol => self.protocol = number(word, "a protocol number, 0 to 255, or -")?,
            Field::Packets => self.packets = number(word, NUMBER)?,
            Field::Bytes => self.bytes = number(word, NUMBER)?,
            Field::Start => self.start = number(word, "seconds since 1970, or -")?,
            Field::End => self.end = number(word, "seconds since 1970, or -")?,
            Field::Action => {
                self.action = one_of(word, &[("ACCEPT", Action::Accept), ("REJECT", Action::Reject)])
                    .ok_or("ACCEPT, REJECT or -")?;
            }
            Field::LogStatus => {
                let words = [("OK", LogStatus::Ok), ("NODATA", LogStatus::NoData), ("SKIPDATA", LogStatus::SkipData)];
                self.status = one_of(word, &words).ok_or("OK, NODATA, SKIPDATA or -")?;
            }
            Field::TcpFlags => self.tcp_flags = number(word, "a bit mask of TCP flags, 0 to 255, or -")?,
            Field::Type => {
                self.family = match word {
                    "-" => None,
                    "IPv4" | "IPv6" | "EFA" => Some(word.into()),
                    _ => return Err("IPv4, IPv6, EFA or -"),
                }
            }
            Field::PktSrcAddr => self.packet_source = number(word, ADDRESS)?,
            Field::PktDstAddr => self.packet_destination = number(word, ADDRESS)?,
            Field::FlowDirection => {
                let words = [("ingress", FlowDirection::Ingress), ("egress", FlowDirection::Egress)];
                self.direction = one_of(word, &words).ok_or("ingress, egress or -")?;
            }
            label => {
                if word != "-" {
                    self.labels.insert(label, word.into());
                }
            }
        }
        Ok(())
    }

    /// Appends a field's word. `version` is the format's; `labels` stand in for the record's own.
    pub fn word(&self, field: Field, version: u8, labels: &Labels, out: &mut String) {
        // Writing to a string cannot fail.
        let _ = match field {
            Field::Version => write!(out, "{version}"),
            Field::SrcAddr => or_dash(out, &self.source),
            Field::DstAddr => or_dash(out, &self.destination),
            Field::SrcPort => or_dash(out, &self.source_port),
            Field::DstPort => or_dash(out, &self.destination_port),
            Field::Protocol => or_dash(out, &self.protocol),
            Field::Packets => or_dash(out, &self.packets),
            Field::Bytes => or_dash(out, &self.bytes),
            Field::Start => or_dash(out, &self.start),
            Field::End => or_dash(out, &self.end),
            Field::Action => or_dash(out, &self.action),
            Field::LogStatus => or_dash(out, &self.status),
            Field::TcpFlags => or_dash(out, &self.tcp_flags),
            Field::Type => or_dash(out, &self.family),
            Field::PktSrcAddr => or_dash(out, &self.packet_source),
            Field::PktDstAddr => or_dash(out, &self.packet_destination),
            Field::FlowDirection => or_dash(out, &self.direction),
            // Only what leaves takes a path (VPC guide, field `traffic-path`).
            Field::TrafficPath if self.direction == Some(FlowDirection::Ingress) => out.write_char('-'),
            // A record without traffic has no services or paths, but an account and an interface.
            label => or_dash(out, &self.labels.get(&label).or_else(|| labels.get(&label))),
        };
    }
}

fn or_dash<T: fmt::Display>(out: &mut String, value: &Option<T>) -> fmt::Result {
    match value {
        Some(value) => write!(out, "{value}"),
        None => out.write_char('-'),
    }
}

fn number<T: FromStr>(word: &str, allowed: &'static str) -> Result<Option<T>, &'static str> {
    match word {
        "-" => Ok(None),
        // What `parse` takes and AWS does not write.
        _ if word.starts_with('+') => Err(allowed),
        _ => word.parse().map(Some).map_err(|_| allowed),
    }
}

/// `None`: none of the words.
fn one_of<T: Copy>(word: &str, words: &[(&str, T)]) -> Option<Option<T>> {
    match word {
        "-" => Some(None),
        _ => words.iter().find(|(name, _)| *name == word).map(|(_, value)| Some(*value)),
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Accept => "ACCEPT",
            Action::Reject => "REJECT",
        })
    }
}

impl fmt::Display for LogStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogStatus::Ok => "OK",
            LogStatus::NoData => "NODATA",
            LogStatus::SkipData => "SKIPDATA",
        })
    }
}
