//! Runs timely's workers over the links.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc;

use timely::WorkerConfig;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::allocator::{AllocatorBuilder, ProcessBuilder};
use timely::communication::{Hooks, WorkerGuards};
use timely::execute::execute_from;
use timely::worker::Worker;

use super::shape::Shape;
use super::{ClusterError, lost};

/// How a worker came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its dataflows are complete.
    Done,
    /// It gives up, and with it this process, and with that every process.
    GaveUp,
}

/// The streams to the other processes, in the order of processes.
#[derive(Debug)]
pub struct Links {
    shape: Shape,
    process: usize,
    addresses: Vec<String>,
    streams: Vec<Option<TcpStream>>,
}

impl Links {
    /// One process with this many workers, and no links.
    #[must_use]
    pub fn alone(workers: usize) -> Links {
        Links {
            shape: Shape {
                processes: 1,
                workers,
            },
            process: 0,
            addresses: Vec::new(),
            streams: vec![None],
        }
    }

    pub(super) fn connected(
        shape: Shape,
        process: usize,
        addresses: Vec<String>,
        peers: impl IntoIterator<Item = (usize, tokio::net::TcpStream)>,
    ) -> Result<Links, ClusterError> {
        let mut streams: Vec<Option<TcpStream>> = (0..shape.processes).map(|_| None).collect();
        for (peer, stream) in peers {
            streams[peer] = Some(stream.into_std()?);
        }
        Ok(Links {
            shape,
            process,
            addresses,
            streams,
        })
    }

    /// Processes and workers.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// This process.
    #[must_use]
    pub fn process(&self) -> usize {
        self.process
    }

    /// Whether there is no other process.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.shape.processes == 1
    }

    /// Runs `work` on every worker of this process, and returns when all are done, or as soon as one has given up. In
    /// that case the other processes lose this one, and the workers of this process stand still for ever: it must end.
    ///
    /// # Errors
    /// If threads cannot be started, or a worker panicked.
    pub fn execute<F>(self, work: F) -> Result<Ended, String>
    where
        F: Fn(&mut Worker) -> Ended + Send + Sync + 'static,
    {
        let workers = self.shape.workers;
        let breaker = Breaker::of(&self.streams).map_err(|error| error.to_string())?;
        let (tell, told) = mpsc::channel();
        let work = move |worker: &mut Worker| {
            let ended = work(worker);
            if ended == Ended::GaveUp {
                breaker.break_links();
            }
            // Nobody listens any more once one has given up.
            let _ = tell.send(ended);
            if ended == Ended::GaveUp {
                stand_still();
            }
        };
        let guards = self.start(work)?;
        for _ in 0..workers {
            // A worker that panicked tells nothing; joining it does.
            if told.recv() == Ok(Ended::GaveUp) {
                // Joining would wait for ever for workers that stand still.
                std::mem::forget(guards);
                return Ok(Ended::GaveUp);
            }
        }
        guards.join().into_iter().collect::<Result<Vec<()>, _>>()?;
        Ok(Ended::Done)
    }

    fn start<F>(self, work: F) -> Result<WorkerGuards<()>, String>
    where
        F: Fn(&mut Worker) + Send + Sync + 'static,
    {
        if self.is_alone() {
            return timely::execute(timely::Config::process(self.shape.workers), work);
        }
        lost::remember(&self.addresses);
        let hooks = Hooks::default();
        let threads = self.shape.workers;
        let local =
            ProcessBuilder::new_typed_vector(threads, hooks.refill.clone(), hooks.spill.clone());
        let (builders, guard) =
            initialize_networking_from_sockets(local, self.streams, self.process, threads, hooks)
                .map_err(|error| format!("timely cannot use the links: {error}"))?;
        let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
        execute_from(builders, Box::new(guard), WorkerConfig::default(), work)
    }
}

/// The links are broken, so another step of the worker would panic.
fn stand_still() -> ! {
    loop {
        std::thread::park();
    }
}

/// Breaks all links at once, so that the others see a lost process and not one that has finished.
#[derive(Clone, Debug)]
struct Breaker(Arc<Vec<TcpStream>>);

impl Breaker {
    fn of(streams: &[Option<TcpStream>]) -> std::io::Result<Breaker> {
        let streams: Result<Vec<_>, _> =
            streams.iter().flatten().map(TcpStream::try_clone).collect();
        Ok(Breaker(Arc::new(streams?)))
    }

    fn break_links(&self) {
        lost::give_up();
        for stream in self.0.iter() {
            // A link that is broken already is what was wanted.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}
