//! Hands blocks to the warehouse's writer, and keeps account of what has landed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::epochs::Epoch;
use super::fatal::Fatal;
use super::output::Output;
use crate::checkpoint::record::AckTime;
use crate::ops::job::JobError;
use crate::ops::metrics::Metrics;
use crate::sink::block::Block;
use crate::sink::dead_letter::DeadLetter;
use crate::sink::landed::EpochClose;
use crate::sink::side_topics::SideTopics;
use crate::sink::tables::EpochRow;
use crate::sink::tables::ads_anomaly::AnomalyRow;
use crate::sink::writer::{WriterError, WriterEvent, WriterHandle};

/// Blocks of one epoch.
#[derive(Default)]
struct EpochBlocks {
    sent: u64,
    raw_sent: u64,
    raw_landed: u64,
    raw_closed: bool,
    last_ack_ms: i64,
    spans_landed: u64,
    row: Option<EpochRow>,
}

/// What has been sent and what has landed.
#[derive(Default)]
pub struct Account {
    epochs: BTreeMap<Epoch, EpochBlocks>,
    /// All ODS and DWD rows up to here are in the warehouse.
    raw_landed: Epoch,
    /// Every block and every alert up to here has been given.
    closed: Epoch,
    /// Everything up to here is in the warehouse.
    landed: Epoch,
    /// When the last of it was acknowledged, ms since 1970.
    landed_ms: i64,
    acks: Vec<AckTime>,
    /// Epochs whose acknowledgement a record of the log carries already.
    told: BTreeSet<Epoch>,
    records: u64,
    spans: u64,
    /// Spans whose rows are in the warehouse.
    spans_landed: u64,
    dead_letters: u64,
}

fn is_raw(table: &str) -> bool {
    table.starts_with("ods_") || table.starts_with("dwd_")
}

impl Account {
    fn sent(&mut self, block: &Block) {
        let blocks = self.epochs.entry(block.epoch).or_default();
        blocks.sent += 1;
        blocks.raw_sent += u64::from(is_raw(block.table));
    }

    fn landed(&mut self, table: &str, epoch: Epoch, acked_ms: i64) {
        if !is_raw(table) {
            return;
        }
        let blocks = self.epochs.entry(epoch).or_default();
        blocks.raw_landed += 1;
        blocks.last_ack_ms = blocks.last_ack_ms.max(acked_ms);
        self.advance();
    }

    fn raw_closed(&mut self, epoch: Epoch) {
        self.epochs.entry(epoch).or_default().raw_closed = true;
        self.advance();
    }

    /// Moves `raw_landed` over the epochs that are complete, in order.
    fn advance(&mut self) {
        while let Some((&epoch, blocks)) = self.epochs.range(self.raw_landed + 1..).next() {
            if !blocks.raw_closed || blocks.raw_landed < blocks.raw_sent {
                return;
            }
            if blocks.raw_sent > 0 && !self.told.remove(&epoch) {
                self.acks.push(AckTime {
                    epoch,
                    acked_ms: blocks.last_ack_ms,
                });
            }
            self.spans_landed += blocks.spans_landed;
            self.raw_landed = epoch;
        }
    }

    /// The last epoch of which all ODS and DWD rows are in the warehouse and all dead letters and alerts have been given.
    /// An epoch's alerts come after its last raw block.
    fn raw_through(&self) -> Epoch {
        self.raw_landed.min(self.closed)
    }

    fn close(&mut self, epoch: Epoch) -> (EpochRow, u64) {
        let blocks = self.epochs.entry(epoch).or_default();
        let row = blocks.row.take().unwrap_or_else(|| EpochRow {
            epoch,
            ..EpochRow::default()
        });
        let sent = blocks.sent;
        self.closed = epoch;
        // What is closed and landed is not looked at again.
        let done = self.raw_landed.min(epoch);
        self.epochs = self.epochs.split_off(&done);
        (row, sent)
    }
}

/// Sends to the writer. One for all workers.
pub struct Landing {
    writer: WriterHandle,
    topics: Option<SideTopics>,
    account: Arc<Mutex<Account>>,
    metrics: Arc<Metrics>,
    fatal: Fatal,
    /// The warehouse's name and address, for people.
    warehouse: String,
}

fn lock(account: &Mutex<Account>) -> MutexGuard<'_, Account> {
    account.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The failure of a run whose writer has stopped; a divergence has an exit code of its own.
#[must_use]
pub fn job_error(error: Arc<WriterError>) -> anyhow::Error {
    match &*error {
        WriterError::Divergence(divergence) => JobError::Diverged(divergence.to_string()).into(),
        _ => anyhow::Error::new(error),
    }
}

/// An account for a run that begins with `first_epoch`: with the acknowledgements that its log tells of, and those of
/// earlier epochs that are still to be told.
#[must_use]
pub fn open_account(
    first_epoch: Epoch,
    told: impl Iterator<Item = Epoch>,
    untold: Vec<AckTime>,
) -> Arc<Mutex<Account>> {
    let before = first_epoch.saturating_sub(1);
    let account = Account {
        raw_landed: before,
        closed: before,
        landed: before,
        told: told.collect(),
        acks: untold,
        ..Account::default()
    };
    Arc::new(Mutex::new(account))
}

/// What the writer calls when something happens.
pub fn listen(
    account: Arc<Mutex<Account>>,
    metrics: Arc<Metrics>,
) -> impl Fn(WriterEvent) + Send + 'static {
    move |event| match event {
        WriterEvent::Landed { id, acked_ms } => {
            metrics.blocks.with(&[&id.table]).add(1);
            let mut account = lock(&account);
            account.landed(&id.table, id.epoch, acked_ms);
            metrics.spans_landed.raise_to(account.spans_landed);
        }
        WriterEvent::Inserted { took } => metrics.insert_seconds.observe(took),
        WriterEvent::Complete { epoch, acked_ms } => {
            let mut account = lock(&account);
            account.landed = account.landed.max(epoch);
            account.landed_ms = account.landed_ms.max(acked_ms);
        }
        WriterEvent::Stopped => {}
    }
}

impl Landing {
    /// An output that sends to `writer`, and dead letters and alerts to their topics where there are any.
    #[must_use]
    pub fn new(
        writer: WriterHandle,
        topics: Option<SideTopics>,
        account: Arc<Mutex<Account>>,
        metrics: Arc<Metrics>,
        fatal: Fatal,
        warehouse: String,
    ) -> Self {
        Self {
            writer,
            topics,
            account,
            metrics,
            fatal,
            warehouse,
        }
    }

    fn check<E: std::fmt::Display>(&self, result: Result<(), E>) {
        if let Err(error) = result {
            match self.writer.error() {
                Some(error) => self.fatal.raise(job_error(error)),
                None => self.fatal.raise(anyhow::anyhow!("{error}")),
            }
        }
    }

    /// The last epoch, at most `given`, whose dead letters and alerts are on their topics.
    fn delivered_through(&self, given: Epoch) -> Epoch {
        self.topics
            .as_ref()
            .map_or(given, |topics| topics.delivered_through(given))
    }

    fn tell_metrics(&self) {
        let writer = self.writer.metrics();
        self.metrics
            .in_flight_bytes
            .set_count(writer.in_flight_bytes.get());
        self.metrics.insert_retries.raise_to(writer.retries.get());
        let is_away = writer.waiting_since_ms().is_some();
        self.metrics
            .health
            .set_away("writer", is_away.then(|| self.warehouse.clone()));
        for (table, landed) in writer.tables().filter(|(_, landed)| landed.rows.get() > 0) {
            self.metrics.rows.with(&[table]).raise_to(landed.rows.get());
        }
    }

    /// Counts of the whole run: last epoch landed, records, spans, dead letters.
    #[must_use]
    pub fn totals(&self) -> (Epoch, u64, u64, u64) {
        let account = lock(&self.account);
        (
            account.landed,
            account.records,
            account.spans,
            account.dead_letters,
        )
    }
}

impl Output for Landing {
    fn block(&self, block: Block) {
        lock(&self.account).sent(&block);
        let blocked = self.metrics.operator_blocked.with(&["sink"]).time();
        let result = self.writer.send(block);
        drop(blocked);
        self.check(result);
        self.tell_metrics();
    }

    fn dead_letter(&self, epoch: Epoch, letter: DeadLetter) {
        lock(&self.account).dead_letters += 1;
        if let Some(topics) = &self.topics {
            topics.dead_letter(epoch, &letter);
        }
    }

    fn alert(&self, epoch: Epoch, flag: &AnomalyRow) {
        if let Some(topics) = &self.topics
            && topics.alert(epoch, flag)
        {
            self.metrics.alerts.with(&[&flag.state]).add(1);
        }
    }

    fn counted(&self, row: EpochRow) {
        let mut account = lock(&self.account);
        account.records += row.records;
        account.spans += row.spans_landed + row.spans_duplicate + row.spans_rejected;
        let blocks = account.epochs.entry(row.epoch).or_default();
        blocks.spans_landed = row.spans_landed;
        blocks.row = Some(row);
    }

    fn raw_closed(&self, epoch: Epoch) {
        lock(&self.account).raw_closed(epoch);
    }

    fn closed(&self, epoch: Epoch, ends_run: bool) {
        let (row, blocks) = lock(&self.account).close(epoch);
        let result = self.writer.close_epoch(EpochClose {
            row,
            blocks,
            ends_run,
        });
        self.check(result);
    }

    fn has_room(&self) -> bool {
        self.writer.has_room()
    }

    fn landed(&self) -> Epoch {
        if let Some(error) = self.writer.error() {
            self.fatal.raise(job_error(error));
        }
        self.tell_metrics();
        let through = lock(&self.account).raw_through();
        self.delivered_through(through)
    }

    fn landed_whole(&self) -> Epoch {
        let landed = lock(&self.account).landed;
        self.delivered_through(landed)
    }

    fn landed_whole_ms(&self) -> i64 {
        lock(&self.account).landed_ms
    }

    fn others_landed(&self, through: Epoch, acked_ms: i64) {
        let result = self.writer.others_landed(through, acked_ms);
        self.check(result);
    }

    fn take_acks(&self, into: &mut Vec<AckTime>) {
        let mut account = lock(&self.account);
        // Not before letters and alerts have arrived: a restart sends those of no epoch that is told of.
        let delivered = self.delivered_through(account.raw_through());
        let told = account.acks.partition_point(|ack| ack.epoch <= delivered);
        into.extend(account.acks.drain(..told));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(table: &'static str, epoch: Epoch) -> Block {
        Block {
            table,
            columns: &[],
            shard: 0,
            epoch,
            n: 0,
            rows: 1,
            body: Vec::new(),
            hash: 0,
        }
    }

    #[test]
    fn epochs_land_in_order_and_only_with_all_their_raw_blocks() {
        let mut account = Account {
            raw_landed: 9,
            ..Account::default()
        };
        for (table, epoch) in [
            ("dwd_span", 10),
            ("ods_record", 10),
            ("dwd_span", 11),
            ("dws_trace", 11),
        ] {
            account.sent(&block(table, epoch));
        }
        account.raw_closed(10);
        account.raw_closed(11);
        account.landed("dwd_span", 11, 500);
        assert_eq!(account.raw_landed, 9, "epoch 10 is not there yet");
        account.landed("ods_record", 10, 300);
        account.landed("dwd_span", 10, 400);
        assert_eq!(
            account.raw_landed, 11,
            "the DWS block of epoch 11 does not hold its raw rows back"
        );
        let acks: Vec<_> = account
            .acks
            .iter()
            .map(|ack| (ack.epoch, ack.acked_ms))
            .collect();
        assert_eq!(acks, vec![(10, 400), (11, 500)]);
    }

    #[test]
    fn an_epoch_is_not_told_of_before_its_alerts_were_given() {
        let mut account = Account {
            raw_landed: 9,
            closed: 9,
            ..Account::default()
        };
        account.sent(&block("dwd_span", 10));
        account.raw_closed(10);
        account.landed("dwd_span", 10, 400);
        assert_eq!((account.raw_landed, account.raw_through()), (10, 9));
        account.close(10);
        assert_eq!(account.raw_through(), 10);
        account.close(11);
        assert_eq!(account.raw_through(), 10, "epoch 11 has not landed");
    }

    #[test]
    fn an_acknowledgement_that_the_log_tells_of_is_not_told_again() {
        let mut account = Account {
            raw_landed: 9,
            told: [10].into(),
            ..Account::default()
        };
        account.sent(&block("dwd_span", 10));
        account.raw_closed(10);
        account.landed("dwd_span", 10, 400);
        assert_eq!(account.raw_landed, 10);
        assert!(account.acks.is_empty());
    }

    #[test]
    fn closing_counts_all_blocks_of_an_epoch_and_forgets_what_is_done() {
        let mut account = Account {
            raw_landed: 9,
            ..Account::default()
        };
        account.sent(&block("dwd_span", 10));
        account.sent(&block("dws_trace", 10));
        account.raw_closed(10);
        assert_eq!(account.close(10).1, 2);
        account.landed("dwd_span", 10, 1);
        account.raw_closed(11);
        assert_eq!(account.close(11).1, 0);
        assert_eq!((account.raw_landed, account.epochs.len()), (11, 1));
    }
}
