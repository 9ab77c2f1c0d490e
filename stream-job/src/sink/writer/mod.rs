//! Lands blocks: intent first, then the insert, then the ack.
//!
//! ```text
//! workers ── send ──> dispatcher ──(intents durable)──> lane per table and shard ──> warehouse
//!                        └── acks, ops_epoch <── landed ──┘
//! ```
//!
//! The writer has a thread of its own. Blocks of one table and shard land in the order sent; different ones at the
//! same time, up to a limit. A warehouse that is away is waited for; a warehouse that refuses, or a replay that
//! computes other bytes than were promised, stops the writer, and with it the job.

mod budget;
mod dispatch;
mod lane;
mod ledger;
mod metrics;

pub(crate) use lane::insert_once;
pub use ledger::DivergenceError;
pub use metrics::{Count, TableMetrics, WriterMetrics};

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::checkpoint::epoch_log::{BlockId, EpochLogError, EpochLogHandle, Replay};

use super::block::Block;
use super::landed::{EpochClose, MiscountError};
use super::target::Target;
use budget::Budget;
use dispatch::Dispatcher;

/// How the writer works.
#[derive(Clone, Debug)]
pub struct WriterSettings {
    /// Where blocks go.
    pub target: Target,
    /// Inserts at the same time, at most.
    pub concurrency: usize,
    /// Bytes of blocks that have not landed from which on [`WriterHandle::has_room`] says no.
    pub full_bytes: usize,
    /// Bytes of blocks that have not landed, at most; [`WriterHandle::send`] waits above it.
    pub max_in_flight_bytes: usize,
    /// Inserts per table whose tokens the warehouse remembers: the tables' `non_replicated_deduplication_window`.
    pub deduplication_window: u64,
    /// Which of the job's writers it is.
    pub role: WriterRole,
}

/// A process of the job has one writer; that of process 0 says in `ops_epoch` when all of them have landed an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterRole {
    /// There is no other.
    Alone,
    /// It waits for the others, see [`WriterHandle::others_landed`].
    Leads,
    /// It leaves `ops_epoch` to the one that leads.
    Follows,
}

impl WriterSettings {
    /// The defaults: 4 inserts at a time, full at 32 MiB, 256 MiB in flight at most, the window of the migrations.
    #[must_use]
    pub fn new(target: Target) -> WriterSettings {
        WriterSettings {
            target,
            concurrency: 4,
            full_bytes: 32 << 20,
            max_in_flight_bytes: 256 << 20,
            deduplication_window: 10_000,
            role: WriterRole::Alone,
        }
    }
}

/// What the writer tells the dataflow. It is called on the writer's thread and must not block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriterEvent {
    /// A block is in the warehouse.
    Landed {
        /// The block.
        id: BlockId,
        /// When that was acknowledged, ms since 1970; on a replay, when it first was.
        acked_ms: i64,
    },
    /// An insert was acknowledged.
    Inserted {
        /// From sending it to the acknowledgement, attempts that failed left out.
        took: Duration,
    },
    /// All up to this epoch is in the warehouse, and `ops_epoch` says so; of a writer that follows: all of its own.
    Complete {
        /// The epoch.
        epoch: u64,
        /// When the last block was acknowledged, ms since 1970.
        acked_ms: i64,
    },
    /// The writer has stopped; nothing more will land. [`WriterHandle::error`] says why.
    Stopped,
}

/// Why the writer stopped.
#[derive(Debug, thiserror::Error)]
pub enum WriterError {
    /// The warehouse refuses a block for good.
    #[error("the warehouse refuses block {token}, and waiting would not change that: {reason}")]
    Refused {
        /// Its token: timeline, table, shard, epoch, piece.
        token: String,
        /// What it said.
        reason: String,
    },
    /// A block is there in part, though blocks land whole or not at all.
    #[error(
        "part of block {token} is in the warehouse ({count} rows of its epoch and shard): the table does not hold \
         what was inserted, or a TTL has cut it"
    )]
    PartOfABlock {
        /// Its token.
        token: String,
        /// Rows found.
        count: u64,
    },
    /// A replay computed other bytes than were promised.
    #[error(transparent)]
    Divergence(#[from] DivergenceError),
    /// The dataflow miscounted its blocks.
    #[error("an invariant of the job is broken: {0}")]
    Miscount(#[from] MiscountError),
    /// The epoch log takes no more intents.
    #[error(transparent)]
    Log(#[from] EpochLogError),
    /// The thread could not be started.
    #[error("the writer could not be started: {0}")]
    Start(#[source] std::io::Error),
    /// It was stopped before this was sent.
    #[error("the writer has stopped")]
    Stopped,
}

/// What goes to the dispatcher.
enum Message {
    Block(Block),
    Close(EpochClose),
    OthersLanded {
        through: u64,
        acked_ms: i64,
    },
    Landed {
        block: Block,
        acked_ms: i64,
        /// How long the insert took; `None` where the block was there already.
        took: Option<Duration>,
    },
    Failed(WriterError),
    Finish,
}

struct Shared {
    budget: Budget,
    metrics: Arc<WriterMetrics>,
    error: OnceLock<Arc<WriterError>>,
}

/// The writer's owner.
pub struct Writer {
    handle: WriterHandle,
    thread: JoinHandle<()>,
}

/// Sends blocks to the writer, from any thread.
#[derive(Clone)]
pub struct WriterHandle {
    messages: mpsc::UnboundedSender<Message>,
    shared: Arc<Shared>,
}

impl Writer {
    /// Starts the writer's thread. What `replay` says of blocks moves into the writer; `events` is called on its
    /// thread.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        settings: WriterSettings,
        log: EpochLogHandle,
        replay: &mut Replay,
        events: impl Fn(WriterEvent) + Send + 'static,
    ) -> Result<Writer, WriterError> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            budget: Budget::new(settings.max_in_flight_bytes, settings.full_bytes),
            metrics: Arc::default(),
            error: OnceLock::new(),
        });
        let handle = WriterHandle {
            messages: sender,
            shared: Arc::clone(&shared),
        };
        let dispatcher = Dispatcher::new(&settings, log, replay, &handle, Box::new(events));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(WriterError::Start)?;
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || runtime.block_on(dispatcher.run(receiver)))
            .map_err(WriterError::Start)?;
        Ok(Writer { handle, thread })
    }

    /// A handle for a worker.
    #[must_use]
    pub fn handle(&self) -> WriterHandle {
        self.handle.clone()
    }

    /// Waits until everything that was sent has landed, and ends the writer.
    ///
    /// # Errors
    /// If it stopped before that.
    pub fn finish(self) -> Result<(), Arc<WriterError>> {
        // If nobody receives it, the writer has ended already.
        let _ = self.handle.messages.send(Message::Finish);
        if self.thread.join().is_err() {
            return Err(self
                .handle
                .error()
                .unwrap_or_else(|| Arc::new(WriterError::Stopped)));
        }
        self.handle.error().map_or(Ok(()), Err)
    }
}

impl WriterHandle {
    /// Hands a block over. Waits while too many bytes are in flight, which a source that heeds
    /// [`WriterHandle::has_room`] keeps from happening.
    ///
    /// # Errors
    /// If the writer has stopped.
    pub fn send(&self, block: Block) -> Result<(), Arc<WriterError>> {
        let bytes = block.bytes();
        self.shared.budget.take(bytes).map_err(|_| self.stopped())?;
        self.shared.metrics.in_flight_blocks.add(1);
        self.shared.metrics.in_flight_bytes.add(bytes as u64);
        self.messages
            .send(Message::Block(block))
            .map_err(|_| self.stopped())
    }

    /// Says that all blocks that end with this epoch have been sent, by all workers. Epochs are closed in ascending
    /// order.
    ///
    /// # Errors
    /// If the writer has stopped.
    pub fn close_epoch(&self, close: EpochClose) -> Result<(), Arc<WriterError>> {
        self.messages
            .send(Message::Close(close))
            .map_err(|_| self.stopped())
    }

    /// The other processes have landed everything of their own up to this epoch, the last of it at `acked_ms`. Without
    /// effect on a writer that does not lead.
    ///
    /// # Errors
    /// If the writer has stopped.
    pub fn others_landed(&self, through: u64, acked_ms: i64) -> Result<(), Arc<WriterError>> {
        self.messages
            .send(Message::OthersLanded { through, acked_ms })
            .map_err(|_| self.stopped())
    }

    /// Whether few enough bytes are in flight to begin with more; while not, the source should rest.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.shared.budget.has_room()
    }

    /// Counters, alive as long as anybody holds them.
    #[must_use]
    pub fn metrics(&self) -> Arc<WriterMetrics> {
        Arc::clone(&self.shared.metrics)
    }

    /// Why the writer stopped, if it did.
    #[must_use]
    pub fn error(&self) -> Option<Arc<WriterError>> {
        self.shared.error.get().cloned()
    }

    fn stopped(&self) -> Arc<WriterError> {
        self.error()
            .unwrap_or_else(|| Arc::new(WriterError::Stopped))
    }
}
