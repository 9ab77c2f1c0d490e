//! The leader's side: it gathers the followers while it prepares, and sends them off together.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout, timeout_at};

use super::door::Door;
use super::execute::Links;
use super::frame::{encode, write_frame};
use super::handshake::Knock;
use super::hello::{Assembly, Refusal, Stage};
use super::proof::nonce;
use super::socket::is_gone;
use super::{ClusterConfig, ClusterError, runtime};
use crate::ops::job::Shutdown;

/// How often followers hear that the leader still lives.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// How long an answer of a few bytes may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What the leader says to a follower that has joined.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum LeaderSays {
    /// Not yet.
    Wait {
        /// What the leader waits for.
        waits_for: String,
    },
    /// Now. The start info follows in a frame of its own.
    Welcome {
        assembly: Assembly,
        /// Where every process is reached.
        addresses: Vec<String>,
    },
}

enum Order {
    WaitsFor(String),
    Complete {
        generation: u64,
        starts: Vec<Vec<u8>>,
    },
}

/// The followers that have joined so far. Dropping it sends them away.
#[derive(Debug)]
pub struct Gathering {
    orders: mpsc::UnboundedSender<Order>,
    thread: JoinHandle<Result<Links, ClusterError>>,
}

impl Gathering {
    /// Lets followers in from now on, on a thread of its own.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(
        config: ClusterConfig,
        listener: TcpListener,
        shutdown: Shutdown,
    ) -> Result<Gathering, ClusterError> {
        let (orders, taken) = mpsc::unbounded_channel();
        let runtime = runtime()?;
        let thread = std::thread::Builder::new()
            .name("cluster".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let gatherer = Gatherer::new(config, listener, shutdown)?;
                    gatherer.run(taken).await
                })
            })?;
        Ok(Gathering { orders, thread })
    }

    /// Tells the followers what the leader itself waits for.
    pub fn waits_for(&self, what: &str) {
        // A thread that has ended says why in `complete`.
        let _ = self.orders.send(Order::WaitsFor(what.to_owned()));
    }

    /// Waits until all have joined, at most the timeout from now on, and sends them off with the generation and each its
    /// start info, in the order of processes.
    ///
    /// # Errors
    /// If one does not come, or goes away at the last moment.
    pub fn complete(self, generation: u64, starts: Vec<Vec<u8>>) -> Result<Links, ClusterError> {
        let _ = self.orders.send(Order::Complete { generation, starts });
        self.thread
            .join()
            .unwrap_or_else(|_| Err(std::io::Error::other("its thread panicked").into()))
    }
}

struct Member {
    stream: TcpStream,
    address: String,
}

struct Gatherer {
    config: ClusterConfig,
    door: Door,
    members: BTreeMap<usize, Member>,
    waits_for: String,
    shutdown: Shutdown,
}

impl Gatherer {
    fn new(
        config: ClusterConfig,
        listener: TcpListener,
        shutdown: Shutdown,
    ) -> Result<Gatherer, ClusterError> {
        Ok(Gatherer {
            door: Door::open(listener, config.secret.clone())?,
            config,
            members: BTreeMap::new(),
            waits_for: "the leader's start".to_owned(),
            shutdown,
        })
    }

    async fn run(
        mut self,
        mut orders: mpsc::UnboundedReceiver<Order>,
    ) -> Result<Links, ClusterError> {
        let mut tick = interval(TELL_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut complete: Option<(u64, Vec<Vec<u8>>)> = None;
        let mut deadline = Instant::now();
        loop {
            if self.members.len() + 1 == self.config.hosts.len() && complete.is_some() {
                self.forget_the_gone();
            }
            if self.members.len() + 1 == self.config.hosts.len()
                && let Some((generation, starts)) = complete.take()
            {
                return self.send_off(generation, &starts, deadline).await;
            }
            tokio::select! {
                order = orders.recv(), if complete.is_none() => match order {
                    Some(Order::WaitsFor(what)) => self.waits_for = what,
                    Some(Order::Complete { generation, starts }) => {
                        complete = Some((generation, starts));
                        deadline = Instant::now() + self.config.timeout;
                        self.waits_for = "the other processes".to_owned();
                    }
                    None => return Err(ClusterError::Stopped),
                },
                (from, knock) = self.door.next_knock() => self.take(&from.to_string(), knock).await,
                _ = tick.tick() => {
                    if self.shutdown.requested() && complete.is_some() {
                        return Err(ClusterError::Stopped);
                    }
                    self.tell_members().await;
                }
                () = sleep_until(deadline), if complete.is_some() => return Err(self.missing()),
            }
        }
    }

    /// Lets a process in, or refuses it by name.
    async fn take(&mut self, from: &str, knock: Knock) {
        let process = knock.hello.process;
        let Stage::Join { address } = knock.hello.stage.clone() else {
            let verdict = knock
                .hello
                .check(self.config.process, &self.config.identity, None);
            return self.refuse(from, knock, verdict).await;
        };
        let verdict = knock
            .hello
            .check(self.config.process, &self.config.identity, None)
            .and_then(|()| self.is_free(process));
        if verdict.is_err() {
            return self.refuse(from, knock, verdict).await;
        }
        match timeout(ANSWER_WITHIN, knock.answer(&self.config.secret, Ok(()))).await {
            Ok(Ok(stream)) => {
                tracing::info!("process {process} at {address} has joined");
                self.members.insert(process, Member { stream, address });
            }
            Ok(Err(error)) => tracing::warn!("process {process} at {from} went away: {error}"),
            Err(_) => tracing::warn!("process {process} at {from} takes no answer"),
        }
    }

    async fn refuse(&mut self, from: &str, knock: Knock, verdict: Result<(), Refusal>) {
        let process = knock.hello.process;
        if let Err(reason) = &verdict {
            self.door
                .refused(&format!("process {process} at {from}"), reason);
        }
        // It learns the reason if it is still there.
        let _ = timeout(ANSWER_WITHIN, knock.answer(&self.config.secret, verdict)).await;
    }

    /// A process may come again when its first connection is gone.
    fn is_free(&self, process: usize) -> Result<(), Refusal> {
        match self.members.get(&process) {
            Some(member) if !is_gone(&member.stream) => Err(Refusal::Taken {
                process,
                address: member.address.clone(),
            }),
            _ => Ok(()),
        }
    }

    fn forget_the_gone(&mut self) {
        self.members.retain(|process, member| {
            let stays = !is_gone(&member.stream);
            if !stays {
                tracing::warn!("process {process} at {} has gone again", member.address);
            }
            stays
        });
    }

    async fn tell_members(&mut self) {
        self.forget_the_gone();
        let message = encode(&LeaderSays::Wait {
            waits_for: self.waits_for.clone(),
        });
        for member in self.members.values_mut() {
            // One that takes nothing in is noticed by its socket.
            let _ = timeout(ANSWER_WITHIN, write_frame(&mut member.stream, &message)).await;
        }
    }

    async fn send_off(
        mut self,
        generation: u64,
        starts: &[Vec<u8>],
        deadline: Instant,
    ) -> Result<Links, ClusterError> {
        let mut addresses = vec![self.config.hosts.address(0).to_owned()];
        addresses.extend(self.members.values().map(|member| member.address.clone()));
        let token = nonce()?.iter().map(|byte| format!("{byte:02x}")).collect();
        let welcome = encode(&LeaderSays::Welcome {
            assembly: Assembly { generation, token },
            addresses: addresses.clone(),
        });
        for (&process, member) in &mut self.members {
            let start = starts.get(process).map_or(&[][..], Vec::as_slice);
            let sending = async {
                write_frame(&mut member.stream, &welcome).await?;
                write_frame(&mut member.stream, start).await
            };
            let sent = timeout_at(deadline, sending).await;
            if let Ok(Ok(())) = sent {
                continue;
            }
            return Err(ClusterError::Lost {
                process,
                address: member.address.clone(),
                reason: match sent {
                    Ok(Err(error)) => error.to_string(),
                    _ => "it takes nothing in".to_owned(),
                },
            });
        }
        let streams = self
            .members
            .into_iter()
            .map(|(process, member)| (process, member.stream));
        Links::connected(self.config.identity.shape, 0, addresses, streams)
    }

    fn missing(&self) -> ClusterError {
        let absent = (1..self.config.hosts.len())
            .filter(|process| !self.members.contains_key(process))
            .map(|process| format!("process {process} ({})", self.config.hosts.address(process)));
        let missing = format!(
            "{} did not come{}",
            absent.collect::<Vec<_>>().join(", "),
            self.door.last_refused(),
        );
        ClusterError::Missing {
            seconds: self.config.timeout.as_secs_f64(),
            missing,
        }
    }
}
