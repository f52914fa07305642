//! Flow logs in Parquet: one column a field, its name with `_` for `-` (as Athena's tables name them), its type as the
//! VPC guide lists it ("Flow log files"); what is `-` in text is null in a number's column.

use super::read::Reader;
use super::{
    FIELDS, Field, FlowLogError, Format, Kind, Labels, Observation, OnBadRecord, ReadCounts, Record, Settings,
    aggregate,
};
use parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::Field as Value;
use parquet::schema::types::Type;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// Records that are written together.
const ROW_GROUP: usize = 1 << 17;

/// A column, or a file, in the making.
enum Column {
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Text(Vec<ByteArray>),
}

pub(super) fn write(
    out: &mut dyn Write,
    observations: impl Iterator<Item = Observation>,
    settings: &Settings,
) -> io::Result<()> {
    let schema = schema(settings.format()).map_err(io::Error::other)?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut file =
        SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::new(properties)).map_err(io::Error::other)?;
    let mut rows = Vec::new();
    aggregate(observations, settings.interval_s, |record| {
        rows.push(record.clone());
        if rows.len() == ROW_GROUP { row_group(&mut file, &mut rows, settings) } else { Ok(()) }
    })
    .and_then(|()| row_group(&mut file, &mut rows, settings))
    .map_err(io::Error::other)?;
    out.write_all(&file.into_inner().map_err(io::Error::other)?)
}

fn schema(format: &Format) -> Result<Type, ParquetError> {
    let column = |field: &Field| {
        let (physical, converted) = match field.kind() {
            Kind::Int32 => (Physical::INT32, ConvertedType::INT_32),
            Kind::Int64 => (Physical::INT64, ConvertedType::INT_64),
            Kind::Text => (Physical::BYTE_ARRAY, ConvertedType::UTF8),
        };
        let name = field.name().replace('-', "_");
        let builder = Type::primitive_type_builder(&name, physical);
        Ok(Arc::new(builder.with_converted_type(converted).with_repetition(Repetition::OPTIONAL).build()?))
    };
    let columns = format.fields().iter().map(column).collect::<Result<Vec<_>, ParquetError>>()?;
    Type::group_type_builder("flow_log").with_fields(columns).build()
}

fn row_group(
    file: &mut SerializedFileWriter<Vec<u8>>,
    rows: &mut Vec<Record>,
    settings: &Settings,
) -> Result<(), ParquetError> {
    let mut group = file.next_row_group()?;
    for field in settings.format().fields() {
        let Some(mut writer) = group.next_column()? else { break };
        let (column, present) = column(*field, settings.format().version(), &settings.labels, rows);
        match column {
            Column::Int32(values) => writer.typed::<Int32Type>().write_batch(&values, Some(&present), None)?,
            Column::Int64(values) => writer.typed::<Int64Type>().write_batch(&values, Some(&present), None)?,
            Column::Text(values) => writer.typed::<ByteArrayType>().write_batch(&values, Some(&present), None)?,
        };
        writer.close()?;
    }
    group.close()?;
    rows.clear();
    Ok(())
}

/// The values of a column, and for each row whether there is one.
fn column(field: Field, version: u8, labels: &Labels, rows: &[Record]) -> (Column, Vec<i16>) {
    let mut column = match field.kind() {
        Kind::Int32 => Column::Int32(Vec::new()),
        Kind::Int64 => Column::Int64(Vec::new()),
        Kind::Text => Column::Text(Vec::new()),
    };
    let mut word = String::new();
    let mut present = |record: &Record| {
        word.clear();
        record.word(field, version, labels, &mut word);
        let there = match &mut column {
            Column::Int32(values) => word.parse().map(|value| values.push(value)).is_ok(),
            Column::Int64(values) => word.parse().map(|value| values.push(value)).is_ok(),
            Column::Text(values) => {
                values.push(ByteArray::from(word.as_str()));
                true
            }
        };
        i16::from(there)
    };
    let present = rows.iter().map(&mut present).collect();
    (column, present)
}

pub(super) fn read(
    path: &Path,
    on_bad: OnBadRecord,
    each: &mut impl FnMut(&str, Record),
) -> Result<ReadCounts, FlowLogError> {
    let wrong = |problem: String| FlowLogError::Parquet { file: path.into(), problem };
    let file = File::open(path).map_err(|source| FlowLogError::Read { file: path.into(), source })?;
    let reader = SerializedFileReader::new(file).map_err(|error| wrong(error.to_string()))?;
    let names = reader.metadata().file_metadata().schema_descr().columns();
    let fields: Vec<Field> = names.iter().filter_map(|column| field(column.name())).collect();
    let format = Format::parse(&fields.iter().map(|field| field.name()).collect::<Vec<_>>().join(" "))?;
    let mut records = Reader::new(path, Some(&format), on_bad, "the file's schema");
    records.check_format()?;
    let rows = reader.get_row_iter(None).map_err(|error| wrong(error.to_string()))?;
    for (n, row) in (1u64..).zip(rows) {
        let row = row.map_err(|error| wrong(error.to_string()))?;
        let words: Vec<(Field, String)> =
            row.get_column_iter().filter_map(|(name, value)| Some((field(name)?, word(value)))).collect();
        let words = words.iter().map(|(field, word)| (*field, word.as_str()));
        records.record(&format!("row {n}"), words, each)?;
    }
    Ok(records.counts())
}

/// Columns that are no fields are none of ours.
fn field(column: &str) -> Option<Field> {
    FIELDS.iter().copied().find(|field| field.name() == column.replace('_', "-"))
}

fn word(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::Str(text) if text.is_empty() => "-".into(),
        Value::Str(text) => text.clone(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes.data()).into_owned(),
        Value::Int(number) => number.to_string(),
        Value::Long(number) => number.to_string(),
        other => other.to_string(),
    }
}
