//! Why a frame never reaches an engine. Each cause is a counted outcome.

use std::fmt;

/// A frame that is not evaluated, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ignored {
    /// The link type of its interface is not supported.
    LinkType,
    /// Not IPv4 or IPv6 (ARP, LLDP, ...).
    NotIp,
    /// IP, but unreadable.
    Malformed(Malformed),
    /// No end is a protected address.
    NeitherInside,
    /// Both ends are protected addresses.
    BothInside,
    /// Never filtered by AWS (profile `aws` only).
    Exempt(Exempt),
}

/// What is wrong with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Malformed {
    /// The link-layer header is cut off.
    LinkHeader,
    /// The IP header is cut off, shorter than its minimum, or longer than the packet.
    IpHeader,
    /// The IP total length is shorter than the IP header, or over 65,535 bytes.
    IpLength,
    /// An IPv6 extension header chain that cannot be followed.
    Extensions,
    /// The capture holds too little of the transport header to know the flow.
    Transport,
}

/// Traffic that AWS filters with neither security groups nor network ACLs
/// (VPC guide, "Security groups": Amazon DNS, DHCP, instance metadata, time sync, ...).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Exempt {
    /// DHCP (UDP 67 and 68) and DHCPv6 (UDP 546 and 547).
    Dhcp,
    /// The Amazon DNS resolver: 169.254.169.253, fd00:ec2::253 or, where an inventory tells the VPC's addresses,
    /// the one two above its base (port 53).
    Dns,
    /// Instance metadata, 169.254.169.254 or fd00:ec2::254.
    Metadata,
    /// Amazon Time Sync, 169.254.169.123 or fd00:ec2::123.
    TimeSync,
    /// ECS task metadata, 169.254.170.2.
    TaskMetadata,
    /// Windows licence activation, 169.254.169.250 and .251.
    WindowsLicence,
    /// The default router of a subnet that an inventory tells of.
    Router,
}

impl Ignored {
    /// The word of the verdict CSV's `reason` column.
    pub fn reason(self) -> &'static str {
        match self {
            Ignored::LinkType => "link-type",
            Ignored::NotIp => "not-ip",
            Ignored::Malformed(Malformed::LinkHeader) => "malformed:link-header",
            Ignored::Malformed(Malformed::IpHeader) => "malformed:ip-header",
            Ignored::Malformed(Malformed::IpLength) => "malformed:ip-length",
            Ignored::Malformed(Malformed::Extensions) => "malformed:ipv6-extensions",
            Ignored::Malformed(Malformed::Transport) => "malformed:transport-cut",
            Ignored::NeitherInside => "neither-inside",
            Ignored::BothInside => "both-inside",
            Ignored::Exempt(Exempt::Dhcp) => "exempt:dhcp",
            Ignored::Exempt(Exempt::Dns) => "exempt:dns",
            Ignored::Exempt(Exempt::Metadata) => "exempt:metadata",
            Ignored::Exempt(Exempt::TimeSync) => "exempt:time-sync",
            Ignored::Exempt(Exempt::TaskMetadata) => "exempt:task-metadata",
            Ignored::Exempt(Exempt::WindowsLicence) => "exempt:windows-licence",
            Ignored::Exempt(Exempt::Router) => "exempt:router",
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}
