//! One connection to the engine: whole queries, streamed SELECTs and streamed INSERTs.

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;

use super::error::Exception;
use super::ffi::{Api, RawAnalysis, RawConnection, RawInsert, RawResult};
use crate::quote::quote_identifier;

/// Rows and bytes that a query read and wrote, as far as it has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows read from tables.
    pub read_rows: u64,
    /// Bytes read from tables, uncompressed.
    pub read_bytes: u64,
    /// Rows written.
    pub written_rows: u64,
    /// Bytes written, uncompressed.
    pub written_bytes: u64,
    /// Rows of the result.
    pub result_rows: u64,
    /// Bytes of the result, as columns in memory.
    pub result_bytes: u64,
}

impl Progress {
    /// Adds what a further chunk reports.
    pub fn add(&mut self, other: &Self) {
        self.read_rows += other.read_rows;
        self.read_bytes += other.read_bytes;
        self.written_rows += other.written_rows;
        self.written_bytes += other.written_bytes;
        self.result_rows += other.result_rows;
        self.result_bytes += other.result_bytes;
    }
}

/// What a statement does, by the engine's own parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatementClass {
    /// Reads only.
    ReadOnly,
    /// Writes data or changes a table.
    Mutating,
    /// Changes the connection or the engine: `SET`, `USE`, `KILL`, temporary tables.
    Control,
    /// Can't be parsed, or is of a kind that the engine does not tell.
    Unknown,
}

/// A query with its output format and its parameters (`{name:Type}` in the text).
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The SQL text.
    pub sql: &'a str,
    /// The format of the result, or of an INSERT's data; a `FORMAT` in a SELECT's text goes before it.
    pub format: &'a str,
    /// Names and values, the values in ClickHouse's escaped form (as TSV).
    pub params: &'a [(String, String)],
}

impl<'a> Query<'a> {
    /// A query without parameters.
    pub fn new(sql: &'a str, format: &'a str) -> Self {
        Self {
            sql,
            format,
            params: &[],
        }
    }
}

/// One connection. It may move between threads, but serves one query at a time.
pub struct Connection {
    api: Arc<Api>,
    raw: *mut RawConnection,
    tag: String,
    database: String,
}

// SAFETY: libchdb ties nothing of a connection to the thread that opened it; `&mut self` on every call keeps it to one at a time.
unsafe impl Send for Connection {}

impl Connection {
    pub(crate) fn new(api: Arc<Api>, raw: *mut RawConnection, tag: String) -> Self {
        Self {
            api,
            raw,
            tag,
            database: "default".to_owned(),
        }
    }

    /// The `log_comment` that all queries of this connection carry: what `KILL QUERY` finds them by.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The database that unqualified names mean.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Changes the database; fails with code 81 when there is none of that name.
    pub(crate) fn enter(&mut self, database: &str) -> Result<(), Exception> {
        if self.database != database {
            self.execute(&format!("USE {}", quote_identifier(database)))?;
            database.clone_into(&mut self.database);
        }
        Ok(())
    }

    fn handle(&self) -> RawConnection {
        // SAFETY: `raw` is non-null and valid until `drop`.
        unsafe { *self.raw }
    }

    /// Runs a query to its end and returns all of its result.
    pub fn query(&mut self, query: Query<'_>) -> Result<Output, Exception> {
        let params = Params::new(query.params);
        // SAFETY: all pointers are valid for the call, with their lengths.
        let raw = unsafe {
            (self.api.query)(
                self.handle(),
                query.sql.as_ptr().cast(),
                query.sql.len(),
                query.format.as_ptr().cast(),
                query.format.len(),
                params.names.as_ptr(),
                params.name_lengths.as_ptr(),
                params.values.as_ptr(),
                params.value_lengths.as_ptr(),
                params.names.len(),
            )
        };
        Output::new(&self.api, raw)
    }

    /// Runs a statement of which only success matters.
    pub fn execute(&mut self, sql: &str) -> Result<(), Exception> {
        self.query(Query::new(sql, "Null")).map(drop)
    }

    /// Starts a SELECT whose result comes in chunks. Other statements fail with code 36 without being run.
    pub fn stream(&mut self, query: Query<'_>) -> Result<Stream<'_>, Exception> {
        let params = Params::new(query.params);
        // SAFETY: as in `query`.
        let raw = unsafe {
            (self.api.stream)(
                self.handle(),
                query.sql.as_ptr().cast(),
                query.sql.len(),
                query.format.as_ptr().cast(),
                query.format.len(),
                params.names.as_ptr(),
                params.name_lengths.as_ptr(),
                params.values.as_ptr(),
                params.value_lengths.as_ptr(),
                params.names.len(),
            )
        };
        let head = Output::new(&self.api, raw)?;
        Ok(Stream {
            connection: self,
            head,
            ended: false,
        })
    }

    /// Starts an INSERT whose data follows in pieces of any size.
    ///
    /// `query.sql` ends before `FORMAT` or `VALUES`; `query.format` names the data's format.
    pub fn insert(&mut self, query: Query<'_>) -> Result<Insert<'_>, Exception> {
        let params = Params::new(query.params);
        // SAFETY: as in `query`.
        let raw = unsafe {
            (self.api.insert)(
                self.handle(),
                query.sql.as_ptr().cast(),
                query.sql.len(),
                query.format.as_ptr().cast(),
                query.format.len(),
                params.names.as_ptr(),
                params.name_lengths.as_ptr(),
                params.values.as_ptr(),
                params.value_lengths.as_ptr(),
                params.names.len(),
            )
        };
        if raw.is_null() {
            return Err(Exception::new(
                1002,
                "UNKNOWN_EXCEPTION",
                "the engine refused the INSERT without a reason",
            ));
        }
        let insert = Insert {
            api: Arc::clone(&self.api),
            raw,
            open: true,
            _connection: PhantomData,
        };
        match insert.error() {
            Some(error) => Err(error),
            None => Ok(insert),
        }
    }

    /// How many statements `sql` holds, and what they do.
    pub fn classify(&mut self, sql: &str) -> (u32, StatementClass) {
        let mut out = RawAnalysis {
            struct_size: size_of::<RawAnalysis>() as u32,
            ..RawAnalysis::default()
        };
        // SAFETY: the text has its length, the database is empty, and `out` has the size that it says.
        let state = unsafe {
            (self.api.classify)(
                self.handle(),
                sql.as_ptr().cast(),
                sql.len(),
                ptr::null(),
                0,
                &raw mut out,
            )
        };
        let class = match (state, out.query_class) {
            (0, 0) => StatementClass::ReadOnly,
            (0, 1 | 2) => StatementClass::Mutating,
            (0, 3) => StatementClass::Control,
            _ => StatementClass::Unknown,
        };
        (out.statement_count, class)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `chdb_connect` and is closed once.
        unsafe { (self.api.close)(self.raw) }
    }
}

/// Parameters as the C interface wants them; borrows from the query.
struct Params {
    names: Vec<*const c_char>,
    name_lengths: Vec<usize>,
    values: Vec<*const c_char>,
    value_lengths: Vec<usize>,
}

impl Params {
    fn new(params: &[(String, String)]) -> Self {
        Self {
            names: params
                .iter()
                .map(|(name, _)| name.as_ptr().cast())
                .collect(),
            name_lengths: params.iter().map(|(name, _)| name.len()).collect(),
            values: params
                .iter()
                .map(|(_, value)| value.as_ptr().cast())
                .collect(),
            value_lengths: params.iter().map(|(_, value)| value.len()).collect(),
        }
    }
}

/// A result, or one chunk of one: bytes in the output format.
pub struct Output {
    api: Arc<Api>,
    raw: RawResult,
}

// SAFETY: a result is a buffer of its own, tied to no thread.
unsafe impl Send for Output {}
// SAFETY: all methods by shared reference only read it.
unsafe impl Sync for Output {}

impl Output {
    fn new(api: &Arc<Api>, raw: RawResult) -> Result<Self, Exception> {
        if raw.is_null() {
            return Err(Exception::new(
                1002,
                "UNKNOWN_EXCEPTION",
                "the engine returned no result",
            ));
        }
        let output = Self {
            api: Arc::clone(api),
            raw,
        };
        // SAFETY: `raw` is a live result; its error is null or a C string that lives as long.
        let error = unsafe { (api.result_error)(raw) };
        if error.is_null() {
            return Ok(output);
        }
        // SAFETY: as above.
        let text = unsafe { CStr::from_ptr(error) }.to_string_lossy();
        Err(Exception::parse(&text))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the buffer lives as long as the result, and has that length.
        unsafe {
            let length = (self.api.result_length)(self.raw);
            let buffer = (self.api.result_buffer)(self.raw);
            if length == 0 || buffer.is_null() {
                &[]
            } else {
                std::slice::from_raw_parts(buffer.cast(), length)
            }
        }
    }

    /// What it read and wrote.
    pub fn progress(&self) -> Progress {
        // SAFETY: `raw` is a live result.
        unsafe {
            Progress {
                read_rows: (self.api.result_storage_rows)(self.raw),
                read_bytes: (self.api.result_storage_bytes)(self.raw),
                written_rows: (self.api.result_rows_written)(self.raw),
                written_bytes: (self.api.result_bytes_written)(self.raw),
                result_rows: (self.api.result_rows)(self.raw),
                result_bytes: (self.api.result_bytes)(self.raw),
            }
        }
    }
}

impl AsRef<[u8]> for Output {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // SAFETY: destroyed once.
        unsafe { (self.api.result_destroy)(self.raw) }
    }
}

/// A SELECT under way. Dropped before its end, it is cancelled.
pub struct Stream<'c> {
    connection: &'c mut Connection,
    head: Output,
    ended: bool,
}

impl Stream<'_> {
    /// The next chunk: whole rows with the format's header in front of them; `None` at the end.
    pub fn next_chunk(&mut self) -> Result<Option<Output>, Exception> {
        if self.ended {
            return Ok(None);
        }
        let api = Arc::clone(&self.connection.api);
        // SAFETY: the stream belongs to this connection and has not ended.
        let raw = unsafe { (api.stream_fetch)(self.connection.handle(), self.head.raw) };
        if raw.is_null() {
            self.ended = true;
            return Ok(None);
        }
        let chunk = Output::new(&api, raw).inspect_err(|_| self.ended = true)?;
        if chunk.bytes().is_empty() {
            self.ended = true;
            return Ok(None);
        }
        Ok(Some(chunk))
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        if !self.ended {
            // SAFETY: the stream is still open.
            unsafe { (self.connection.api.stream_cancel)(self.connection.handle(), self.head.raw) }
        }
    }
}

/// An INSERT under way. Dropped before [`Insert::finish`], it is cancelled and leaves no row.
pub struct Insert<'c> {
    api: Arc<Api>,
    raw: RawInsert,
    open: bool,
    _connection: PhantomData<&'c mut Connection>,
}

impl Insert<'_> {
    fn error(&self) -> Option<Exception> {
        // SAFETY: the stream is live; its error is null or a C string that lives until the next call.
        let error = unsafe { (self.api.insert_error)(self.raw) };
        if error.is_null() {
            return None;
        }
        // SAFETY: as above.
        let text = unsafe { CStr::from_ptr(error) }.to_string_lossy();
        (!text.is_empty()).then(|| Exception::parse(&text))
    }

    /// Hands over the next piece of the data; it may end anywhere, in the middle of a row too.
    pub fn append(&mut self, data: &[u8]) -> Result<(), Exception> {
        // SAFETY: `data` is valid for the call; the engine copies it.
        let state = unsafe { (self.api.insert_append)(self.raw, data.as_ptr().cast(), data.len()) };
        if state == 0 {
            return Ok(());
        }
        Err(self.error().unwrap_or_else(|| {
            Exception::new(
                1002,
                "UNKNOWN_EXCEPTION",
                "the engine refused a piece of the data without a reason",
            )
        }))
    }

    /// Ends the data and waits until the rows are in the table.
    pub fn finish(mut self) -> Result<Progress, Exception> {
        self.open = false;
        // SAFETY: the stream is live and finished once.
        let raw = unsafe { (self.api.insert_done)(self.raw) };
        Output::new(&self.api, raw).map(|output| output.progress())
    }
}

impl Drop for Insert<'_> {
    fn drop(&mut self) {
        // SAFETY: cancelled only while open; destroyed once.
        unsafe {
            if self.open {
                (self.api.insert_cancel)(self.raw);
            }
            (self.api.insert_destroy)(self.raw);
        }
    }
}
