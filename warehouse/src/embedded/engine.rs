//! The engine of this process: opened once over a data folder, shared by all that query it.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::connection::Connection;
use super::error::{EngineError, Exception};
use super::ffi::Api;
use super::library;
use super::lock::lock_folder;
use super::pool::{Admission, Lease, Pool};
use super::stderr;
use crate::file_lock::FileLock;

/// How an engine is opened.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// The data folder; created where it is missing.
    pub data: PathBuf,
    /// libchdb itself.
    pub library: PathBuf,
    /// All that the engine may allocate, in bytes. A query that would go above it fails with code 241.
    pub max_memory_bytes: u64,
    /// The cache of primary index marks, in bytes; part of the memory above.
    pub mark_cache_bytes: u64,
    /// Queries that run at the same time.
    pub max_connections: usize,
    /// Queries that may wait for a connection.
    pub max_waiting: usize,
    /// How long they may wait.
    pub max_wait: Duration,
}

impl EngineOptions {
    /// The defaults, over `data` and the library in the cache folder.
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            library: library::library_path(&library::cache_folder()),
            max_memory_bytes: default_memory_bytes(),
            mark_cache_bytes: 64 << 20,
            max_connections: 32,
            max_waiting: 256,
            max_wait: Duration::from_secs(30),
        }
    }
}

/// Half of the machine's memory, between 1 and 8 GiB: the job and the broker live on the same machine.
pub fn default_memory_bytes() -> u64 {
    // SAFETY: sysconf has no precondition.
    let (pages, size) = unsafe {
        (
            libc::sysconf(libc::_SC_PHYS_PAGES),
            libc::sysconf(libc::_SC_PAGESIZE),
        )
    };
    let memory = u64::try_from(pages)
        .unwrap_or(0)
        .saturating_mul(u64::try_from(size).unwrap_or(0));
    (memory / 2).clamp(1 << 30, 8 << 30)
}

/// The engine. Cheap to share by reference; one a process.
pub struct Engine {
    pool: Pool,
    opener: Arc<Opener>,
    version: String,
    time_zone: String,
    // The last field: the folder is free only when all connections are closed.
    _lock: FileLock,
}

impl Engine {
    /// Locks the data folder, loads the library and opens a first connection (0.1 to 0.6 s).
    pub fn open(options: &EngineOptions) -> Result<Self, EngineError> {
        if !options.library.is_file() {
            return Err(EngineError::NotInstalled {
                path: options.library.clone(),
            });
        }
        let lock = lock_folder(&options.data)?;
        let api = Arc::new(Api::load(&options.library)?);
        // SAFETY: takes an integer; must come before the first connection, or the engine's handlers replace ours.
        unsafe { (api.set_signal_handlers)(0) };
        let opener = Arc::new(Opener::new(api, options));
        let mut first = opener.connect_first(&options.data)?;
        let version = text(&mut first, "SELECT version()")?;
        let time_zone = text(&mut first, "SELECT timezone()")?;
        let pool = Pool::new(
            options.max_connections,
            options.max_waiting,
            options.max_wait,
        );
        pool.put_back(first);
        Ok(Self {
            pool,
            opener,
            version,
            time_zone,
            _lock: lock,
        })
    }

    /// The version of the engine, such as `26.7.2.1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The right to run one query; waits for it as long as the options allow.
    pub async fn admit(&self) -> Result<Admission, EngineError> {
        self.pool.admit().await
    }

    /// A connection free of session state, in `database`. Blocks for up to a millisecond.
    pub fn lease(&self, admission: Admission, database: &str) -> Result<Lease, EngineError> {
        let connection = match self.pool.idle(database) {
            Some(connection) => connection,
            None => {
                let mut connection = self.opener.connect()?;
                connection.enter(database)?;
                connection
            }
        };
        Ok(self.pool.lease(admission, connection))
    }

    /// A lease of a connection that was detached from another one.
    pub fn adopt(&self, admission: Admission, connection: Connection) -> Lease {
        self.pool.lease(admission, connection)
    }

    /// The time zone of the engine, such as `Etc/UTC`.
    pub fn time_zone(&self) -> &str {
        &self.time_zone
    }

    /// Ends the query that runs on the connection with this tag, if there is one. Blocks for about a millisecond.
    pub fn kill(&self, tag: &str) -> Result<(), EngineError> {
        // Outside the pool's count: it must not wait behind the queries, one of which it is to end.
        let mut control = match self.pool.any_idle() {
            Some(connection) => connection,
            None => self.opener.connect()?,
        };
        let tag = tag.replace(['\'', '\\'], "");
        control.execute(&format!(
            "KILL QUERY WHERE Settings['log_comment'] = '{tag}' ASYNC"
        ))?;
        self.pool.put_back(control);
        Ok(())
    }

    /// Closes the connections that are idle; to be called once at the end.
    pub fn close_idle(&self) {
        while let Some(connection) = self.pool.any_idle() {
            drop(connection);
        }
    }
}

fn text(connection: &mut Connection, sql: &str) -> Result<String, Exception> {
    let output = connection.query(super::Query::new(sql, "TSVRaw"))?;
    Ok(String::from_utf8_lossy(output.bytes())
        .trim_end()
        .to_owned())
}

/// Opens connections that all have the same settings.
struct Opener {
    api: Arc<Api>,
    arguments: Vec<String>,
    opened: AtomicU64,
}

impl Opener {
    fn new(api: Arc<Api>, options: &EngineOptions) -> Self {
        let arguments = vec![
            "clickhouse".to_owned(),
            format!("--path={}", options.data.display()),
            format!("--max_server_memory_usage={}", options.max_memory_bytes),
            format!("--mark_cache_size={}", options.mark_cache_bytes),
            // On by default in the engine; it would acknowledge an INSERT by other rules than the sink's tokens need.
            "--async_insert=0".to_owned(),
            // One thread, so that a block becomes one part, which is there whole or not at all.
            "--max_insert_threads=1".to_owned(),
            // Off, so that a mistyped `SELEC 1` is a syntax error and not an expression.
            "--implicit_select=0".to_owned(),
        ];
        Self {
            api,
            arguments,
            opened: AtomicU64::new(0),
        }
    }

    /// The first connection, whose failure has its reason on standard error only.
    fn connect_first(&self, data: &Path) -> Result<Connection, EngineError> {
        let (connection, said) = stderr::captured(|| self.connect().ok());
        connection.ok_or_else(|| {
            let reason = said.lines().map(str::trim).find(|line| !line.is_empty());
            let reason = reason
                .unwrap_or("it gave no reason; is the disk full, or the folder read-only?")
                .to_owned();
            EngineError::Connect {
                path: data.to_owned(),
                reason,
            }
        })
    }

    fn connect(&self) -> Result<Connection, EngineError> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let tag = format!("gateway-{}-{number}", std::process::id());
        let refused = |reason: &str| {
            EngineError::Query(Exception::new(
                1002,
                "UNKNOWN_EXCEPTION",
                format_args!("no connection: {reason}"),
            ))
        };
        let mut strings = Vec::with_capacity(self.arguments.len() + 1);
        for argument in self
            .arguments
            .iter()
            .cloned()
            .chain([format!("--log_comment={tag}")])
        {
            strings.push(
                CString::new(argument)
                    .map_err(|_| refused("the data folder's name holds a zero byte"))?,
            );
        }
        let mut pointers: Vec<_> = strings
            .iter()
            .map(|string| string.as_ptr().cast_mut())
            .collect();
        pointers.push(ptr::null_mut());
        let count = strings.len() as i32;
        // SAFETY: `count` C strings and a null after them, valid for the call; the engine copies them.
        let raw = unsafe { (self.api.connect)(count, pointers.as_mut_ptr()) };
        // SAFETY: checked for null before it is read.
        if raw.is_null() || unsafe { (*raw).is_null() } {
            return Err(refused("the engine refused to open one more"));
        }
        Ok(Connection::new(Arc::clone(&self.api), raw, tag))
    }
}
