//! A follower's side: it joins the leader, then links up with the other followers.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::door::Door;
use super::execute::Links;
use super::frame::{LARGE, decode, read_frame};
use super::gather::LeaderSays;
use super::handshake::{Failure, connect};
use super::hello::{Assembly, Hello, Refusal, Stage};
use super::proof::Secret;
use super::socket::set_options;
use super::{ClusterConfig, ClusterError, runtime};
use crate::ops::job::Shutdown;

/// A port that nobody listens on yet is tried this often, and a stop is looked for.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// What a follower has when it has joined.
#[derive(Debug)]
pub struct Joined {
    /// The leader's generation.
    pub generation: u64,
    /// What the leader wants it to know.
    pub start: Vec<u8>,
    /// The links to all others.
    pub links: Links,
}

/// Joins the leader, waits until it is ready, and links up with the other followers. `on_wait` is called with what the
/// leader waits for; while it waits, so does the follower.
///
/// # Errors
/// If this process is refused, or another one is silent for longer than the timeout or goes away.
pub fn follow(
    config: &ClusterConfig,
    listener: TcpListener,
    shutdown: &Shutdown,
    on_wait: impl FnMut(&str),
) -> Result<Joined, ClusterError> {
    runtime()?.block_on(async {
        tokio::select! {
            joined = join(config, listener, on_wait) => joined,
            () = stop(shutdown) => Err(ClusterError::Stopped),
        }
    })
}

async fn stop(shutdown: &Shutdown) {
    while !shutdown.requested() {
        sleep(TRY_EVERY).await;
    }
}

async fn join(
    config: &ClusterConfig,
    listener: TcpListener,
    on_wait: impl FnMut(&str),
) -> Result<Joined, ClusterError> {
    let door = Door::open(listener, config.secret.clone())?;
    let leader = config.hosts.address(0).to_owned();
    let stage = Stage::Join {
        address: config.hosts.advertised(config.process, door.port()?),
    };
    let mut stream = reach(Call::new(config, 0, leader.clone(), stage)).await?;
    let (assembly, addresses, start) = await_welcome(&mut stream, config, &leader, on_wait).await?;
    let mut streams = link_up(config, door, &assembly, &addresses).await?;
    streams.insert(0, stream);
    Ok(Joined {
        generation: assembly.generation,
        start,
        links: Links::connected(config.identity.shape, config.process, addresses, streams)?,
    })
}

async fn await_welcome(
    stream: &mut TcpStream,
    config: &ClusterConfig,
    leader: &str,
    mut on_wait: impl FnMut(&str),
) -> Result<(Assembly, Vec<String>, Vec<u8>), ClusterError> {
    let lost = |reason: io::Error| ClusterError::Lost {
        process: 0,
        address: leader.to_owned(),
        reason: reason.to_string(),
    };
    loop {
        match hear_leader(stream, config.timeout).await.map_err(lost)? {
            LeaderSays::Wait { waits_for } => on_wait(&waits_for),
            LeaderSays::Welcome {
                assembly,
                addresses,
            } => {
                let deadline = Instant::now() + config.timeout;
                let start = in_time(deadline, read_frame(stream, LARGE))
                    .await
                    .map_err(lost)?;
                return Ok((assembly, addresses, start));
            }
        }
    }
}

async fn hear_leader(stream: &mut TcpStream, silence: Duration) -> io::Result<LeaderSays> {
    decode(&in_time(Instant::now() + silence, read_frame(stream, LARGE)).await?)
}

async fn in_time<T>(deadline: Instant, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let silent = || io::Error::new(io::ErrorKind::TimedOut, "it says nothing");
    timeout_at(deadline, work)
        .await
        .unwrap_or_else(|_| Err(silent()))
}

/// Connects to the followers before this one, and lets in those after it.
pub(super) async fn link_up(
    config: &ClusterConfig,
    mut door: Door,
    assembly: &Assembly,
    addresses: &[String],
) -> Result<BTreeMap<usize, TcpStream>, ClusterError> {
    let deadline = Instant::now() + config.timeout;
    let mut calls = JoinSet::new();
    for (process, address) in (1..config.process).zip(addresses.iter().skip(1)) {
        let stage = Stage::Link(assembly.clone());
        let call = Call::new(config, process, address.clone(), stage);
        calls.spawn(async move { reach(call).await.map(|stream| (process, stream)) });
    }
    let mut streams = BTreeMap::new();
    // Itself and the leader are no links of this stage.
    while streams.len() + 2 < config.hosts.len() {
        tokio::select! {
            Some(called) = calls.join_next() => {
                let (process, stream) = called.map_err(io::Error::other)??;
                streams.insert(process, stream);
            }
            (from, knock) = door.next_knock() => {
                let process = knock.hello.process;
                let verdict = knock
                    .hello
                    .check(config.process, &config.identity, Some(assembly))
                    .and_then(|()| match streams.contains_key(&process) {
                        true => Err(Refusal::Taken { process, address: addresses[process].clone() }),
                        false => Ok(()),
                    });
                match timeout_at(deadline, knock.answer(&config.secret, verdict)).await {
                    Ok(Ok(stream)) => drop(streams.insert(process, stream)),
                    Ok(Err(reason)) => door.refused(&format!("process {process} at {from}"), &reason),
                    Err(_) => door.refused(&format!("process {process} at {from}"), &"it takes no answer"),
                }
            }
            () = sleep_until(deadline) => return Err(missing(config, addresses, &streams, &door)),
        }
    }
    Ok(streams)
}

fn missing(
    config: &ClusterConfig,
    addresses: &[String],
    streams: &BTreeMap<usize, TcpStream>,
    door: &Door,
) -> ClusterError {
    let absent = (1..config.hosts.len())
        .filter(|process| *process != config.process && !streams.contains_key(process))
        .map(|process| format!("process {process} ({})", addresses[process]));
    ClusterError::Missing {
        seconds: config.timeout.as_secs_f64(),
        missing: format!(
            "{} did not link up{}",
            absent.collect::<Vec<_>>().join(", "),
            door.last_refused(),
        ),
    }
}

/// A connection to be made.
pub(super) struct Call {
    process: usize,
    address: String,
    secret: Secret,
    hello: Hello,
    timeout: Duration,
}

impl Call {
    pub(super) fn new(
        config: &ClusterConfig,
        process: usize,
        address: String,
        stage: Stage,
    ) -> Call {
        Call {
            process,
            address,
            secret: config.secret.clone(),
            hello: Hello {
                identity: config.identity.clone(),
                process: config.process,
                stage,
            },
            timeout: config.timeout,
        }
    }
}

/// Tries until the process lets this one in, refuses it, or the time is over.
pub(super) async fn reach(call: Call) -> Result<TcpStream, ClusterError> {
    let deadline = Instant::now() + call.timeout;
    loop {
        let attempt = timeout_at(deadline, attempt(&call)).await;
        let last = match attempt {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(Failure::Refused(reason))) => {
                return Err(ClusterError::Refused {
                    process: call.process,
                    address: call.address,
                    reason,
                });
            }
            Ok(Err(Failure::Broken(error))) => error.to_string(),
            Err(_) => "it does not answer".to_owned(),
        };
        if Instant::now() + TRY_EVERY >= deadline {
            return Err(ClusterError::Missing {
                seconds: call.timeout.as_secs_f64(),
                missing: format!("process {} at {}: {last}", call.process, call.address),
            });
        }
        sleep(TRY_EVERY).await;
    }
}

async fn attempt(call: &Call) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(&call.address).await?;
    set_options(&stream)?;
    connect(&mut stream, &call.secret, &call.hello).await?;
    Ok(stream)
}
