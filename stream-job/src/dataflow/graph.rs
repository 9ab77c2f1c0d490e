//! The dataflow as a picture: the operators and channels that timely reports while it is built.
//!
//! The graph is built for real, with a source that has nothing and an output that keeps nothing, and then dropped. So
//! it can't differ from what runs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use timely::logging::{ChannelsEvent, OperatesEvent, TimelyEvent, TimelyEventBuilder};
use timely::worker::Worker;

use super::build::{self, Shared};
use super::control::{self, Role};
use super::fatal::Fatal;
use super::keeper::Keeper;
use super::memory::Discard;
use super::rules::Rules;
use super::source::SourceParts;
use crate::cluster::Shape;
use crate::ops::job::Shutdown;
use crate::ops::settings::{OnDataLoss, Settings};
use crate::source::buffer::PartitionBuffer;
use crate::source::{Polled, Reader, TopicFilter};

/// One operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Number in the graph.
    pub id: usize,
    /// Name, as in the metrics.
    pub name: String,
    /// Dataflow that it is part of: `control` agrees on epochs, `spans` carries the spans.
    pub dataflow: String,
}

/// One channel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Channel {
    /// Operator that sends.
    pub from: usize,
    /// Operator that receives.
    pub to: usize,
    /// What travels.
    pub data: String,
}

/// The operators of the job and the channels between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    /// Operators, in the order in which they are built.
    pub operators: Vec<Operator>,
    /// Channels.
    pub channels: Vec<Channel>,
}

/// How a graph is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One line an operator, with what it sends to whom.
    Text,
    /// A Mermaid flow chart.
    Mermaid,
    /// Operators and channels as JSON.
    #[default]
    Json,
}

#[derive(Default)]
struct Log {
    operators: Vec<OperatesEvent>,
    channels: Vec<ChannelsEvent>,
}

impl Graph {
    /// The dataflow that these settings lead to.
    ///
    /// # Errors
    /// timely could not start a worker.
    pub fn of(settings: &Settings) -> anyhow::Result<Graph> {
        let log = Arc::new(Mutex::new(Log::default()));
        let (events, settings) = (Arc::clone(&log), settings.clone());
        let guards = timely::execute(timely::Config::thread(), move |worker| {
            listen(worker, &events);
            build_idle(worker, &settings);
            let all = worker.installed_dataflows();
            all.into_iter().for_each(|one| worker.drop_dataflow(one));
            if let Some(mut register) = worker.log_register() {
                register.flush();
            }
        })
        .map_err(|error| anyhow::anyhow!("the dataflow could not be built: {error}"))?;
        for worker in guards.join() {
            worker.map_err(|error| anyhow::anyhow!("the dataflow could not be built: {error}"))?;
        }
        let log = std::mem::take(&mut *log.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Graph::read(&log))
    }

    fn read(log: &Log) -> Graph {
        let by_addr: BTreeMap<&[usize], &OperatesEvent> = log
            .operators
            .iter()
            .map(|operator| (operator.addr.as_slice(), operator))
            .collect();
        let dataflow = |addr: &[usize]| by_addr.get(&addr[..1]).map(|scope| scope.name.clone());
        let operators: Vec<Operator> = log
            .operators
            .iter()
            // The scopes of the dataflows themselves are no operators.
            .filter(|operator| operator.addr.len() > 1)
            .map(|operator| Operator {
                id: operator.id,
                name: operator.name.clone(),
                dataflow: dataflow(&operator.addr).unwrap_or_default(),
            })
            .collect();
        let id_of = |scope: &[usize], node: usize| {
            let addr: Vec<usize> = scope.iter().copied().chain([node]).collect();
            by_addr.get(addr.as_slice()).map(|operator| operator.id)
        };
        // Node 0 is the border of a scope.
        let channels: BTreeSet<Channel> = log
            .channels
            .iter()
            .filter_map(|channel| {
                Some(Channel {
                    from: id_of(&channel.scope_addr, channel.source.0)?,
                    to: id_of(&channel.scope_addr, channel.target.0)?,
                    data: short(&channel.typ),
                })
            })
            .collect();
        let mut graph = Graph {
            operators,
            channels: channels.into_iter().collect(),
        };
        graph.renumber();
        graph
    }

    /// Numbers the operators from 1 on, in the order of their building.
    fn renumber(&mut self) {
        self.operators.sort_by_key(|operator| operator.id);
        let numbers: BTreeMap<usize, usize> =
            self.operators.iter().map(|o| o.id).zip(1..).collect();
        for operator in &mut self.operators {
            operator.id = numbers[&operator.id];
        }
        for channel in &mut self.channels {
            (channel.from, channel.to) = (numbers[&channel.from], numbers[&channel.to]);
        }
    }

    fn dataflows(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.operators.iter().map(|o| o.dataflow.as_str()).collect();
        names.dedup();
        names
    }

    fn within<'a>(&'a self, dataflow: &'a str) -> impl Iterator<Item = &'a Operator> {
        self.operators
            .iter()
            .filter(move |o| o.dataflow == dataflow)
    }

    /// One line an operator.
    #[must_use]
    pub fn text(&self) -> String {
        let name = |id: usize| &self.operators[id - 1].name;
        let mut text = String::new();
        for dataflow in self.dataflows() {
            let _ = writeln!(text, "dataflow {dataflow}");
            for operator in self.within(dataflow) {
                let sends: Vec<String> = self
                    .channels
                    .iter()
                    .filter(|channel| channel.from == operator.id)
                    .map(|channel| {
                        format!("{} [{}] ({})", name(channel.to), channel.to, channel.data)
                    })
                    .collect();
                let _ = write!(text, "  [{}] {}", operator.id, operator.name);
                if !sends.is_empty() {
                    let _ = write!(text, " -> {}", sends.join(", "));
                }
                text.push('\n');
            }
        }
        text
    }

    /// A Mermaid flow chart.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for dataflow in self.dataflows() {
            let _ = writeln!(text, "  subgraph {dataflow}");
            for operator in self.within(dataflow) {
                let _ = writeln!(text, "    o{}[\"{}\"]", operator.id, operator.name);
            }
            text.push_str("  end\n");
        }
        for channel in &self.channels {
            let data = channel.data.replace('<', "#lt;").replace('>', "#gt;");
            let _ = writeln!(text, "  o{} -->|\"{data}\"| o{}", channel.from, channel.to);
        }
        text
    }
}

fn listen(worker: &Worker, log: &Arc<Mutex<Log>>) {
    let log = Arc::clone(log);
    if let Some(mut register) = worker.log_register() {
        register.insert::<TimelyEventBuilder, _>("timely", move |_, events| {
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            for (_, event) in events.take().into_iter().flatten() {
                match event {
                    TimelyEvent::Operates(operator) => log.operators.push(operator),
                    TimelyEvent::Channels(channel) => log.channels.push(channel),
                    _ => {}
                }
            }
        });
    }
}

/// Builds both dataflows as a run does, on a source without partitions.
fn build_idle(worker: &mut Worker, settings: &Settings) {
    let fatal = Fatal::default();
    let shared = Shared {
        rules: Rules::of(settings),
        output: Arc::new(Discard::starting_at(1, false)),
        metrics: Arc::default(),
        checkpoints: None,
        shape: Shape {
            processes: 1,
            workers: 1,
        },
    };
    let parts = SourceParts {
        worker: 0,
        first_epoch: 1,
        open: Box::new(|_, _| Ok(Box::new(Nothing))),
        slots: Vec::new(),
        known_slots: 0,
        appended: Box::new(|_, _| (Vec::new(), Vec::new())),
        on_data_loss: OnDataLoss::Stop,
        buffers: Vec::new(),
        budget_bytes: 1,
        timeless: TopicFilter::Name(String::new()),
        idle_timeout_ms: i64::MAX,
        max_watermark_drift_us: 0,
        event_times: Rc::new(RefCell::new(Vec::new())),
        saved: Box::new(|| None),
        on_read: Box::new(|_, _| {}),
        on_paused: Box::new(|_, _| {}),
        on_lag: Box::new(|_, _| {}),
    };
    let link = control::build(worker, Role::Works, Shutdown::default(), fatal.clone());
    let keeper = Keeper::new(0, 1, None, fatal.clone());
    build::build(worker, parts, link, &shared, &keeper, fatal);
}

/// A source without partitions.
struct Nothing;

impl Reader for Nothing {
    fn poll(
        &mut self,
        _buffers: &mut [PartitionBuffer],
        _budget_bytes: usize,
    ) -> anyhow::Result<Polled> {
        Ok(Polled::default())
    }

    fn confirmed_at_end_ms(&self, _at: usize, _buffer: &PartitionBuffer) -> Option<i64> {
        None
    }

    fn end_offset(&self, _at: usize) -> Option<i64> {
        None
    }
}

/// A type's name without the paths of its parts: `Vec<TracePartial>`.
fn short(name: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in name.chars().chain(['\0']) {
        if c.is_alphanumeric() || c == '_' || c == ':' {
            word.push(c);
            continue;
        }
        out.push_str(word.rsplit("::").next().unwrap_or_default());
        word.clear();
        if c != '\0' {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_graph_holds_every_operator_that_spans_pass_and_the_way_between_them() {
        let graph = Graph::of(&Settings::default()).unwrap();
        let id = |name: &str| {
            let found = graph.operators.iter().find(|o| o.name == name);
            found
                .unwrap_or_else(|| panic!("no {name} in {}", graph.text()))
                .id
        };
        let way = [
            "source",
            "scan",
            "dedup",
            "Concatenate",
            "admit",
            "windows",
            "step_rows",
        ];
        for pair in way.windows(2) {
            let (from, to) = (id(pair[0]), id(pair[1]));
            assert!(
                graph.channels.iter().any(|c| (c.from, c.to) == (from, to)),
                "no channel {pair:?}"
            );
        }
        for name in [
            "coordinate",
            "traces",
            "sessions",
            "top_ranks",
            "freshness",
            "collect",
        ] {
            id(name);
        }
        assert_eq!(graph.dataflows(), ["control", "spans"]);
    }

    #[test]
    fn fewer_layers_are_fewer_operators() {
        let mut settings = Settings::default();
        settings.set("layers", "windows").unwrap();
        let graph = Graph::of(&settings).unwrap();
        assert!(graph.operators.iter().any(|o| o.name == "windows"));
        assert!(!graph.operators.iter().any(|o| o.name == "traces"));
    }

    #[test]
    fn it_is_written_as_text_and_as_mermaid() {
        let graph = Graph {
            operators: vec![
                Operator {
                    id: 1,
                    name: "source".to_owned(),
                    dataflow: "spans".to_owned(),
                },
                Operator {
                    id: 2,
                    name: "scan".to_owned(),
                    dataflow: "spans".to_owned(),
                },
            ],
            channels: vec![Channel {
                from: 1,
                to: 2,
                data: short("alloc::vec::Vec<stream_job::dataflow::source::PartitionBatch>"),
            }],
        };
        assert_eq!(
            graph.text(),
            "dataflow spans\n  [1] source -> scan [2] (Vec<PartitionBatch>)\n  [2] scan\n"
        );
        assert_eq!(
            graph.mermaid(),
            "flowchart LR\n  subgraph spans\n    o1[\"source\"]\n    o2[\"scan\"]\n  end\n  \
             o1 -->|\"Vec#lt;PartitionBatch#gt;\"| o2\n"
        );
    }

    #[test]
    fn types_lose_their_paths() {
        assert_eq!(
            short("alloc::vec::Vec<(a::b::Key, (u16, core::option::Option<i64>))>"),
            "Vec<(Key, (u16, Option<i64>))>"
        );
    }
}
