//! Runs the job on a recording and keeps what it puts out.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use stream_job::checkpoint::epoch_log::{BlockId, Replay};
use stream_job::checkpoint::record::AckTime;
use stream_job::dataflow::epochs::Epoch;
use stream_job::dataflow::harness::{HarnessOptions, run_recording};
use stream_job::dataflow::output::Output;
use stream_job::ops::settings::Settings;
use stream_job::sink::block::Block;
use stream_job::sink::dead_letter::DeadLetter;
use stream_job::sink::tables::EpochRow;
use stream_job::source::wall_ms;

use super::native;
use super::tables::{Cell, Row, Tables, is_raw, key_of};

/// Keeps blocks. Everything lands at once; the acknowledgements spread over several minutes of the past.
#[derive(Default)]
pub struct Memory {
    blocks: Mutex<Vec<Block>>,
    counted: Mutex<Vec<EpochRow>>,
    letters: Mutex<Vec<String>>,
    acks: Mutex<Vec<AckTime>>,
    raw_landed: AtomicU64,
    landed: AtomicU64,
}

impl Output for Memory {
    fn block(&self, block: Block) {
        let landed = self.raw_landed.load(Ordering::SeqCst);
        assert!(
            block.epoch > landed || !is_raw(block.table),
            "a block of epoch {} came after the epoch was closed",
            block.epoch
        );
        self.blocks.lock().unwrap().push(block);
    }

    fn dead_letter(&self, _epoch: Epoch, letter: DeadLetter) {
        self.letters.lock().unwrap().push(letter.id());
    }

    fn counted(&self, row: EpochRow) {
        self.counted.lock().unwrap().push(row);
    }

    fn raw_closed(&self, epoch: Epoch) {
        const APART_MS: i64 = 47_000;
        let ago = i64::try_from(epoch % 5).unwrap() * APART_MS;
        let acked_ms = wall_ms() - ago;
        self.acks.lock().unwrap().push(AckTime { epoch, acked_ms });
        self.raw_landed.store(epoch, Ordering::SeqCst);
    }

    fn closed(&self, epoch: Epoch, _ends_run: bool) {
        self.landed.store(epoch, Ordering::SeqCst);
    }

    fn landed(&self) -> Epoch {
        self.raw_landed.load(Ordering::SeqCst)
    }

    fn landed_whole(&self) -> Epoch {
        self.landed.load(Ordering::SeqCst)
    }

    fn take_acks(&self, into: &mut Vec<AckTime>) {
        into.append(&mut self.acks.lock().unwrap());
    }
}

/// What a run has put out.
pub struct Run {
    /// Its log.
    pub log: Replay,
    /// Its blocks, each once.
    pub blocks: BTreeMap<BlockId, Block>,
    /// What was counted, in the order given.
    pub counted: Vec<EpochRow>,
    /// Ids of the dead letters for the topic, sorted.
    pub letters: Vec<String>,
}

/// Runs the recording that the settings name.
pub fn run(settings: &Settings, log_dir: &Path, follow: Option<&Replay>) -> Run {
    let memory = Arc::new(Memory::default());
    let output = memory.clone();
    let options = HarnessOptions {
        follow,
        ..HarnessOptions::default()
    };
    let log = run_recording(
        Arc::new(settings.clone()),
        log_dir,
        options,
        |first_epoch| {
            output.raw_landed.store(first_epoch - 1, Ordering::SeqCst);
            output.landed.store(first_epoch - 1, Ordering::SeqCst);
            output
        },
    )
    .unwrap();
    let mut blocks = BTreeMap::new();
    for block in memory.blocks.lock().unwrap().drain(..) {
        let id = BlockId {
            table: block.table.to_owned(),
            shard: block.shard,
            epoch: block.epoch,
            n: block.n,
        };
        let before = blocks.insert(id.clone(), block);
        assert!(before.is_none(), "{id} came twice");
    }
    let mut letters = std::mem::take(&mut *memory.letters.lock().unwrap());
    letters.sort();
    let counted = std::mem::take(&mut *memory.counted.lock().unwrap());
    Run {
        log,
        blocks,
        counted,
        letters,
    }
}

impl Run {
    /// Every table as it finally stands: of DWS and ADS the newest `rev` of each key. No ODS or DWD row comes twice, and
    /// no row follows a final one.
    pub fn tables(&self) -> Tables {
        let mut tables = Tables::new();
        let mut in_order: Vec<&Block> = self.blocks.values().collect();
        in_order.sort_by_key(|block| (block.epoch, block.table, block.shard, block.n));
        for block in in_order {
            let table = tables.entry(block.table).or_default();
            for row in native::rows(block) {
                let key = key_of(block.table, &row);
                let rev = row.get("rev").cloned();
                let Some(before) = table.insert(key.clone(), row) else {
                    continue;
                };
                assert!(!is_raw(block.table), "{} has {key:?} twice", block.table);
                assert!(before.get("rev") < rev.as_ref(), "rev of {key:?} falls");
                assert_ne!(
                    before.get("final"),
                    Some(&Cell::from(true)),
                    "{} writes {key:?} again though it was final",
                    block.table
                );
            }
        }
        tables
    }

    /// Every row that was ever written to a table.
    pub fn every_row(&self, table: &str) -> impl Iterator<Item = Row> {
        let blocks = self.blocks.values();
        blocks
            .filter(move |block| block.table == table)
            .flat_map(native::rows)
    }

    /// The hash of every block.
    pub fn hashes(&self) -> BTreeMap<BlockId, (u64, u128)> {
        let blocks = self.blocks.iter();
        blocks
            .map(|(id, block)| (id.clone(), (block.rows, block.hash)))
            .collect()
    }
}
