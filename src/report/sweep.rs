//! The points of a sweep: a CSV row each, the file that they are kept in, and the result JSON made of them.

use super::csv::field;
use super::json;
use crate::measure::{Host, Run};
use serde_json::{Map, Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What tells points apart, then what was measured, then how.
const COLUMNS: [&str; 34] = [
    "engine",
    "cores",
    "steering",
    "rules",
    "flows",
    "churn",
    "burst",
    "capacity",
    "pps",
    "packets",
    "trace_flows",
    "security_group_rules",
    "network_acl_rules",
    "table_entries",
    "accept",
    "drop",
    "digest",
    "mpps",
    "mpps_low",
    "mpps_high",
    "ns_per_packet",
    "blocks",
    "noise_floor",
    "lost",
    "p50_ns",
    "p90_ns",
    "p99_ns",
    "p99_9_ns",
    "max_ns",
    "peak_entries",
    "inserts",
    "table_bytes",
    "error",
    "settings",
];

/// So many columns tell points apart.
const KEYS: usize = 9;

/// Columns that hold text; the others hold numbers.
const TEXTS: [&str; 5] = ["engine", "steering", "digest", "error", "settings"];

/// What is swept, and its value at a point; `None`: not swept, or left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// How packets reach cores.
    pub steering: &'static str,
    /// Made-up rules in each world.
    pub rules: Option<u64>,
    /// Flows that begin in a made-up trace.
    pub flows: Option<u64>,
    /// New flows a second of packet time in a made-up trace.
    pub churn: Option<u64>,
    /// Packets handed over at once.
    pub burst: u64,
    /// Entries of the tables.
    pub capacity: Option<u64>,
    /// Offered load in packets a second; `None`: closed loop.
    pub pps: Option<u64>,
}

impl Setting {
    /// What tells the point of this engine apart.
    pub fn key(&self, engine: &str, cores: usize) -> Vec<String> {
        let some = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
        vec![
            engine.to_owned(),
            cores.to_string(),
            self.steering.to_owned(),
            some(self.rules),
            some(self.flows),
            some(self.churn),
            self.burst.to_string(),
            some(self.capacity),
            some(self.pps),
        ]
    }
}

/// What is the same for all engines at a setting.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// Packets that engines evaluate.
    pub packets: usize,
    /// Flows in the trace.
    pub flows: usize,
    /// Rules of the security groups and of the network ACL.
    pub rules: [Option<usize>; 2],
    /// Entries of a table.
    pub entries: u64,
    /// No smaller difference between engines means anything.
    pub noise_floor: Option<f64>,
}

/// A point, column by column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point(Vec<String>);

impl Point {
    /// What a run came to. Figures of one with wrong verdicts are empty.
    pub fn new(setting: &Setting, run: &Run, around: &Circumstances, settings: &str) -> Self {
        let some = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
        let count = |value: Option<usize>| some(value.map(|value| value as u64));
        let right = run.error.is_none();
        let number = |value: f64, digits: usize| {
            if right && value.is_finite() { format!("{value:.digits$}") } else { String::new() }
        };
        let paced = setting.pps.is_some();
        let recording = if paced { &run.measured.paced.latency } else { &run.measured.latencies };
        let latency = recording.raw.histogram();
        let quantile =
            |q| if right && !latency.is_empty() { latency.value_at_quantile(q).to_string() } else { String::new() };
        let table = run.measured.counters.filter(|_| right);
        let mut row = setting.key(run.kind.name(), run.cores);
        row.extend([around.packets.to_string(), around.flows.to_string()]);
        row.extend(around.rules.map(count));
        row.extend([around.entries.to_string(), run.tally.accept.to_string(), run.tally.drop.to_string()]);
        row.push(run.digest().map(|digest| format!("{digest:016x}")).unwrap_or_default());
        row.extend([run.pps.value, run.pps.ci95[0], run.pps.ci95[1]].map(|pps| number(pps / 1e6, 4)));
        row.push(number(run.ns_per_packet(), 3));
        row.push(run.measured.pps.len().to_string());
        row.push(around.noise_floor.map_or(String::new(), |floor| number(floor, 4)));
        row.push(if paced { run.measured.paced.lost.to_string() } else { String::new() });
        row.extend([0.5, 0.9, 0.99, 0.999, 1.0].map(quantile));
        row.extend([some(table.map(|t| t.peak_entries)), some(table.map(|t| t.inserts)), run.table_bytes.to_string()]);
        row.extend([run.error.clone().unwrap_or_default(), settings.to_owned()]);
        Point(row)
    }

    /// What tells it apart.
    pub fn key(&self) -> &[String] {
        &self.0[..KEYS]
    }

    fn get(&self, column: &str) -> &str {
        COLUMNS.iter().position(|name| *name == column).map_or("", |at| &self.0[at])
    }

    /// What is wrong with it, if anything.
    pub fn error(&self) -> Option<&str> {
        Some(self.get("error")).filter(|error| !error.is_empty())
    }

    /// A line for the terminal.
    pub fn line(&self) -> String {
        let mut text = format!("{:28} {:>5} {:10}", self.get("engine"), self.get("cores"), self.get("steering"));
        for column in &COLUMNS[3..KEYS] {
            text += &format!(" {:>9}", if self.get(column).is_empty() { "-" } else { self.get(column) });
        }
        match self.error() {
            Some(error) => text += &format!("  ERROR: {error}"),
            None => {
                for (column, width) in [("mpps", 10), ("ns_per_packet", 13), ("p50_ns", 8), ("p99_ns", 9), ("lost", 8)]
                {
                    text += &format!(" {:>width$}", if self.get(column).is_empty() { "-" } else { self.get(column) });
                }
            }
        }
        text
    }

    /// Its line of CSV.
    pub fn row(&self) -> String {
        self.0.iter().map(|text| field(text)).collect::<Vec<_>>().join(",") + "\n"
    }

    fn json(&self) -> Value {
        let value = |(name, text): (&&str, &String)| {
            let value = match text.as_str() {
                "" => Value::Null,
                text if TEXTS.contains(name) => json!(text),
                text => text
                    .parse::<u64>()
                    .map(|n| json!(n))
                    .or_else(|_| text.parse::<f64>().map(|n| json!(n)))
                    .unwrap_or(json!(text)),
            };
            ((*name).to_owned(), value)
        };
        let columns = COLUMNS.iter().zip(&self.0).filter(|(name, _)| **name != "settings");
        Value::Object(columns.map(value).collect::<Map<_, _>>())
    }
}

/// The terminal's header line.
pub fn head() -> String {
    let mut text = format!("{:28} {:>5} {:10}", "engine", "cores", "steering");
    for column in &COLUMNS[3..KEYS] {
        text += &format!(" {column:>9}");
    }
    text + &format!(" {:>10} {:>13} {:>8} {:>9} {:>8}\n", "mpps", "ns_per_packet", "p50_ns", "p99_ns", "lost")
}

/// Why points cannot be added to a file.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The system says no.
    #[error("writing {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is something else in the file.
    #[error("{} is there, and is no sweep of this ctbench (its first line is another): name another file", path.display())]
    Other {
        /// The file.
        path: PathBuf,
    },
    /// A line is not one of ours.
    #[error("{}:{line}: not a row of {} columns: name another file, or mend this one", path.display(), COLUMNS.len())]
    Row {
        /// The file.
        path: PathBuf,
        /// Its line.
        line: usize,
    },
    /// The points there were measured otherwise.
    #[error("{} was measured with other settings, and points of both cannot stand side by side: name another file, or use the same settings\n  there: {there}\n  here:  {here}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// Its settings.
        there: String,
        /// Ours.
        here: String,
    },
}

/// The file of a sweep: what is in it need not be measured again.
pub struct SweepFile {
    path: PathBuf,
    file: File,
}

impl SweepFile {
    /// Opens or makes the file, and returns the points in it. A last line that was cut short is removed. Points of other
    /// settings are refused.
    pub fn open(path: &Path, settings: &str) -> Result<(Self, Vec<Point>), SweepError> {
        let io = |source| SweepError::Io { path: path.to_owned(), source };
        let header = COLUMNS.join(",") + "\n";
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        // What cannot be read again, such as a pipe, is only written to.
        let mut text = String::new();
        if file.metadata().map_err(io)?.is_file() {
            file.read_to_string(&mut text).map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData => SweepError::Other { path: path.to_owned() },
                _ => io(error),
            })?;
        }
        let (whole, cut) = text.split_at(text.rfind('\n').map_or(0, |end| end + 1));
        let points = match whole.strip_prefix(&header) {
            Some(rows) => {
                let row = |(n, line): (usize, &str)| {
                    let fields = fields(line).filter(|fields| fields.len() == COLUMNS.len());
                    fields.map(Point).ok_or(SweepError::Row { path: path.to_owned(), line: n + 2 })
                };
                rows.lines().enumerate().map(row).collect::<Result<Vec<_>, _>>()?
            }
            None if whole.is_empty() && header.starts_with(cut) => Vec::new(),
            None => return Err(SweepError::Other { path: path.to_owned() }),
        };
        if let Some(other) = points.iter().find(|point| point.get("settings") != settings) {
            let there = super::result::plain(other.get("settings"));
            return Err(SweepError::Settings { path: path.to_owned(), there, here: settings.to_owned() });
        }
        if !cut.is_empty() {
            file.set_len(whole.len() as u64).map_err(io)?;
            file.seek(SeekFrom::End(0)).map_err(io)?;
        }
        let mut opened = SweepFile { path: path.to_owned(), file };
        if whole.is_empty() {
            opened.append(&header)?;
        }
        Ok((opened, points))
    }

    /// Adds a point; it is in the file when this returns.
    pub fn add(&mut self, point: &Point) -> Result<(), SweepError> {
        self.append(&point.row())
    }

    fn append(&mut self, text: &str) -> Result<(), SweepError> {
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.flush());
        written.map_err(|source| SweepError::Io { path: self.path.clone(), source })
    }
}

/// The header and all points, for who reads from a pipe.
pub fn csv(points: &[Point]) -> String {
    let rows: String = points.iter().map(Point::row).collect();
    COLUMNS.join(",") + "\n" + &rows
}

/// A line's fields, as [`field`] writes them; `None` if a quote is left open.
fn fields(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        let last = fields.last_mut()?;
        match c {
            '"' if quoted && characters.next_if_eq(&'"').is_some() => last.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => last.push(c),
        }
    }
    (!quoted).then_some(fields)
}

/// The result JSON of a sweep.
pub fn document(
    title: &str,
    started: SystemTime,
    host: &Host,
    settings: &str,
    points: &[Point],
    partial: bool,
) -> Value {
    let started = started.duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    json!({
        "schema": json::SCHEMA,
        "ctbench": json::program(),
        "command": super::command_line(),
        "partial": partial,
        "started": started,
        "host": host,
        "scenario": { "name": title },
        "runs": [],
        "sweep": {
            "settings": settings,
            "points": points.iter().map(Point::json).collect::<Vec<_>>(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(engine: &str, settings: &str) -> Point {
        let mut row = vec![String::new(); COLUMNS.len()];
        (row[0], row[1], row[17], row[33]) = (engine.into(), "2".into(), "1.5".into(), settings.into());
        Point(row)
    }

    #[test]
    fn what_was_written_is_read_again_and_a_cut_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sweep.csv");
        let settings = "web, \"1\" s";
        let (mut file, points) = SweepFile::open(&path, settings).unwrap();
        assert!(points.is_empty());
        file.add(&point("a", settings)).unwrap();
        file.append("b,2,symm").unwrap();
        let (mut file, points) = SweepFile::open(&path, settings).unwrap();
        assert_eq!(points, [point("a", settings)]);
        file.add(&point("b", settings)).unwrap();
        let (_, points) = SweepFile::open(&path, settings).unwrap();
        assert_eq!(points, [point("a", settings), point("b", settings)]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), csv(&points));
    }

    #[test]
    fn other_files_and_other_settings_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sweep.csv");
        let (mut file, _) = SweepFile::open(&path, "one").unwrap();
        file.add(&point("a", "one")).unwrap();
        let error = SweepFile::open(&path, "two").err().unwrap().to_string();
        assert!(error.contains("there: one") && error.contains("here:  two"), "{error}");
        file.append("a,b\n").unwrap();
        let error = SweepFile::open(&path, "one").err().unwrap().to_string();
        assert!(error.contains("sweep.csv:3"), "{error}");
        for other in ["engine,cores\n", "no line end", "\u{0}\n"] {
            std::fs::write(&path, other).unwrap();
            let error = SweepFile::open(&path, "one").err().unwrap().to_string();
            assert!(error.contains("no sweep"), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), other, "left as it was");
        }
    }

    #[test]
    fn numbers_are_numbers_in_json() {
        let value = point("a", "s").json();
        assert_eq!((&value["engine"], &value["cores"], &value["mpps"]), (&json!("a"), &json!(2), &json!(1.5)));
        assert_eq!(value["p50_ns"], Value::Null);
        assert!(value.get("settings").is_none());
    }
}
