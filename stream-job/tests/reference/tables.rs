//! Tables as plain rows, and how two of them are compared.

use std::collections::BTreeMap;
use std::fmt;

/// One value, whatever its column's type.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    /// Every integer, flag and time.
    Number(i128),
    /// The bits of a float.
    Real(u64),
    /// Text or bytes.
    Text(Vec<u8>),
    /// An array.
    List(Vec<Cell>),
    /// A map, or an array of pairs, in the order written.
    Pairs(Vec<(Cell, Cell)>),
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Number(number) => write!(f, "{number}"),
            Cell::Real(bits) => write!(f, "{:?}", f64::from_bits(*bits)),
            Cell::Text(bytes) => write!(f, "{:?}", String::from_utf8_lossy(bytes)),
            Cell::List(cells) => write!(f, "{cells:?}"),
            Cell::Pairs(pairs) => write!(f, "{pairs:?}"),
        }
    }
}

macro_rules! numbers {
    ($($rust:ty),*) => {$(
        impl From<$rust> for Cell {
            fn from(number: $rust) -> Cell {
                Cell::Number(i128::from(number))
            }
        }
    )*};
}
numbers!(bool, u8, u16, u32, u64, i16, i32, i64);

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.as_bytes().to_vec())
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Cell {
        Cell::from(text.as_str())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text.into_bytes())
    }
}

impl From<&[u8]> for Cell {
    fn from(bytes: &[u8]) -> Cell {
        Cell::Text(bytes.to_vec())
    }
}

impl From<f64> for Cell {
    fn from(number: f64) -> Cell {
        Cell::Real(number.to_bits())
    }
}

/// A list of texts.
pub fn texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Cell {
    Cell::List(
        texts
            .into_iter()
            .map(|text| Cell::from(text.as_ref()))
            .collect(),
    )
}

/// Counts by bucket.
pub fn buckets(counts: &BTreeMap<i16, u64>) -> Cell {
    Cell::Pairs(
        counts
            .iter()
            .map(|(&bucket, &count)| (bucket.into(), count.into()))
            .collect(),
    )
}

/// Columns by name.
pub type Row = BTreeMap<&'static str, Cell>;

/// `row! { name: value, … }`
macro_rules! row {
    ($($name:literal : $value:expr),* $(,)?) => {
        $crate::reference::tables::Row::from([
            $(($name, $crate::reference::tables::Cell::from($value))),*
        ])
    };
}
pub(crate) use row;

/// Rows by key, by table.
pub type Tables = BTreeMap<&'static str, BTreeMap<Vec<Cell>, Row>>;

/// The columns of a table's key. ODS and DWD rows are known by where they came from.
pub fn key_columns(table: &str) -> &'static [&'static str] {
    match table {
        "ods_record" => &["topic", "partition", "offset"],
        "ods_dead_letter" => &["topic", "partition", "offset", "unit", "index"],
        "dwd_span" => &["topic", "partition", "offset", "index"],
        "dwd_event" => &["topic", "partition", "offset", "index", "event_index"],
        "dwd_content" => &["_epoch", "_shard", "hash"],
        "dwd_metric_point" => &["topic", "partition", "offset", "index"],
        "dws_step_1m" | "dws_step_5m" | "dws_step_1h" => {
            &["agent", "step_type", "tool_name", "model", "window_start"]
        }
        "dws_trace" => &["trace_id", "segment"],
        "dws_session" => &["namespace", "session_id", "segment"],
        "dws_user_1d" => &["day", "namespace", "user_id", "segment"],
        "dws_edge_1m" => &["agent", "window_start", "from", "to"],
        "dws_resource_1m" => &["agent", "instance", "window_start"],
        "ads_anomaly" => &["anomaly_id"],
        "ads_top_slow" | "ads_top_cost" | "ads_top_error" => &["window_start", "agent", "rank"],
        "ads_freshness" => &["window_start"],
        other => panic!("{other} is no table of the job"),
    }
}

/// A key of `dws_edge_1m`.
pub fn edge_key(key: &[Cell]) -> (String, i64, String, String) {
    let text = |cell: &Cell| match cell {
        Cell::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => panic!("{other:?} is no text"),
    };
    let Cell::Number(start) = key[1] else {
        panic!("{:?} is no time", key[1])
    };
    (text(&key[0]), start as i64, text(&key[2]), text(&key[3]))
}

/// Whether rows of the table are never replaced.
pub fn is_raw(table: &str) -> bool {
    table.starts_with("ods_") || table.starts_with("dwd_")
}

/// The key of a row.
pub fn key_of(table: &str, row: &Row) -> Vec<Cell> {
    let column = |name: &&str| {
        row.get(*name)
            .unwrap_or_else(|| panic!("{table} has no column {name}"))
            .clone()
    };
    key_columns(table).iter().map(column).collect()
}

/// Adds a row, in place of an older one of the same key.
pub fn put(tables: &mut Tables, table: &'static str, row: Row) {
    let key = key_of(table, &row);
    let before = tables.entry(table).or_default().insert(key, row);
    assert!(
        before.is_none() || !is_raw(table),
        "the reference writes a row of {table} twice: {before:?}"
    );
}

/// Says where `found` is not what `expected` says, in every column that `expected` has; nothing if nowhere.
pub fn differences(expected: &Tables, found: &Tables) -> Vec<String> {
    let mut out = Vec::new();
    let names: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let empty = BTreeMap::new();
    for &table in names {
        let expected = expected.get(table).unwrap_or(&empty);
        let found = found.get(table).unwrap_or(&empty);
        for (key, row) in expected {
            match found.get(key) {
                None => out.push(format!("{table} lacks {key:?}: {row:?}")),
                Some(other) => out.extend(difference(table, key, row, other)),
            }
        }
        for (key, row) in found {
            if !expected.contains_key(key) {
                out.push(format!("{table} has {key:?} beyond the reference: {row:?}"));
            }
        }
    }
    out
}

fn difference(table: &str, key: &[Cell], expected: &Row, found: &Row) -> Option<String> {
    let wrong: Vec<String> = expected
        .iter()
        .filter(|(name, cell)| found.get(*name) != Some(cell))
        .map(|(name, cell)| format!("{name} is {:?}, expected {cell:?}", found.get(name)))
        .collect();
    (!wrong.is_empty()).then(|| format!("{table} {key:?}: {}", wrong.join("; ")))
}

/// Fails with the first differences.
pub fn assert_equal(expected: &Tables, found: &Tables, what: &str) {
    let differences = differences(expected, found);
    assert!(
        differences.is_empty(),
        "{what}: {} differences, the first ones:\n{}",
        differences.len(),
        differences[..differences.len().min(12)].join("\n")
    );
}
