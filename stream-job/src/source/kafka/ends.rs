//! Where the partitions end: asked for again and again, as an answer is what tells a silent partition from a lost one.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::LoggedContext;
use crate::source::{TopicPartition, wall_ms};

const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// While the broker does not answer it is asked again after this long.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(500);
/// How often the log says that the broker does not answer.
const REMIND_EVERY: Duration = Duration::from_secs(5);

/// Where the broker said a partition ends, and when it said so.
#[derive(Default)]
struct End {
    high: AtomicI64,
    confirmed_ms: AtomicI64,
}

#[derive(Clone, Default)]
struct Wanted {
    partitions: Vec<TopicPartition>,
    ends: Vec<Arc<End>>,
}

/// Asks for the ends of partitions from a thread of its own, until it is dropped.
pub(super) struct Ends {
    ends: Vec<Arc<End>>,
    wanted: Arc<Mutex<Wanted>>,
    stop: Arc<AtomicBool>,
    asker: Option<JoinHandle<()>>,
}

impl Ends {
    /// Starts to ask. `tell` is called with what the broker that does not answer is, and with `None` once it does again.
    pub(super) fn ask(
        consumer: Arc<BaseConsumer<LoggedContext>>,
        every: Duration,
        brokers: String,
        tell: impl Fn(Option<String>) + Send + 'static,
    ) -> std::io::Result<Self> {
        let wanted = Arc::new(Mutex::new(Wanted::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let asker = Asker {
            consumer,
            wanted: wanted.clone(),
            stop: stop.clone(),
            every,
            brokers,
            tell,
        };
        let asker = std::thread::Builder::new()
            .name("kafka-ends".into())
            .spawn(move || asker.run())?;
        Ok(Self {
            ends: Vec::new(),
            wanted,
            stop,
            asker: Some(asker),
        })
    }

    /// Asks for one partition more, after those there are.
    pub(super) fn add(&mut self, partition: &TopicPartition) {
        let end = Arc::new(End::default());
        self.ends.push(end.clone());
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.partitions.push(partition.clone());
        wanted.ends.push(end);
        drop(wanted);
        self.wake();
    }

    /// When a partition's end was last confirmed, and where it was then.
    pub(super) fn of(&self, at: usize) -> Option<(i64, i64)> {
        let end = self.ends.get(at)?;
        let confirmed_ms = end.confirmed_ms.load(Ordering::Acquire);
        (confirmed_ms > 0).then(|| (confirmed_ms, end.high.load(Ordering::Relaxed)))
    }

    fn wake(&self) {
        if let Some(asker) = &self.asker {
            asker.thread().unpark();
        }
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake();
        if let Some(asker) = self.asker.take() {
            // The thread ends within one timeout of a request; a panic of it has been reported by the hook.
            let _ = asker.join();
        }
    }
}

struct Asker<F> {
    consumer: Arc<BaseConsumer<LoggedContext>>,
    wanted: Arc<Mutex<Wanted>>,
    stop: Arc<AtomicBool>,
    every: Duration,
    brokers: String,
    tell: F,
}

impl<F: Fn(Option<String>)> Asker<F> {
    /// A copy: who adds a partition must not wait for an answer.
    fn wanted(&self) -> Wanted {
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.clone()
    }

    fn run(&self) {
        // Since when the broker does not answer, and when that was last logged.
        let mut away: Option<(Instant, Instant)> = None;
        while !self.stop.load(Ordering::Relaxed) {
            let wanted = self.wanted();
            let answer = ask_once(&self.consumer, &wanted);
            let brokers = &self.brokers;
            if let Err(error) = &answer {
                let now = Instant::now();
                let (since, said) = away.unwrap_or((now, now));
                let is_due = away.is_none() || now - said >= REMIND_EVERY;
                away = Some((since, if is_due { now } else { said }));
                if is_due {
                    let seconds = (now - since).as_secs();
                    tracing::warn!(
                        "waiting for Kafka at {brokers}, for {seconds} s so far: {error}"
                    );
                }
                (self.tell)(Some(format!("Kafka at {brokers} ({error})")));
                refresh_leaders(&self.consumer, &wanted);
            } else if let Some((since, _)) = away.take() {
                let seconds = since.elapsed().as_secs();
                tracing::info!("Kafka at {brokers} answers again after {seconds} s");
                (self.tell)(None);
            }
            std::thread::park_timeout(match away {
                Some(_) => ASK_AGAIN_AFTER,
                None => self.every,
            });
        }
    }
}

/// Asks who leads the partitions. A broker that goes down says last that nobody does, and librdkafka keeps that answer
/// for its questions long after the partitions are read again.
fn refresh_leaders(consumer: &BaseConsumer<LoggedContext>, wanted: &Wanted) {
    let topics: BTreeSet<&str> = wanted.partitions.iter().map(|tp| &*tp.topic).collect();
    for topic in topics {
        if let Err(error) = consumer.fetch_metadata(Some(topic), ASK_TIMEOUT) {
            tracing::debug!(target: "kafka", "the leaders of {topic} are not known: {error}");
            return;
        }
    }
}

/// Notes the end of every partition that has a leader which answers. One question asks for all of them, as each may wait
/// for as long as the broker holds back an empty fetch.
///
/// # Errors
/// The first failure; what was answered is noted all the same.
fn ask_once(consumer: &BaseConsumer<LoggedContext>, wanted: &Wanted) -> Result<(), KafkaError> {
    if wanted.partitions.is_empty() {
        return Ok(());
    }
    // The latest offset is that of no time.
    let mut question = TopicPartitionList::new();
    for tp in &wanted.partitions {
        question.add_partition_offset(&tp.topic, tp.partition, Offset::End)?;
    }
    let answers = consumer.offsets_for_times(question, ASK_TIMEOUT)?;
    let now_ms = wall_ms();
    let mut failure = Ok(());
    for (asked, end) in wanted.partitions.iter().zip(&wanted.ends) {
        let Some(answer) = answers.find_partition(&asked.topic, asked.partition) else {
            continue;
        };
        match (answer.error(), answer.offset()) {
            (Ok(()), Offset::Offset(high)) => {
                end.high.store(high, Ordering::Relaxed);
                end.confirmed_ms.store(now_ms, Ordering::Release);
            }
            (Err(error), _) if failure.is_ok() => failure = Err(error),
            _ => {}
        }
    }
    failure
}
