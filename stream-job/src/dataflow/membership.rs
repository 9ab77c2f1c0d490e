//! One of several processes: the leader's side and the followers' side of a start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::Arc;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::coordinator::Identity;
use super::epochs::Epoch;
use super::launch::{Launch, launch};
use super::owners::worker_of_block;
use super::plan::{SourcePlan, workers_of};
use super::resume::{Resumed, newest_checkpoint};
use super::start::{source_name, unless_stopped};
use crate::checkpoint::epoch_log::{BlockId, EpochLogHandle, RecordedBlock, Replay};
use crate::checkpoint::ledgers::{LedgerError, Ledgers};
use crate::checkpoint::record::{CheckpointRef, Position};
use crate::checkpoint::store::Store;
use crate::cluster::{self, ClusterConfig, ClusterError, Gathering, Links, Shape};
use crate::ops::control::JobControl;
use crate::ops::job::{JobError, Outcome, RunOptions, Shutdown};
use crate::ops::metrics::Metrics;
use crate::ops::settings::{Layers, Settings, SettingsError};

/// What this process is among the processes of the job.
pub(super) enum Membership {
    /// There is no other.
    Alone,
    /// Process 0.
    Leads(Leader),
    /// Any other.
    Follows(Follower),
}

impl Membership {
    /// Opens this process's port, where there are others.
    pub(super) fn of(
        settings: &Settings,
        options: &RunOptions,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Membership> {
        if settings.processes == 1 && options.process == 0 {
            return Ok(Membership::Alone);
        }
        if options.bounds.is_some() {
            let reason = "a bounded backfill runs in one process: set `processes` to 1";
            return Err(SettingsError::Conflict(reason.to_owned()).into());
        }
        if settings.layers == Layers::Windows {
            let reason = "`layers = windows` is a benchmark of one process";
            return Err(SettingsError::Conflict(reason.to_owned()).into());
        }
        let config = ClusterConfig::of(settings, options.process, workers_of(settings))?;
        let listener = cluster::listen(&config)?;
        if options.process > 0 {
            return Ok(Membership::Follows(Follower { config, listener }));
        }
        let shape = config.identity.shape;
        let gathering = Gathering::start(config, listener, shutdown.clone())?;
        Ok(Membership::Leads(Leader { shape, gathering }))
    }
}

/// What a follower has to know to begin. It is a function of the leader's log and the ledgers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct StartInfo {
    timeline: String,
    /// Folder of the timeline in the store.
    folder: String,
    first_epoch: Epoch,
    /// The checkpoint to start from.
    checkpoint: Option<CheckpointRef>,
    positions: Vec<Position>,
    /// Slots whose partitions the source does not have any more.
    gone: BTreeSet<u32>,
    /// Epochs whose acknowledgement a record tells of.
    told: Vec<Epoch>,
    /// What is recorded of the blocks that it builds.
    blocks: Vec<(BlockId, RecordedBlock)>,
    /// Intents recorded, by table.
    intents: BTreeMap<String, u64>,
}

/// Where the run begins, as the leader has found out.
pub(super) struct Begin<'a> {
    pub first_epoch: Epoch,
    pub positions: &'a [Position],
    pub gone: &'a BTreeSet<u32>,
    pub told: &'a [Epoch],
    /// Folder of the timeline in the store.
    pub folder: &'a str,
    pub ledgers: &'a Ledgers,
    /// Epoch of the checkpoint to start from.
    pub checkpoint: Option<Epoch>,
}

/// Process 0, while it prepares.
pub(super) struct Leader {
    shape: Shape,
    gathering: Gathering,
}

impl Leader {
    /// Tells the others what the leader waits for.
    pub(super) fn waits_for(&self, what: &str) {
        self.gathering.waits_for(what);
    }

    /// Waits for the others and sends them off. What is recorded of the blocks that they build is taken out of `replay`.
    pub(super) fn begin(
        self,
        settings: &Settings,
        replay: &mut Replay,
        begin: Begin<'_>,
    ) -> anyhow::Result<Links> {
        let checkpoint = begin.checkpoint.and_then(|epoch| {
            let named = replay.checkpoints.iter();
            named.rev().find(|named| named.epoch == epoch).cloned()
        });
        let shape = self.shape;
        begin
            .ledgers
            .make_places(replay.generation, shape.processes)?;
        let mut parts = split(replay, shape, settings.sink_shards);
        replay.blocks = std::mem::take(&mut parts[0]);
        let starts = parts.into_iter().map(|blocks| {
            serde_json::to_vec(&StartInfo {
                timeline: replay.timeline.clone(),
                folder: begin.folder.to_owned(),
                first_epoch: begin.first_epoch,
                checkpoint: checkpoint.clone(),
                positions: begin.positions.to_vec(),
                gone: begin.gone.clone(),
                told: begin.told.to_vec(),
                blocks: blocks.into_iter().collect(),
                intents: replay.intents.clone(),
            })
        });
        let starts: Result<Vec<_>, _> = starts.collect();
        let starts = starts.context("write what the others have to know")?;
        let links = self.gathering.complete(replay.generation, starts);
        links.map_err(job_error)
    }
}

/// What is recorded of blocks, by the process that builds them now. Each learns of the last block of `ops_epoch`: up to
/// there all blocks have been promised.
fn split(replay: &mut Replay, shape: Shape, shards: u16) -> Vec<BTreeMap<BlockId, RecordedBlock>> {
    let mut parts = vec![BTreeMap::new(); shape.processes];
    let epochs = replay
        .blocks
        .iter()
        .filter(|(id, _)| id.table == "ops_epoch");
    if let Some((id, block)) = epochs.max_by_key(|(id, _)| id.epoch) {
        for part in &mut parts[1..] {
            part.insert(id.clone(), block.clone());
        }
    }
    for (id, block) in std::mem::take(&mut replay.blocks) {
        let worker = worker_of_block(&id.table, id.shard, shards, shape.total());
        parts[shape.process_of(worker)].insert(id, block);
    }
    // A follower begins a log of its own.
    let followers = parts[1..].iter_mut();
    followers
        .flat_map(BTreeMap::values_mut)
        .for_each(|block| block.elsewhere = true);
    parts
}

/// Any process but 0.
pub(super) struct Follower {
    config: ClusterConfig,
    listener: TcpListener,
}

impl Follower {
    /// Joins the leader and runs this process's part of the job.
    pub(super) fn run(
        self,
        settings: Arc<Settings>,
        shutdown: Shutdown,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<Outcome> {
        let Follower { config, listener } = self;
        let leader = format!("process 0 at {}", config.hosts.address(0));
        metrics.health.set_waiting_for(Some(leader.clone()));
        let mut waits_for = BTreeSet::new();
        let joined = cluster::follow(&config, listener, &shutdown, |what| {
            metrics
                .health
                .set_waiting_for(Some(format!("{leader}, which waits for {what}")));
            if waits_for.insert(what.to_owned()) {
                tracing::info!("{leader} waits for {what}");
            }
        });
        let Some(joined) = unless_stopped(joined.map_err(job_error), &shutdown)? else {
            return Ok(Outcome::default());
        };
        let info: StartInfo =
            serde_json::from_slice(&joined.start).context("read what the leader says")?;
        metrics.health.set_waiting_for(Some(source_name(&settings)));
        let found = SourcePlan::find(&settings, &shutdown);
        let Some((source, _)) = unless_stopped(found, &shutdown)? else {
            return Ok(Outcome::default());
        };
        metrics.health.set_waiting_for(None);
        // The leader has had it prove itself.
        metrics.health.set_warehouse_proven(true);
        metrics.health.set_timeline(&info.timeline);
        metrics.health.set_generation(joined.generation);
        let store = Store::open(&settings.state_dir)
            .map_err(|error| JobError::Refused(error.to_string()))?;
        let ledger = Ledgers::new(store.clone(), &info.folder)
            .open(
                joined.generation,
                config.process,
                &info.timeline,
                info.first_epoch,
            )
            .map_err(refused)?;
        let mut named = Replay {
            first_epoch: info.first_epoch,
            checkpoints: info.checkpoint.clone().into_iter().collect(),
            ..Replay::default()
        };
        let resumed = newest_checkpoint(&store, &mut named)?.map(|resumed| Resumed {
            // The leader tells of them.
            acks: Vec::new(),
            ..resumed
        });
        if resumed.as_ref().map(Resumed::epoch) != info.checkpoint.map(|named| named.epoch) {
            anyhow::bail!("the checkpoint that the leader starts from cannot be read from {store}");
        }
        tracing::info!(
            "process {} of {}, timeline {}, generation {}: {} blocks recorded",
            config.process,
            config.identity.shape,
            info.timeline,
            joined.generation,
            info.blocks.len(),
        );
        launch(Launch {
            identity: Identity {
                timeline: info.timeline.clone(),
                generation: joined.generation,
                settings_hash: settings.hash(),
            },
            first_epoch: info.first_epoch,
            store,
            folder: info.folder,
            resumed,
            source,
            positions: info.positions,
            gone: info.gone,
            epochs: None,
            promises: EpochLogHandle::start(ledger)?,
            known: Replay {
                timeline: info.timeline,
                first_epoch: info.first_epoch,
                generation: joined.generation,
                blocks: info.blocks.into_iter().collect(),
                intents: info.intents,
                ..Replay::default()
            },
            told: info.told,
            links: joined.links,
            control: JobControl::default(),
            shutdown,
            metrics,
            settings,
        })
    }
}

/// Another store than the leader's is nothing that starting again would mend.
fn refused(error: LedgerError) -> anyhow::Error {
    match error {
        LedgerError::NotShared { .. } => JobError::Refused(error.to_string()).into(),
        error => error.into(),
    }
}

/// The exit code that is due when there is no cluster.
fn job_error(error: ClusterError) -> anyhow::Error {
    match error {
        error if error.is_for_a_restart() => JobError::PeerLost(error.to_string()).into(),
        error @ ClusterError::Refused { .. } => JobError::Refused(error.to_string()).into(),
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn block(table: &str, shard: u16, epoch: u64) -> (BlockId, RecordedBlock) {
        let id = BlockId {
            table: table.to_owned(),
            shard,
            epoch,
            n: 0,
        };
        let block = RecordedBlock {
            rows: 1,
            hash: "h".to_owned(),
            acked_ms: None,
            place: 0,
            elsewhere: false,
        };
        (id, block)
    }

    #[test]
    fn each_process_learns_of_the_blocks_that_it_builds_and_of_the_last_complete_epoch() {
        let mut replay = Replay {
            blocks: [
                block("dwd_span", 0, 5),
                block("dwd_span", 1, 5),
                block("dws_trace", 0, 5),
                block("dws_step_1m", 0, 5),
                block("ops_epoch", 0, 4),
                block("ops_epoch", 0, 5),
            ]
            .into(),
            ..Replay::default()
        };
        let shape = Shape {
            processes: 2,
            workers: 1,
        };
        let parts = split(&mut replay, shape, 2);
        assert!(parts[0].values().all(|block| !block.elsewhere));
        assert!(parts[1].values().all(|block| block.elsewhere));
        let names = |part: &BTreeMap<BlockId, RecordedBlock>| -> Vec<(String, u16, u64)> {
            let ids = part.keys();
            ids.map(|id| (id.table.clone(), id.shard, id.epoch))
                .collect()
        };
        let name = |table: &str, shard, epoch| (table.to_owned(), shard, epoch);
        assert_eq!(
            names(&parts[0]),
            [
                name("dwd_span", 0, 5),
                name("dws_step_1m", 0, 5),
                name("ops_epoch", 0, 4),
                name("ops_epoch", 0, 5),
            ]
        );
        assert_eq!(
            names(&parts[1]),
            [
                name("dwd_span", 1, 5),
                name("dws_trace", 0, 5),
                name("ops_epoch", 0, 5)
            ]
        );
    }

    #[test]
    fn a_missing_process_and_a_refusal_have_exit_codes_of_their_own() {
        use crate::ops::job::{exit, exit_code};
        let missing = ClusterError::Missing {
            seconds: 1.0,
            missing: String::new(),
        };
        assert_eq!(exit_code(&job_error(missing)), exit::PEER_LOST);
        let refused = ClusterError::Refused {
            process: 0,
            address: String::new(),
            reason: crate::cluster::Refusal::Secret,
        };
        assert_eq!(exit_code(&job_error(refused)), exit::REFUSED);
    }
}
