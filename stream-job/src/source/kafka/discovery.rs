//! Looks for partitions and topics that come while the job runs, and for topics that go.
//!
//! A thread of its own asks the broker what there is. What is new begins at its first offset: all of it came after the
//! job looked last. A topic that was deleted, or made again under its old name, is a failure: records that were never
//! read may have gone with it, and offsets that begin anew are no continuation.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::LoggedContext;
use super::topics::{ids_of, list_partitions};
use crate::checkpoint::record::Position;
use crate::source::TopicFilters;

const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// A topic counts as deleted when this many answers in a row leave it out: a broker that starts knows few topics.
const MISSING_ANSWERS: u32 = 3;

/// Partitions that were found, or why the job must not go on.
type News = Result<Vec<Position>, String>;

/// The thread that looks. Dropping it ends it.
pub struct Discovery {
    news: Mutex<Receiver<News>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Discovery {
    /// Looks every `every` for partitions of `topics` that are not among `known`. Of those, the topics that are `gone`
    /// are not missed.
    ///
    /// # Errors
    /// When the client or the thread can't be made.
    pub fn start(
        config: &ClientConfig,
        topics: TopicFilters,
        known: &[Position],
        gone: BTreeSet<String>,
        every: Duration,
    ) -> anyhow::Result<Self> {
        let client: BaseConsumer<LoggedContext> = config.create_with_context(LoggedContext)?;
        let (sender, news) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let mut known = Known::new(known);
        known.gone = gone;
        let thread = std::thread::Builder::new()
            .name("kafka-topics".into())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    std::thread::park_timeout(every);
                    if stopped.load(Ordering::Relaxed)
                        || !look(&client, &topics, &mut known, &sender)
                    {
                        return;
                    }
                }
            })?;
        Ok(Self {
            news: Mutex::new(news),
            stop,
            thread: Some(thread),
        })
    }

    /// The partitions that were found since the last call.
    ///
    /// # Errors
    /// A topic was deleted or made again.
    pub fn take(&self) -> anyhow::Result<Vec<Position>> {
        let mut found = Vec::new();
        let waiting = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        for news in waiting.try_iter() {
            found.extend(news.map_err(|reason| anyhow::anyhow!(reason))?);
        }
        Ok(found)
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It ends within one timeout of a request; a panic of it has been reported by the hook.
            let _ = thread.join();
        }
    }
}

/// Looks once. Whether to look again.
fn look(
    client: &BaseConsumer<LoggedContext>,
    topics: &TopicFilters,
    known: &mut Known,
    sender: &Sender<News>,
) -> bool {
    let listed = match list_partitions(client, topics) {
        Ok(listed) => listed,
        Err(error) => {
            // Who asks for the partitions' ends says that the broker is away.
            tracing::debug!(target: "kafka", "the topics are not known: {error}");
            return true;
        }
    };
    let names: BTreeSet<&str> = listed.iter().map(|(topic, _)| topic.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let ids = ids_of(client, &names).unwrap_or_default();
    let news = match known.compare(&listed, &ids) {
        Err(reason) => Err(reason),
        Ok(new) => Ok(new
            .into_iter()
            .filter_map(|mut position| {
                let (topic, partition) = (&position.topic, position.partition);
                // One whose leader does not answer yet is found the next time.
                let offsets = client.fetch_watermarks(topic, partition, ASK_TIMEOUT);
                position.next_offset = offsets.ok()?.0;
                Some(position)
            })
            .collect::<Vec<_>>()),
    };
    let goes_on = news.is_ok();
    if let Ok(found) = &news {
        if found.is_empty() {
            return true;
        }
        known.add(found);
    }
    sender.send(news).is_ok() && goes_on
}

/// The partitions that are read already.
#[derive(Debug, Default)]
struct Known {
    partitions: BTreeSet<(String, i32)>,
    ids: BTreeMap<String, String>,
    /// Topics that were gone when the job started.
    gone: BTreeSet<String>,
    missing: BTreeMap<String, u32>,
}

impl Known {
    fn new(positions: &[Position]) -> Self {
        let mut known = Self::default();
        known.add(positions);
        known
    }

    fn add(&mut self, positions: &[Position]) {
        for position in positions {
            let topic = &position.topic;
            self.partitions.insert((topic.clone(), position.partition));
            self.ids.insert(topic.clone(), position.topic_id.clone());
        }
    }

    /// Holds what the broker tells against what is known: the partitions that are new, at offset 0.
    fn compare(
        &mut self,
        listed: &[(String, i32)],
        ids: &BTreeMap<String, String>,
    ) -> Result<Vec<Position>, String> {
        for (topic, id) in &mut self.ids {
            if !listed.iter().any(|(name, _)| name == topic) {
                if self.gone.contains(topic) {
                    continue;
                }
                let answers = self.missing.entry(topic.clone()).or_default();
                *answers += 1;
                if *answers >= MISSING_ANSWERS {
                    return Err(format!(
                        "topic {topic} was deleted while it was read: what was not read yet is gone. Start with \
                         on_data_loss = \"continue\" to go on without it"
                    ));
                }
                continue;
            }
            self.missing.remove(topic);
            match ids.get(topic) {
                Some(now) if id.is_empty() => id.clone_from(now),
                Some(now) if now != id => {
                    return Err(format!(
                        "topic {topic} was deleted and made again while it was read (its id is {now}, not {id}): its \
                         offsets mean other records now. Start with --new-timeline on a database of its own"
                    ));
                }
                _ => {}
            }
        }
        let mut new: Vec<Position> = listed
            .iter()
            .filter(|(topic, partition)| !self.partitions.contains(&(topic.clone(), *partition)))
            .map(|(topic, partition)| Position {
                topic: topic.clone(),
                topic_id: ids.get(topic).cloned().unwrap_or_default(),
                partition: *partition,
                next_offset: 0,
            })
            .collect();
        new.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn position(topic: &str, partition: i32, topic_id: &str) -> Position {
        Position {
            topic: topic.to_owned(),
            topic_id: topic_id.to_owned(),
            partition,
            next_offset: 0,
        }
    }

    fn listed(partitions: &[(&str, i32)]) -> Vec<(String, i32)> {
        let owned = partitions.iter().map(|&(topic, at)| (topic.to_owned(), at));
        owned.collect()
    }

    fn ids(ids: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = ids.iter().map(|&(topic, id)| (topic.into(), id.into()));
        owned.collect()
    }

    #[test]
    fn partitions_and_topics_that_are_not_known_are_new() {
        let mut known = Known::new(&[position("b", 0, "B")]);
        let now = listed(&[("c", 0), ("b", 1), ("b", 0), ("a", 0)]);
        let ids = ids(&[("b", "B"), ("a", "A")]);
        let new = known.compare(&now, &ids).unwrap();
        let wanted = [
            position("a", 0, "A"),
            position("b", 1, "B"),
            position("c", 0, ""),
        ];
        assert_eq!(new, wanted);
        known.add(&new);
        assert_eq!(known.compare(&now, &ids), Ok(Vec::new()));
    }

    #[test]
    fn a_topic_made_again_is_named() {
        let mut known = Known::new(&[position("b", 0, "B")]);
        let error = known.compare(&listed(&[("b", 0)]), &ids(&[("b", "X")]));
        let error = error.unwrap_err();
        assert!(
            error.contains("topic b") && error.contains("made again"),
            "{error}"
        );
    }

    #[test]
    fn a_topic_counts_as_deleted_only_when_several_answers_in_a_row_leave_it_out() {
        let mut known = Known::new(&[position("b", 0, "B")]);
        let (there, ids) = (listed(&[("b", 0)]), ids(&[("b", "B")]));
        for _ in 1..MISSING_ANSWERS {
            assert_eq!(known.compare(&[], &BTreeMap::new()), Ok(Vec::new()));
        }
        assert_eq!(known.compare(&there, &ids), Ok(Vec::new()), "it is back");
        for _ in 1..MISSING_ANSWERS {
            assert_eq!(known.compare(&[], &BTreeMap::new()), Ok(Vec::new()));
        }
        let error = known.compare(&[], &BTreeMap::new()).unwrap_err();
        assert!(error.contains("topic b was deleted"), "{error}");
    }

    #[test]
    fn an_id_that_the_broker_did_not_tell_is_learned_and_not_held_against_the_topic() {
        let mut known = Known::new(&[position("b", 0, "")]);
        let there = listed(&[("b", 0)]);
        assert_eq!(known.compare(&there, &ids(&[("b", "B")])), Ok(Vec::new()));
        assert_eq!(known.compare(&there, &BTreeMap::new()), Ok(Vec::new()));
        assert!(known.compare(&there, &ids(&[("b", "X")])).is_err());
    }
}
