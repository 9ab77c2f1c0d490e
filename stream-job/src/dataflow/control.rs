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

use super::coordinator::{Coordinator, Decision, Report};
use super::epochs::Epoch;
use super::fatal::Fatal;
use crate::checkpoint::record::{AckTime, EpochRecord};
use crate::ops::job::Shutdown;
use crate::source::wall_ms;

/// While the coordinator waits for rows to land, or for a stop, it looks this often.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What the coordinator tells every worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Told {
    /// Release this epoch.
    Epoch(Arc<EpochRecord>),
    /// No further epoch will come.
    Stop,
}

/// Where the coordinator's decisions become durable and where it learns what has landed.
pub(super) trait Journal {
    /// Makes the record of a new epoch durable.
    fn write(&mut self, record: &EpochRecord) -> anyhow::Result<()>;
    /// An epoch, new or replayed, is about to be released.
    fn follow(&mut self, record: &EpochRecord);
    /// The last epoch whose raw and clean rows have all landed.
    fn landed(&self) -> Epoch;
    /// Adds the acknowledgements that came since the last call.
    fn take_acks(&mut self, into: &mut Vec<AckTime>);
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

/// Builds the control dataflow. `lead` is given on worker 0 alone.
pub(super) fn build(
    worker: &mut Worker,
    lead: Option<(Coordinator, Box<dyn Journal>)>,
    shutdown: Shutdown,
    fatal: Fatal,
) -> ControlLink {
    let link = ControlLink::default();
    worker.dataflow_named::<u64, _, _>("control", |scope| {
        let ends = link.clone();
        let reports = source::<_, CapacityContainerBuilder<Vec<Report>>, _, _>(
            scope,
            "report",
            move |cap, info| {
                *ends.reporter.borrow_mut() = Some(scope.activator_for(info.address));
                let mut cap = Some(cap);
                move |output| {
                    if let (Some(cap), Some(report)) = (&cap, ends.outbox.borrow_mut().take()) {
                        output.session(cap).give(report);
                    }
                    if ends.closed.get() {
                        cap = None;
                    }
                }
            },
        );
        let told = reports.unary::<CapacityContainerBuilder<Vec<Told>>, _, _, _>(
            Exchange::new(|_: &Report| 0),
            "coordinate",
            move |cap, info| {
                let activator = scope.activator_for(info.address);
                let mut lead = lead.map(|(coordinator, journal)| Lead {
                    coordinator,
                    journal,
                    acks: Vec::new(),
                });
                let mut cap = lead.is_some().then_some(cap);
                if lead.is_some() {
                    activator.activate();
                }
                move |input, output| {
                    input.for_each(|_, reports| {
                        if let Some(lead) = &mut lead {
                            reports
                                .iter()
                                .for_each(|report| lead.coordinator.report(report));
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
                input.for_each(|_, told| ends.inbox.borrow_mut().extend(told.drain(..)));
                if !ends.inbox.borrow().is_empty() {
                    wake(&ends.listener);
                }
            });
    });
    link
}

struct Lead {
    coordinator: Coordinator,
    journal: Box<dyn Journal>,
    acks: Vec<AckTime>,
}

impl Lead {
    /// All decisions that are due, new records already durable; and whether it was the last one.
    fn decide(&mut self, shutdown: &Shutdown) -> anyhow::Result<(Vec<Told>, bool)> {
        self.journal.take_acks(&mut self.acks);
        let mut told = Vec::new();
        loop {
            let landed = self.journal.landed();
            match self
                .coordinator
                .decide(wall_ms(), landed, &mut self.acks, shutdown.requested())
            {
                Some(Decision::Replay(record)) => {
                    self.journal.follow(&record);
                    told.push(Told::Epoch(Arc::new(record)));
                }
                Some(Decision::Cut(record)) => {
                    self.journal.write(&record)?;
                    self.journal.follow(&record);
                    told.push(Told::Epoch(Arc::new(record)));
                }
                Some(Decision::Stop) => {
                    told.push(Told::Stop);
                    return Ok((told, true));
                }
                None => return Ok((told, false)),
            }
        }
    }

    fn look_again_after(&self) -> Duration {
        let idle = u64::try_from(self.coordinator.idle_for_ms(wall_ms())).unwrap_or(0);
        Duration::from_millis(idle).clamp(Duration::from_millis(1), LOOK_EVERY)
    }
}
