//! How the workers agree on epochs: reports go to the coordinator on worker 0, its records come back to everybody.
//!
//! It is a dataflow of its own, next to the one that carries the spans: timely's channels reach every worker of every
//! process, and nothing else has to.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::Operator;
use timely::dataflow::operators::generic::operator::source;
use timely::dataflow::operators::vec::Broadcast;
use timely::scheduling::Activator;
use timely::worker::Worker;

use super::coordinator::{Coordinator, Decision, Progress, Report};
use super::epochs::Epoch;
use super::fatal::Fatal;
use super::processes::{ProcessReport, Processes};
use crate::checkpoint::record::{AckTime, EpochRecord, Position};
use crate::checkpoint::service::{Kept, Ready};
use crate::ops::control::SavepointRequest;
use crate::ops::job::Shutdown;
use crate::source::wall_ms;

/// While the coordinator waits for rows to land, or for a stop, it looks this often.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What the coordinator tells every worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Told {
    /// Release this epoch.
    Epoch(Arc<EpochRecord>),
    /// A checkpoint is complete.
    Checkpointed(Kept),
    /// From here on nothing is replayed any more: what is read is new.
    Live,
    /// No further epoch will come.
    Stop,
}

/// What comes to the coordinator.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Said {
    /// What a worker says of its partitions.
    Worker(Report),
    /// What a process says of its rows.
    Process(ProcessReport),
}

/// What a worker has to do with the coordinator, besides reporting to it.
pub(super) enum Role {
    /// It is the first of the first process, and holds the coordinator.
    Leads(Box<Lead>),
    /// It is the first of another process, and speaks for it.
    Follows(Box<dyn Follower>),
    /// Nothing.
    Works,
}

/// What a process that follows has to say and to hear.
pub(super) trait Follower {
    /// How far it has come.
    fn report(&mut self) -> ProcessReport;
    /// Process 0 has completed a checkpoint.
    fn checkpointed(&mut self, kept: Kept);
}

/// Where the coordinator's decisions become durable and where it learns what has landed.
pub(super) trait Journal {
    /// Makes the record of a new epoch durable.
    fn write(&mut self, record: &EpochRecord) -> anyhow::Result<()>;
    /// An epoch, new or replayed, is about to be released.
    fn follow(&mut self, record: &EpochRecord);
    /// How far what was released has come.
    fn progress(&self) -> Progress;
    /// Completes a checkpoint, in the background, and makes it a savepoint too where one was asked for.
    fn checkpoint(&mut self, ready: Ready, savepoint: Option<SavepointRequest>);
    /// The next savepoint that is asked for.
    fn take_savepoint_request(&mut self) -> Option<SavepointRequest>;
    /// The checkpoints that are kept.
    fn kept(&self) -> Option<Kept>;
    /// Partitions that were found since the last call, or why the source can't be read on.
    fn take_found(&mut self) -> anyhow::Result<Vec<Position>>;
    /// Adds the acknowledgements that came since the last call.
    fn take_acks(&mut self, into: &mut Vec<AckTime>);
    /// The other processes have landed everything up to this epoch, the last of it at `acked_ms`.
    fn others_landed(&mut self, through: Epoch, acked_ms: i64);
}

/// The two ends of the control dataflow on one worker, held by its source.
#[derive(Clone, Default)]
pub(super) struct ControlLink {
    inbox: Rc<RefCell<VecDeque<Told>>>,
    outbox: Rc<RefCell<Option<Report>>>,
    reporter: Rc<RefCell<Option<Activator>>>,
    listener: Rc<RefCell<Option<Activator>>>,
    closed: Rc<Cell<bool>>,
}

impl ControlLink {
    /// Sends a report; a newer one replaces an older one that is still on its way.
    pub(super) fn report(&self, report: Report) {
        *self.outbox.borrow_mut() = Some(report);
        wake(&self.reporter);
    }

    /// The next message of the coordinator.
    pub(super) fn receive(&self) -> Option<Told> {
        self.inbox.borrow_mut().pop_front()
    }

    /// Names who is woken when a message arrives.
    pub(super) fn listen(&self, activator: Activator) {
        *self.listener.borrow_mut() = Some(activator);
    }

    /// Nothing will be reported any more.
    pub(super) fn close(&self) {
        self.closed.set(true);
        wake(&self.reporter);
    }
}

fn wake(activator: &RefCell<Option<Activator>>) {
    if let Some(activator) = activator.borrow().as_ref() {
        activator.activate();
    }
}

/// Builds the control dataflow.
pub(super) fn build(
    worker: &mut Worker,
    role: Role,
    shutdown: Shutdown,
    fatal: Fatal,
) -> ControlLink {
    let link = ControlLink::default();
    let (lead, follower) = match role {
        Role::Leads(lead) => (Some(lead), None),
        Role::Follows(follower) => (None, Some(Rc::new(RefCell::new(follower)))),
        Role::Works => (None, None),
    };
    let listener = follower.clone();
    worker.dataflow_named::<u64, _, _>("control", |scope| {
        let ends = link.clone();
        let reports = source::<_, CapacityContainerBuilder<Vec<Said>>, _, _>(
            scope,
            "report",
            move |cap, info| {
                let activator = scope.activator_for(info.address.clone());
                *ends.reporter.borrow_mut() = Some(scope.activator_for(info.address));
                if follower.is_some() {
                    activator.activate();
                }
                let mut told = None;
                let mut cap = Some(cap);
                move |output| {
                    if let (Some(cap), Some(report)) = (&cap, ends.outbox.borrow_mut().take()) {
                        output.session(cap).give(Said::Worker(report));
                    }
                    if let (Some(cap), Some(follower)) = (&cap, &follower) {
                        let report = follower.borrow_mut().report();
                        if told.as_ref() != Some(&report) {
                            told = Some(report.clone());
                            output.session(cap).give(Said::Process(report));
                        }
                        activator.activate_after(LOOK_EVERY);
                    }
                    if ends.closed.get() {
                        cap = None;
                    }
                }
            },
        );
        let told = reports.unary::<CapacityContainerBuilder<Vec<Told>>, _, _, _>(
            Exchange::new(|_: &Said| 0),
            "coordinate",
            move |cap, info| {
                let activator = scope.activator_for(info.address);
                let mut lead = lead;
                let mut cap = lead.is_some().then_some(cap);
                if lead.is_some() {
                    activator.activate();
                }
                move |input, output| {
                    input.for_each(|_, said| {
                        if let Some(lead) = &mut lead {
                            said.drain(..).for_each(|said| lead.hear(said));
                        }
                    });
                    let (Some(lead), Some(at)) = (&mut lead, &cap) else {
                        return;
                    };
                    match lead.decide(&shutdown) {
                        Ok((mut told, stop)) => {
                            output.session(at).give_container(&mut told);
                            if stop {
                                cap = None;
                            } else {
                                activator.activate_after(lead.look_again_after());
                            }
                        }
                        Err(error) => {
                            fatal.raise(error);
                            cap = None;
                        }
                    }
                }
            },
        );
        let ends = link.clone();
        told.broadcast()
            .sink(Pipeline, "told", move |(input, _frontier)| {
                input.for_each(|_, told| {
                    for told in told.drain(..) {
                        match (told, &listener) {
                            (Told::Checkpointed(kept), Some(follower)) => {
                                follower.borrow_mut().checkpointed(kept);
                            }
                            (Told::Checkpointed(_), None) => {}
                            (told, _) => ends.inbox.borrow_mut().push_back(told),
                        }
                    }
                });
                if !ends.inbox.borrow().is_empty() {
                    wake(&ends.listener);
                }
            });
    });
    link
}

/// The coordinator, and what it goes by.
pub(super) struct Lead {
    coordinator: Coordinator,
    journal: Box<dyn Journal>,
    processes: Processes,
    acks: Vec<AckTime>,
    /// The savepoint that is being made, with its epoch once that is cut.
    savepoint: Option<(SavepointRequest, Option<Epoch>)>,
    /// The last epoch released with which blocks end.
    run_end: Epoch,
    /// The checkpoints that the others know of.
    kept: Option<Kept>,
    /// The workers know that the replay is over.
    is_live: bool,
    /// Nothing more is released.
    stops: bool,
}

impl Lead {
    /// The coordinator of so many processes.
    pub(super) fn new(
        coordinator: Coordinator,
        journal: Box<dyn Journal>,
        processes: Processes,
    ) -> Self {
        Self {
            coordinator,
            journal,
            processes,
            acks: Vec::new(),
            savepoint: None,
            run_end: 0,
            kept: None,
            is_live: false,
            stops: false,
        }
    }

    fn hear(&mut self, said: Said) {
        match said {
            Said::Worker(report) => self.coordinator.report(&report),
            Said::Process(report) => self.processes.report(report),
        }
    }

    /// All decisions that are due, new records already durable; and whether it was the last one.
    fn decide(&mut self, shutdown: &Shutdown) -> anyhow::Result<(Vec<Told>, bool)> {
        self.coordinator.add(self.journal.take_found()?);
        if self.savepoint.is_none()
            && let Some(request) = self.journal.take_savepoint_request()
        {
            self.coordinator.make_savepoint(request.stop);
            self.savepoint = Some((request, None));
        }
        let mut told = Vec::new();
        loop {
            let progress = self.hear_own();
            let stopping = shutdown.requested() || self.processes.stopping();
            match self
                .coordinator
                .decide(wall_ms(), progress, &mut self.acks, stopping)
            {
                Some(Decision::Replay(record)) => told.push(self.release(record)),
                Some(Decision::Cut(record)) => {
                    if let Some((_, epoch @ None)) = &mut self.savepoint
                        && record.checkpoint.is_some()
                    {
                        *epoch = Some(record.epoch);
                    }
                    self.journal.write(&record)?;
                    told.push(self.release(record));
                }
                Some(Decision::Checkpoint(record, layer)) => {
                    // All of these epochs have landed: what no record tells of yet is in `acks`.
                    let untold = self.acks.iter().filter(|ack| ack.epoch <= record.epoch);
                    let acks = untold.cloned().collect();
                    let is_for = |saved: &mut (_, Option<Epoch>)| saved.1 == Some(record.epoch);
                    let savepoint = self.savepoint.take_if(is_for).map(|(request, _)| request);
                    let ready = Ready {
                        record,
                        layer,
                        acks,
                    };
                    self.journal.checkpoint(ready, savepoint);
                }
                Some(Decision::Stop) => self.stops = true,
                None => break,
            }
        }
        if !self.stops && !self.is_live && !self.coordinator.is_replaying() {
            self.is_live = true;
            told.push(Told::Live);
        }
        told.extend(self.news_of_checkpoints());
        let stop = self.stops && self.others_are_done();
        if stop {
            told.push(Told::Stop);
        }
        Ok((told, stop))
    }

    /// What the other processes do not know yet.
    fn news_of_checkpoints(&mut self) -> Option<Told> {
        self.processes.others_whole()?;
        let kept = self.journal.kept();
        let is_news = kept != self.kept;
        self.kept = kept;
        self.kept
            .clone()
            .filter(|_| is_news)
            .map(Told::Checkpointed)
    }

    fn release(&mut self, record: EpochRecord) -> Told {
        self.journal.follow(&record);
        if record.dws_block_ends {
            self.run_end = record.epoch;
        }
        Told::Epoch(Arc::new(record))
    }

    /// How far all processes have come.
    fn hear_own(&mut self) -> Progress {
        let progress = self.journal.progress();
        let mut own = ProcessReport {
            raw: progress.landed,
            ..ProcessReport::default()
        };
        // After the epochs were asked for: an acknowledgement must not come later than the epoch that it is of.
        self.journal.take_acks(&mut own.acks);
        self.processes.report(own);
        self.processes.take_acks(&mut self.acks);
        if let Some((through, acked_ms)) = self.processes.others_whole() {
            self.journal.others_landed(through, acked_ms);
        }
        Progress {
            landed: self.processes.raw(),
            ..progress
        }
    }

    /// The others can tell what they have landed only as long as the dataflow lives, and `ops_epoch` waits for it.
    fn others_are_done(&self) -> bool {
        let others = self.processes.others_whole();
        others.is_none_or(|(through, _)| through >= self.run_end)
    }

    fn look_again_after(&self) -> Duration {
        let idle = u64::try_from(self.coordinator.idle_for_ms(wall_ms())).unwrap_or(0);
        Duration::from_millis(idle).clamp(Duration::from_millis(1), LOOK_EVERY)
    }
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
