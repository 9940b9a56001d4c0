//! Parquet files that claim more than they hold, or hold more than they claim, written byte by byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::sync::Arc;

use common::sources::{gzip, read_file, texts};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// A structure in Thrift's compact protocol.
#[derive(Default)]
struct Struct {
    bytes: Vec<u8>,
    last: u8,
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn zigzag(value: i64) -> Vec<u8> {
    varint((value << 1 ^ value >> 63) as u64)
}

impl Struct {
    fn field(mut self, number: u8, kind: u8, value: &[u8]) -> Self {
        self.bytes.push((number - self.last) << 4 | kind);
        self.bytes.extend_from_slice(value);
        self.last = number;
        self
    }

    fn i32(self, number: u8, value: i64) -> Self {
        self.field(number, 5, &zigzag(value))
    }

    fn i64(self, number: u8, value: i64) -> Self {
        self.field(number, 6, &zigzag(value))
    }

    fn name(self, number: u8, value: &str) -> Self {
        let bytes = [varint(value.len() as u64), value.as_bytes().to_vec()].concat();
        self.field(number, 8, &bytes)
    }

    fn inner(self, number: u8, value: Struct) -> Self {
        self.field(number, 12, &value.end())
    }

    fn list(self, number: u8, kind: u8, items: &[Vec<u8>]) -> Self {
        self.claimed_list(number, kind, items.len() as u64, items)
    }

    /// A list that says it has so many items.
    fn claimed_list(self, number: u8, kind: u8, count: u64, items: &[Vec<u8>]) -> Self {
        let bytes = [vec![0xF0 | kind], varint(count), items.concat()].concat();
        self.field(number, 9, &bytes)
    }

    fn end(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

/// A file of one column `text` and one page, and what it says of them.
struct Table {
    /// 0 is none, 1 Snappy, 2 gzip.
    codec: i64,
    body: Vec<u8>,
    uncompressed: i64,
    values: i64,
    rows: i64,
    row_groups: u64,
    /// Groups around the column.
    depth: usize,
    /// 0 is required, 2 repeated.
    repetition: i64,
}

/// The plain encoding of some texts.
fn plain(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| [&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()).collect()
}

impl Default for Table {
    fn default() -> Self {
        let body = plain(&["one", "春眠"]);
        let uncompressed = body.len() as i64;
        Self { codec: 0, body, uncompressed, values: 2, rows: 2, row_groups: 1, depth: 0, repetition: 0 }
    }
}

impl Table {
    fn bytes(&self) -> Vec<u8> {
        let data = Struct::default().i32(1, self.values).i32(2, 0).i32(3, 3).i32(4, 3);
        let compressed = self.body.len() as i64;
        let header = Struct::default().i32(1, 0).i32(2, self.uncompressed).i32(3, compressed).inner(5, data).end();
        let mut file = [b"PAR1".to_vec(), header, self.body.clone()].concat();
        let size = file.len() as i64 - 4;
        let mut path = vec!["g"; self.depth];
        path.push("text");
        let path: Vec<Vec<u8>> = path.iter().map(|name| [&[name.len() as u8], name.as_bytes()].concat()).collect();
        let column = Struct::default()
            .i32(1, 6)
            .list(2, 5, &[zigzag(0)])
            .list(3, 8, &path)
            .i32(4, self.codec)
            .i64(5, self.values)
            .i64(6, size)
            .i64(7, size)
            .i64(9, 4);
        let chunk = Struct::default().i64(2, 4).inner(3, column).end();
        let group = Struct::default().list(1, 12, &[chunk]).i64(2, size).i64(3, self.rows).end();
        let mut schema = vec![Struct::default().name(4, "root").i32(5, 1).end()];
        schema.extend((0..self.depth).map(|_| Struct::default().i32(3, 0).name(4, "g").i32(5, 1).end()));
        schema.push(Struct::default().i32(1, 6).i32(3, self.repetition).name(4, "text").i32(6, 0).end());
        let metadata = Struct::default()
            .i32(1, 1)
            .list(2, 12, &schema)
            .i64(3, self.rows)
            .claimed_list(4, 12, self.row_groups, &[group])
            .end();
        file.extend_from_slice(&metadata);
        file.extend_from_slice(&(metadata.len() as u32).to_le_bytes());
        file.extend_from_slice(b"PAR1");
        file
    }
}

#[test]
fn sound_tables_are_read() {
    for table in [Table::default(), Table { codec: 2, body: gzip(&plain(&["one", "春眠"])), ..Default::default() }] {
        let (documents, problems) = read_file("a.parquet", &table.bytes(), |_| ());
        assert_eq!((texts(&documents), problems), (vec!["one", "春眠"], vec![]));
    }
}

#[test]
fn what_a_table_claims_is_not_believed() {
    let check = |table: Table, expect: &str| {
        let (documents, problems) = read_file("a.parquet", &table.bytes(), |_| ());
        assert!(documents.is_empty() && problems.len() == 1, "{expect}: {documents:?} {problems:?}");
        assert!(problems[0].starts_with("a.parquet") && problems[0].contains(expect), "{expect}: {problems:?}");
    };
    let most = i64::from(i32::MAX);
    check(Table { codec: 1, uncompressed: most, ..Default::default() }, "have become 2147483647");
    check(Table { codec: 1, uncompressed: most, ..Default::default() }, "the source's max_decompressed_ratio");
    check(Table { codec: 1, uncompressed: -5, ..Default::default() }, "a negative size");
    let bomb = gzip(&vec![b' '; 100 << 20]);
    check(Table { codec: 2, body: bomb, ..Default::default() }, "a page of column \"text\" holds more than it claims");
    check(Table { rows: 1 << 40, ..Default::default() }, "has 2 values in 1099511627776 rows");
    check(Table { row_groups: most as u64, ..Default::default() }, "claims to hold more than its bytes can");
    check(Table { depth: 100_000, ..Default::default() }, "groups of columns too deep within each other");
    let lists = Table { values: 1 << 30, rows: 1, repetition: 2, ..Default::default() };
    check(lists, "claim to hold 1073741824 values of lists");
}

/// A table of rows with a text and a list of `count` tags, all of them references to one of `length` bytes.
fn tagged(rows: usize, count: usize, length: usize) -> Vec<u8> {
    let schema = "message tagged { required binary text (UTF8); repeated binary tags (UTF8); }";
    let properties = WriterProperties::builder()
        .set_dictionary_page_size_limit(64 << 20)
        .set_statistics_enabled(EnabledStatistics::None)
        .build();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    let mut group = file.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let texts = vec![ByteArray::from("春眠"); rows];
    column.typed::<ByteArrayType>().write_batch(&texts, None, None).unwrap();
    column.close().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    let tags = vec![ByteArray::from(vec![b'a'; length]); rows * count];
    let repetitions: Vec<i16> = (0..rows * count).map(|index| i16::from(index % count > 0)).collect();
    let definitions = vec![1i16; rows * count];
    column.typed::<ByteArrayType>().write_batch(&tags, Some(&definitions), Some(&repetitions)).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    file.into_inner().unwrap()
}

#[test]
fn a_list_of_references_to_one_long_text_is_as_long_as_it_becomes() {
    let read = |bytes: &[u8]| read_file("a.parquet", bytes, |source| source.max_record_mebibytes = 16);
    // All rows together are longer, which is no matter.
    let (documents, problems) = read(&tagged(8, 4, 1 << 20));
    assert_eq!((documents.len(), problems), (8, vec![]));
    let bomb = tagged(2, 300, 1 << 20);
    assert!(bomb.len() < 2 << 20, "{}", bomb.len());
    let (documents, problems) = read(&bomb);
    assert!(documents.is_empty() && problems.len() == 1, "{problems:?}");
    let expect = "refused: the lists of a row are longer than 16 MiB, the source's max_record_mebibytes";
    assert!(problems[0].contains(expect), "{problems:?}");
}

#[test]
fn damage_anywhere_is_a_problem_and_no_crash() {
    let bytes = Table { codec: 2, body: gzip(&plain(&["one", "春眠"])), ..Default::default() }.bytes();
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7F, 0x80, 0xFF, bytes[at] ^ 1, bytes[at] ^ 0x10] {
            let mut changed = bytes.clone();
            changed[at] = value;
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("a.parquet"), &changed).unwrap();
            // An error is one, too: a table without the column.
            if let Ok((documents, problems)) = common::sources::read(dir.path(), &common::sources::source("a.parquet"))
            {
                assert!(documents.len() <= 2 && problems.len() <= 2, "{at} {value}: {problems:?}");
            }
        }
    }
    for cut in 0..bytes.len() {
        let (documents, problems) = read_file("a.parquet", &bytes[..cut], |_| ());
        assert!(documents.is_empty() && problems.len() == 1, "{cut}: {problems:?}");
    }
}
