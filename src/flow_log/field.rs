//! The fields of a flow log, and which of them a line holds, in which order.

use super::FlowLogError;
use std::collections::BTreeMap;
use std::fmt;

/// What a field holds, as its Parquet type tells (VPC guide, "Flow log files").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A 32-bit number.
    Int32,
    /// A 64-bit number.
    Int64,
    /// Anything else.
    Text,
}

macro_rules! fields {
    ($($field:ident $name:literal $version:literal $kind:ident;)*) => {
        /// A field that AWS documents, by its name there.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Field {
            $(#[doc = concat!("`", $name, "`, version ", stringify!($version), ".")] $field,)*
        }

        /// All of them.
        pub const FIELDS: &[Field] = &[$(Field::$field),*];

        impl Field {
            /// As formats and header lines name it.
            pub fn name(self) -> &'static str {
                match self { $(Field::$field => $name,)* }
            }

            /// The version of flow logs that brought it.
            pub fn version(self) -> u8 {
                match self { $(Field::$field => $version,)* }
            }

            /// What it holds.
            pub fn kind(self) -> Kind {
                match self { $(Field::$field => Kind::$kind,)* }
            }
        }
    };
}

fields! {
    Version "version" 2 Int32;
    AccountId "account-id" 2 Text;
    InterfaceId "interface-id" 2 Text;
    SrcAddr "srcaddr" 2 Text;
    DstAddr "dstaddr" 2 Text;
    SrcPort "srcport" 2 Int32;
    DstPort "dstport" 2 Int32;
    Protocol "protocol" 2 Int32;
    Packets "packets" 2 Int64;
    Bytes "bytes" 2 Int64;
    Start "start" 2 Int64;
    End "end" 2 Int64;
    Action "action" 2 Text;
    LogStatus "log-status" 2 Text;
    VpcId "vpc-id" 3 Text;
    SubnetId "subnet-id" 3 Text;
    InstanceId "instance-id" 3 Text;
    TcpFlags "tcp-flags" 3 Int32;
    Type "type" 3 Text;
    PktSrcAddr "pkt-srcaddr" 3 Text;
    PktDstAddr "pkt-dstaddr" 3 Text;
    Region "region" 4 Text;
    AzId "az-id" 4 Text;
    SublocationType "sublocation-type" 4 Text;
    SublocationId "sublocation-id" 4 Text;
    PktSrcAwsService "pkt-src-aws-service" 5 Text;
    PktDstAwsService "pkt-dst-aws-service" 5 Text;
    FlowDirection "flow-direction" 5 Text;
    TrafficPath "traffic-path" 5 Int32;
    EcsClusterArn "ecs-cluster-arn" 7 Text;
    EcsClusterName "ecs-cluster-name" 7 Text;
    EcsContainerInstanceArn "ecs-container-instance-arn" 7 Text;
    EcsContainerInstanceId "ecs-container-instance-id" 7 Text;
    EcsContainerId "ecs-container-id" 7 Text;
    EcsSecondContainerId "ecs-second-container-id" 7 Text;
    EcsServiceName "ecs-service-name" 7 Text;
    EcsTaskDefinitionArn "ecs-task-definition-arn" 7 Text;
    EcsTaskArn "ecs-task-arn" 7 Text;
    EcsTaskId "ecs-task-id" 7 Text;
    RejectReason "reject-reason" 8 Text;
    ResourceId "resource-id" 9 Text;
    EncryptionStatus "encryption-status" 10 Text;
}

/// The latest version that is written. Later fields are read, and carried.
pub(super) const LAST_WRITTEN: u8 = 5;

impl Field {
    /// The field of this name.
    pub fn named(name: &str) -> Option<Field> {
        FIELDS.iter().copied().find(|field| field.name() == name)
    }

    /// True if no capture tells it: it is `-` unless the user says what it is.
    pub fn is_label(self) -> bool {
        use Field::*;
        !matches!(
            self,
            Version
                | SrcAddr
                | DstAddr
                | SrcPort
                | DstPort
                | Protocol
                | Packets
                | Bytes
                | Start
                | End
                | Action
                | LogStatus
                | TcpFlags
                | Type
                | PktSrcAddr
                | PktDstAddr
                | FlowDirection
        )
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What no capture tells: account, interface, region…
pub type Labels = BTreeMap<Field, String>;

/// The fields of a line, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    fields: Vec<Field>,
}

impl Default for Format {
    /// Version 2, the default of AWS.
    fn default() -> Self {
        Format { fields: FIELDS.iter().copied().filter(|field| field.version() == 2).collect() }
    }
}

impl Format {
    /// Reads `${version} ${account-id} …`, as `aws ec2 create-flow-logs --log-format` takes it, or a header line,
    /// `version account-id …`.
    ///
    /// # Errors
    /// No field, an unknown one, or one twice.
    pub fn parse(text: &str) -> Result<Format, FlowLogError> {
        let mut fields: Vec<Field> = Vec::new();
        let wrong = |problem: String| FlowLogError::Format { problem };
        for word in text.split_whitespace() {
            let name = word.strip_prefix("${").and_then(|word| word.strip_suffix('}')).unwrap_or(word);
            let known = || FIELDS.iter().map(|field| field.name()).collect::<Vec<_>>().join(" ");
            let field =
                Field::named(name).ok_or_else(|| wrong(format!("there is no field {word:?}; fields: {}", known())))?;
            if fields.contains(&field) {
                return Err(wrong(format!("field {field} stands twice; each may be given once")));
            }
            fields.push(field);
        }
        if fields.is_empty() {
            return Err(wrong("it names no field; write for example '${version} ${srcaddr} ${dstaddr}'".into()));
        }
        Ok(Format { fields })
    }

    /// The fields.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The highest version among the fields: what the field `version` says.
    pub fn version(&self) -> u8 {
        self.fields.iter().map(|field| field.version()).max().unwrap_or(2)
    }

    /// The header line of a file in S3, without its end.
    pub fn header(&self) -> String {
        self.fields.iter().map(|field| field.name()).collect::<Vec<_>>().join(" ")
    }

    /// True if all words are names of fields: no record reads so.
    pub(super) fn is_header(line: &str) -> bool {
        let mut words = line.split_whitespace().peekable();
        words.peek().is_some() && words.all(|word| Field::named(word).is_some())
    }
}
