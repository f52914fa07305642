//! Records from a file, recognised by content: text with or without a header line, in gzip or not, as S3 holds it or
//! as CloudWatch Logs exports it; log events in JSON; Parquet.

use super::{Field, FlowLogError, Format, LogStatus, Record};
use flate2::read::MultiGzDecoder;
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// The longest line that may be a record: all fields, with the longest ARNs, take a tenth of it.
const MAX_LINE: usize = 64 << 10;

/// The most JSON that is read: `aws logs filter-log-events` prints at most 1 MiB a page.
const MAX_JSON: usize = 64 << 20;

/// What to do with a record that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBadRecord {
    /// Stop with the error.
    Stop,
    /// Count it and go on.
    Skip,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadCounts {
    /// Records handed out.
    pub records: u64,
    /// Records that could not be read and were left out.
    pub bad: u64,
    /// What was wrong with the first of them.
    pub first_bad: Option<String>,
}

/// Hands out the records of a file, each with its place in it ("line 7"), one at a time: the file may be larger than
/// the memory. `format` is that of lines before any header line; version 2 if not given.
///
/// # Errors
/// [`FlowLogError`] names file, line and field, and what is allowed there.
pub fn read(
    path: &Path,
    format: Option<&Format>,
    on_bad: OnBadRecord,
    mut each: impl FnMut(&str, Record),
) -> Result<ReadCounts, FlowLogError> {
    let io_error = |source| FlowLogError::Read { file: path.into(), source };
    let mut input = BufReader::new(File::open(path).map_err(io_error)?);
    if input.fill_buf().map_err(io_error)?.starts_with(&[0x1f, 0x8b]) {
        // Exports are concatenated: a file may hold several members.
        return lines(path, BufReader::new(MultiGzDecoder::new(input)), format, on_bad, &mut each);
    }
    if input.fill_buf().map_err(io_error)?.starts_with(b"PAR1") {
        return parquet(path, on_bad, &mut each);
    }
    lines(path, input, format, on_bad, &mut each)
}

fn lines(
    path: &Path,
    mut input: impl BufRead,
    format: Option<&Format>,
    on_bad: OnBadRecord,
    each: &mut impl FnMut(&str, Record),
) -> Result<ReadCounts, FlowLogError> {
    let io_error = |source| FlowLogError::Read { file: path.into(), source };
    let start = input.fill_buf().map_err(io_error)?;
    if start.trim_ascii_start().first() == Some(&b'{') {
        return events(path, input, format, on_bad, each);
    }
    let mut reader = Reader::new(path, format, on_bad, "--flow-log-format");
    let mut line = Vec::new();
    for number in 1u64.. {
        let place = format!("line {number}");
        line.clear();
        let read = (&mut input).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line).map_err(io_error)?;
        if read == 0 {
            break;
        }
        if line.len() > MAX_LINE {
            return Err(FlowLogError::TooLong { file: path.into(), place, limit: MAX_LINE });
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_start_matches('\u{feff}').trim();
        if Format::is_header(text) {
            reader.format = Format::parse(text)?;
            reader.told_at = place;
            reader.check_format()?;
        } else if !text.is_empty() {
            reader.line(&place, text, each)?;
        }
    }
    Ok(reader.counts)
}

/// `{"events": [{"message": "…"}, …]}`
fn events(
    path: &Path,
    input: impl Read,
    format: Option<&Format>,
    on_bad: OnBadRecord,
    each: &mut impl FnMut(&str, Record),
) -> Result<ReadCounts, FlowLogError> {
    let not_events = |problem: String| FlowLogError::NotEvents { file: path.into(), problem };
    let mut text = Vec::new();
    input
        .take(MAX_JSON as u64 + 1)
        .read_to_end(&mut text)
        .map_err(|source: io::Error| FlowLogError::Read { file: path.into(), source })?;
    if text.len() > MAX_JSON {
        return Err(not_events(format!("larger than {} MiB; write the messages alone, a line each", MAX_JSON >> 20)));
    }
    let document: Value = serde_json::from_slice(&text).map_err(|error| not_events(error.to_string()))?;
    let list =
        document.get("events").and_then(Value::as_array).ok_or_else(|| not_events("it has no `events`".into()))?;
    let mut reader = Reader::new(path, format, on_bad, "--flow-log-format");
    for (n, event) in list.iter().enumerate() {
        let place = format!("events[{n}].message");
        let message = event.get("message").and_then(Value::as_str);
        let message = message.ok_or_else(|| not_events(format!("{place}: missing, or no text")))?;
        reader.line(&place, message.trim(), each)?;
    }
    Ok(reader.counts)
}

/// Lines to records.
pub(super) struct Reader<'a> {
    path: &'a Path,
    format: Format,
    told_at: String,
    on_bad: OnBadRecord,
    counts: ReadCounts,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a Path, format: Option<&Format>, on_bad: OnBadRecord, told_at: &str) -> Self {
        let (told_at, format) = match format {
            Some(format) => (told_at, format.clone()),
            None => ("no header line, so version 2", Format::default()),
        };
        Reader { path, format, told_at: told_at.into(), on_bad, counts: ReadCounts::default() }
    }

    fn line(&mut self, place: &str, text: &str, each: &mut impl FnMut(&str, Record)) -> Result<(), FlowLogError> {
        if self.counts.records == 0 {
            self.check_format()?;
        }
        let wanted = self.format.fields().len();
        let mut words: Vec<&str> = text.split_whitespace().collect();
        // CloudWatch Logs puts the time before each message that it exports to S3.
        if words.len() == wanted + 1 && is_timestamp(words[0]) {
            words.remove(0);
        }
        if words.len() != wanted {
            return self.bad(FlowLogError::Columns {
                file: self.path.into(),
                place: place.into(),
                found: words.len(),
                wanted,
                format: self.format.header(),
            });
        }
        let fields = self.format.fields().to_vec();
        self.record(place, fields.into_iter().zip(words), each)
    }

    /// One record out of its words.
    pub(super) fn record<'w>(
        &mut self,
        place: &str,
        words: impl Iterator<Item = (Field, &'w str)>,
        each: &mut impl FnMut(&str, Record),
    ) -> Result<(), FlowLogError> {
        let mut record = Record::empty(LogStatus::Ok, 0, 0);
        (record.start, record.end, record.status) = (None, None, None);
        for (field, word) in words {
            if let Err(allowed) = record.set(field, word) {
                return self.bad(FlowLogError::Value {
                    file: self.path.into(),
                    place: place.into(),
                    field: field.name(),
                    value: word.chars().take(60).collect(),
                    allowed,
                });
            }
        }
        self.counts.records += 1;
        each(place, record);
        Ok(())
    }

    pub(super) fn bad(&mut self, error: FlowLogError) -> Result<(), FlowLogError> {
        if self.on_bad == OnBadRecord::Stop {
            return Err(error);
        }
        self.counts.bad += 1;
        self.counts.first_bad.get_or_insert_with(|| error.to_string());
        Ok(())
    }

    /// The fields without which no record can be compared.
    pub(super) fn check_format(&self) -> Result<(), FlowLogError> {
        use Field::*;
        let needed: [&[Field]; 8] = [
            &[SrcAddr, PktSrcAddr],
            &[DstAddr, PktDstAddr],
            &[SrcPort],
            &[DstPort],
            &[Protocol],
            &[Start],
            &[End],
            &[Action],
        ];
        match needed.iter().find(|any| !any.iter().any(|field| self.format.fields().contains(field))) {
            None => Ok(()),
            Some(any) => Err(FlowLogError::Needs {
                file: self.path.into(),
                place: self.told_at.clone(),
                field: any.iter().map(|field| field.name()).collect::<Vec<_>>().join(" or "),
                format: self.format.header(),
            }),
        }
    }

    #[cfg(feature = "parquet")]
    pub(super) fn counts(self) -> ReadCounts {
        self.counts
    }
}

/// As CloudWatch Logs writes it: `2014-12-14T04:07:50.000Z`.
fn is_timestamp(word: &str) -> bool {
    let bytes = word.as_bytes();
    bytes.len() >= 20 && bytes[4] == b'-' && bytes[10] == b'T' && bytes[bytes.len() - 1] == b'Z'
}

#[cfg(feature = "parquet")]
use super::parquet::read as parquet;

#[cfg(not(feature = "parquet"))]
fn parquet(path: &Path, _: OnBadRecord, _: &mut impl FnMut(&str, Record)) -> Result<ReadCounts, FlowLogError> {
    let problem = "this ctbench reads none: build it with --features parquet, or let the flow log write text".into();
    Err(FlowLogError::Parquet { file: path.into(), problem })
}
