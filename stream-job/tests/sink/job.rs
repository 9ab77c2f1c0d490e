//! A job's writer, and questions to the warehouse that it writes to.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::Value as Json;
use stream_job::checkpoint::epoch_log::{EpochLog, EpochLogHandle, NewLog, Replay};
use stream_job::sink::target::Target;
use stream_job::sink::writer::{Writer, WriterEvent, WriterHandle, WriterSettings};

use crate::rows::EPOCH;

/// A job's writer with its log, and what it told.
pub(crate) struct Job {
    writer: Writer,
    events: Arc<Mutex<Vec<WriterEvent>>>,
}

impl Job {
    pub(crate) fn start(log: &Path, target: &Target) -> Job {
        Job::start_changed(log, target, |_| ())
    }

    pub(crate) fn start_changed(
        log: &Path,
        target: &Target,
        change: impl FnOnce(&mut Replay),
    ) -> Job {
        let new = || {
            Ok(NewLog {
                timeline: "t1".to_owned(),
                first_epoch: EPOCH,
                positions: Vec::new(),
                settings: BTreeMap::new(),
                forked_from: None,
            })
        };
        let (log, mut replay) = EpochLog::open(log, new).unwrap();
        change(&mut replay);
        let events: Arc<Mutex<Vec<WriterEvent>>> = Arc::default();
        let told = Arc::clone(&events);
        let writer = Writer::start(
            WriterSettings::new(target.clone()),
            EpochLogHandle::start(log).unwrap(),
            &mut replay,
            // How long each insert took is for the metrics.
            move |event| match event {
                WriterEvent::Inserted { .. } => {}
                event => told.lock().unwrap().push(event),
            },
        );
        Job {
            writer: writer.unwrap(),
            events,
        }
    }

    pub(crate) fn handle(&self) -> WriterHandle {
        self.writer.handle()
    }

    pub(crate) fn finish(self) -> Result<Vec<WriterEvent>, String> {
        self.writer.finish().map_err(|error| error.to_string())?;
        let mut events = self.events.lock().unwrap().clone();
        events.retain(|event| !matches!(event, WriterEvent::Inserted { .. }));
        Ok(events)
    }
}

pub(crate) async fn select(target: &Target, sql: &str) -> Vec<Json> {
    let client = target
        .client()
        .with_setting("output_format_json_quote_64bit_integers", "0");
    let mut cursor = client.query(sql).fetch_bytes("JSONEachRow").unwrap();
    let bytes = cursor.collect().await.unwrap();
    let rows = serde_json::Deserializer::from_slice(&bytes).into_iter();
    rows.map(Result::unwrap).collect()
}

pub(crate) async fn select_one(target: &Target, sql: &str) -> Json {
    let mut rows = select(target, sql).await;
    assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
    rows.remove(0)
}

pub(crate) async fn count(target: &Target, table: &str) -> u64 {
    let row = select_one(target, &format!("SELECT count() AS n FROM {table}")).await;
    row["n"].as_u64().unwrap()
}
