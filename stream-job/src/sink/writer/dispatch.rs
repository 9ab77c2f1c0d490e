//! The writer's one mind: what to promise, what to send, what has landed.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use super::lane::{Job, Lanes};
use super::ledger::{Decision, Ledger, id_of};
use super::{Message, Shared, WriterError, WriterEvent, WriterHandle, WriterRole, WriterSettings};
use crate::checkpoint::epoch_log::{EpochLogHandle, Replay};
use crate::checkpoint::record::{Ack, Entry, Intent};
use crate::ops::failpoint;
use crate::sink::block::{self, Block};
use crate::sink::landed::{LandedRun, Tracker};
use crate::sink::tables::{EpochRow, OpsEpoch, Table};
use crate::sink::target::WaitReport;

/// Messages taken at a time: their intents share one sync.
const BATCH: usize = 1024;
pub(super) const OPS_EPOCH: &str = "ops_epoch";
/// Tables that can be asked for the rows of an epoch and shard. `dwd_content`, DWS and ADS need no asking: an equal
/// row sent again replaces itself.
const COUNTABLE: [&str; 5] = [
    "ods_record",
    "ods_dead_letter",
    "dwd_span",
    "dwd_event",
    OPS_EPOCH,
];

/// Blocks to be promised, each with the rows that say that it is there already, where it must be asked for.
type Promises = Vec<(Intent, Block, Option<u64>)>;

pub(super) struct Dispatcher {
    log: EpochLogHandle,
    ledger: Ledger,
    tracker: Tracker,
    lanes: Arc<Lanes>,
    lane_of: HashMap<(&'static str, u16), mpsc::UnboundedSender<Job>>,
    shared: Arc<Shared>,
    events: Box<dyn Fn(WriterEvent) + Send>,
    role: WriterRole,
    /// Up to which epoch the other processes have landed what is theirs, and when the last of it was acknowledged.
    others: (u64, i64),
    /// Blocks taken that have not landed.
    pending: usize,
    finishing: bool,
}

impl Dispatcher {
    pub(super) fn new(
        settings: &WriterSettings,
        log: EpochLogHandle,
        replay: &mut Replay,
        handle: &WriterHandle,
        events: Box<dyn Fn(WriterEvent) + Send>,
    ) -> Dispatcher {
        let lanes = Lanes {
            client: settings.target.client(),
            timeline: replay.timeline.clone(),
            permits: Semaphore::new(settings.concurrency.max(1)),
            report: WaitReport::new(&settings.target.url),
            metrics: Arc::clone(&handle.shared.metrics),
            done: handle.messages.clone(),
        };
        Dispatcher {
            log,
            ledger: Ledger::new(replay, settings.deduplication_window),
            tracker: Tracker::default(),
            lanes: Arc::new(lanes),
            lane_of: HashMap::new(),
            shared: Arc::clone(&handle.shared),
            events,
            role: settings.role,
            others: match settings.role {
                WriterRole::Leads => (0, 0),
                WriterRole::Alone | WriterRole::Follows => (u64::MAX, 0),
            },
            pending: 0,
            finishing: false,
        }
    }

    /// Works until asked to finish, or until something can't be helped.
    pub(super) async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        if let Err(error) = self.work(&mut messages).await {
            tracing::error!("{error}");
            // Nobody else sets it.
            let _ = self.shared.error.set(Arc::new(error));
            (self.events)(WriterEvent::Stopped);
        }
        self.shared.budget.close();
    }

    async fn work(
        &mut self,
        messages: &mut mpsc::UnboundedReceiver<Message>,
    ) -> Result<(), WriterError> {
        let mut batch = Vec::with_capacity(BATCH);
        while !(self.finishing && self.pending == 0) {
            messages.recv_many(&mut batch, BATCH).await;
            let mut promises = Vec::new();
            for message in batch.drain(..) {
                self.take(message, &mut promises)?;
            }
            while let Some(run) = self.tracker.next_run(self.others.0)? {
                self.take_epochs(&run, &mut promises)?;
            }
            self.keep(promises).await?;
        }
        Ok(())
    }

    fn take(&mut self, message: Message, promises: &mut Promises) -> Result<(), WriterError> {
        match message {
            Message::Block(block) => self.take_block(block, promises)?,
            Message::Close(close) => {
                self.ledger.close(close.row.epoch)?;
                self.tracker.close(close)?;
            }
            Message::Landed {
                block,
                acked_ms,
                took,
            } => {
                if let Some(took) = took {
                    (self.events)(WriterEvent::Inserted { took });
                }
                let ack = Ack {
                    table: block.table.to_owned(),
                    shard: block.shard,
                    epoch: block.epoch,
                    n: block.n,
                    acked_ms,
                };
                self.log
                    .append_later(vec![Entry::Acks { blocks: vec![ack] }])?;
                failpoint::hit("ack-queued");
                self.landed(&block, acked_ms);
            }
            Message::OthersLanded { through, acked_ms } if self.role == WriterRole::Leads => {
                self.others = (through, acked_ms);
            }
            Message::OthersLanded { .. } => {}
            Message::Failed(error) => return Err(error),
            Message::Finish => self.finishing = true,
        }
        Ok(())
    }

    fn take_block(&mut self, block: Block, promises: &mut Promises) -> Result<(), WriterError> {
        self.pending += 1;
        match self.ledger.decide(&block)? {
            Decision::Promise {
                intent,
                rows_if_there,
            } => {
                let asked = askable(&block, rows_if_there);
                promises.push((intent, block, asked));
            }
            Decision::Send => self.send(block, None),
            Decision::SendUnlessThere { rows_if_there } => {
                let asked = askable(&block, Some(rows_if_there));
                self.send(block, asked);
            }
            Decision::Skip { acked_ms } => {
                self.shared.metrics.skipped.add(1);
                self.landed(&block, acked_ms);
            }
        }
        Ok(())
    }

    /// Makes the intents durable, all by one sync, then sends the blocks.
    async fn keep(&mut self, promises: Promises) -> Result<(), WriterError> {
        if promises.is_empty() {
            return Ok(());
        }
        let intents = promises.iter().map(|(intent, ..)| intent.clone());
        let entry = Entry::Intents {
            blocks: intents.collect(),
        };
        self.log.append_durable_async(vec![entry]).await?;
        failpoint::hit("intents-durable");
        for (_, block, rows_if_there) in promises {
            self.send(block, rows_if_there);
        }
        Ok(())
    }

    fn send(&mut self, block: Block, rows_if_there: Option<u64>) {
        let lane = self
            .lane_of
            .entry((block.table, block.shard))
            .or_insert_with(|| {
                let (sender, jobs) = mpsc::unbounded_channel();
                tokio::spawn(Arc::clone(&self.lanes).run(jobs));
                sender
            });
        // A lane that has ended has sent its error, which is next in the queue.
        let _ = lane.send(Job {
            block,
            rows_if_there,
        });
    }

    fn landed(&mut self, block: &Block, acked_ms: i64) {
        self.pending -= 1;
        let bytes = block.bytes();
        self.shared.budget.give_back(bytes);
        self.shared.metrics.in_flight_blocks.subtract(1);
        self.shared.metrics.in_flight_bytes.subtract(bytes as u64);
        let id = id_of(block);
        if block.table == OPS_EPOCH {
            failpoint::hit("ops-epoch-landed");
            let epoch = block.epoch;
            (self.events)(WriterEvent::Complete { epoch, acked_ms });
        } else {
            self.tracker.landed(block.epoch, acked_ms);
            (self.events)(WriterEvent::Landed { id, acked_ms });
        }
    }

    /// Everything of a run of epochs has landed: say so in `ops_epoch`, or let the one that leads say it.
    fn take_epochs(&mut self, run: &LandedRun, promises: &mut Promises) -> Result<(), WriterError> {
        let acked_ms = run.landed_ms.max(self.others.1);
        if self.role == WriterRole::Follows {
            if let Some(EpochRow { epoch, .. }) = run.rows.last() {
                let epoch = *epoch;
                (self.events)(WriterEvent::Complete { epoch, acked_ms });
            }
            return Ok(());
        }
        for block in epoch_blocks(run, &self.lanes.timeline, acked_ms) {
            let bytes = block.bytes();
            self.shared.budget.take_beyond(bytes);
            self.shared.metrics.in_flight_blocks.add(1);
            self.shared.metrics.in_flight_bytes.add(bytes as u64);
            self.take_block(block, promises)?;
        }
        Ok(())
    }
}

/// Only some tables can be asked.
fn askable(block: &Block, rows_if_there: Option<u64>) -> Option<u64> {
    rows_if_there.filter(|_| COUNTABLE.contains(&block.table))
}

/// The block of `ops_epoch` for a run. `landed_time` differs from run to run, so it is left out of the hash that a
/// replay is compared by; the token still lets the block in once only.
fn epoch_blocks(run: &LandedRun, timeline: &str, acked_ms: i64) -> Vec<Block> {
    let Some(last) = run.rows.last() else {
        return Vec::new();
    };
    let cut = |landed_ms| {
        let mut table = OpsEpoch::default();
        run.rows
            .iter()
            .for_each(|row| table.push(row, timeline, landed_ms));
        debug_assert_eq!(table.name(), OPS_EPOCH);
        block::cut(&mut table, 0, last.epoch)
    };
    let mut blocks = cut(acked_ms);
    for (block, timeless) in blocks.iter_mut().zip(cut(0)) {
        block.hash = timeless.hash;
    }
    blocks
}
