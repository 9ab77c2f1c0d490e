//! What `submit` looks at before it starts a process: what a person got wrong is said at once, and once.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::checkpoint::store::Store;
use crate::dataflow::find_source;
use crate::ops::job::{JobError, Shutdown};
use crate::ops::settings::{Layers, Settings};
use crate::source::kafka::{LoggedContext, client_config};
use warehouse::{Client, ClientOptions};

/// How long the broker and the warehouse may take to answer: they may be starting too.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long the topics may take that have to be made.
const TOPICS_LIMIT: Duration = Duration::from_secs(60);
/// How long the processes of a supervisor that was just killed may take to end.
const LOCK_LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(200);

/// Looks at the state folder, the source and the warehouse.
///
/// # Errors
/// [`JobError::Refused`] where starting again would not help, else what did not answer, with its setting.
pub(super) fn check(settings: &Settings) -> anyhow::Result<()> {
    match settings.local_state_dir() {
        Some(folder) => check_folder(folder)?,
        None => check_store(&settings.state_dir)?,
    }
    if settings.recording.is_empty() {
        check_broker(settings, ANSWER_LIMIT)?;
    }
    let partitions = check_source(settings)?;
    tracing::info!("the source answers: {partitions} partitions");
    if settings.layers == Layers::All {
        let version = check_warehouse(settings, ANSWER_LIMIT)?;
        tracing::info!("warehouse {version} at {}", settings.clickhouse_url);
    }
    Ok(())
}

/// The folder can be made and written, and no job uses it.
fn check_folder(folder: &Path) -> anyhow::Result<()> {
    let refuse = |what: &str, error: std::io::Error| {
        let folder = folder.display();
        JobError::Refused(format!("{what} {folder}, the setting `state_dir`: {error}"))
    };
    fs::create_dir_all(folder).map_err(|error| refuse("can't make the folder", error))?;
    let probe = folder.join(format!(".probe-{}", std::process::id()));
    fs::write(&probe, b"").map_err(|error| refuse("can't write to the folder", error))?;
    fs::remove_file(&probe).map_err(|error| refuse("can't write to the folder", error))?;
    wait_for_lock(&folder.join("LOCK"), LOCK_LIMIT)
}

/// The object store can be asked.
fn check_store(url: &str) -> anyhow::Result<()> {
    let asked = Store::open(url).and_then(|store| store.list("timelines"));
    asked
        .map(drop)
        .with_context(|| format!("the store {url}, the setting `state_dir`"))
}

/// Waits until nobody holds the lock of the epoch log. The job takes it itself; this only gives the processes of a
/// supervisor that was just killed the moment that they need to end.
fn wait_for_lock(path: &Path, limit: Duration) -> anyhow::Result<()> {
    let since = Instant::now();
    loop {
        let Ok(file) = fs::File::open(path) else {
            return Ok(());
        };
        match file.try_lock_shared() {
            Ok(()) => return Ok(()),
            Err(_) if since.elapsed() < limit => std::thread::sleep(PAUSE),
            Err(_) => {
                let holder = fs::read_to_string(path).unwrap_or_default();
                return Err(JobError::Refused(format!(
                    "the state folder is in use by {}; stop that job first, or give this one a `state_dir` of its own",
                    holder.trim()
                ))
                .into());
            }
        }
    }
}

fn check_broker(settings: &Settings, limit: Duration) -> anyhow::Result<()> {
    let consumer: BaseConsumer<LoggedContext> = client_config(settings)
        .create_with_context(LoggedContext)
        .context("the settings `kafka_properties` are refused by librdkafka")?;
    consumer
        .fetch_metadata(None, limit)
        .map(drop)
        .with_context(|| {
            format!(
                "Kafka at {} does not answer within {} s. Is the setting `kafka_bootstrap_servers` right, and the broker up?",
                settings.kafka_bootstrap_servers,
                limit.as_secs_f32()
            )
        })
}

/// The topics exist or can be made; a recording can be read.
fn check_source(settings: &Settings) -> anyhow::Result<usize> {
    let shutdown = Shutdown::default();
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let timer = {
        let shutdown = shutdown.clone();
        std::thread::spawn(move || {
            if end.recv_timeout(TOPICS_LIMIT) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                shutdown.request();
            }
        })
    };
    let found = find_source(settings, &shutdown);
    drop(ended);
    let _ = timer.join();
    found
}

fn check_warehouse(settings: &Settings, limit: Duration) -> anyhow::Result<String> {
    let client = Client::new(&ClientOptions {
        url: settings.clickhouse_url.clone(),
        database: settings.clickhouse_database.clone(),
        user: settings.clickhouse_user.clone(),
        token: settings.clickhouse_token.clone(),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime that asks the warehouse")?;
    let since = Instant::now();
    loop {
        match runtime.block_on(client.version()) {
            Ok(version) => return Ok(version),
            Err(warehouse::client::Error::Unreachable { .. }) if since.elapsed() < limit => {
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(error).context("the setting `clickhouse_url`"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refused(error: &anyhow::Error) -> bool {
        matches!(error.downcast_ref(), Some(JobError::Refused(_)))
    }

    #[test]
    fn a_state_folder_that_can_not_be_made_is_refused_by_its_setting() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = check_folder(&file.join("job")).unwrap_err();
        assert!(
            refused(&error) && error.to_string().contains("state_dir"),
            "{error}"
        );
        let fine = folder.path().join("a/b");
        check_folder(&fine).unwrap();
        assert_eq!(fs::read_dir(&fine).unwrap().count(), 0, "the probe is gone");
    }

    #[test]
    fn a_store_that_is_no_store_is_refused_by_its_setting() {
        check_store("memory:reach").unwrap();
        let error = format!("{:#}", check_store("gopher://x/y").unwrap_err());
        assert!(error.contains("state_dir"), "{error}");
    }

    #[test]
    fn a_broker_and_a_warehouse_that_do_not_answer_are_named_with_their_settings() {
        const LIMIT: Duration = Duration::from_millis(300);
        let mut settings = Settings::default();
        // Port 1 of loopback: nothing listens there.
        settings
            .set("kafka_bootstrap_servers", "127.0.0.1:1")
            .unwrap();
        settings
            .set("clickhouse_url", "http://127.0.0.1:1")
            .unwrap();
        let broker = format!("{:#}", check_broker(&settings, LIMIT).unwrap_err());
        let named =
            |text: &str, setting: &str| text.contains("127.0.0.1:1") && text.contains(setting);
        assert!(named(&broker, "kafka_bootstrap_servers"), "{broker}");
        let warehouse = format!("{:#}", check_warehouse(&settings, LIMIT).unwrap_err());
        assert!(named(&warehouse, "clickhouse_url"), "{warehouse}");
    }

    #[test]
    fn a_folder_that_a_job_uses_is_refused_once_it_has_had_time_to_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("LOCK");
        wait_for_lock(&path, Duration::ZERO).unwrap();
        fs::write(&path, "process 7\n").unwrap();
        let held = fs::File::open(&path).unwrap();
        held.lock().unwrap();
        let error = wait_for_lock(&path, Duration::ZERO).unwrap_err();
        assert!(
            refused(&error) && error.to_string().contains("process 7"),
            "{error}"
        );
        drop(held);
        wait_for_lock(&path, Duration::ZERO).unwrap();
    }

    #[test]
    fn a_recording_that_is_not_there_is_named() {
        let mut settings = Settings::default();
        settings.set("recording", "/nowhere/recording").unwrap();
        let error = format!("{:#}", check_source(&settings).unwrap_err());
        assert!(error.contains("/nowhere/recording"), "{error}");
    }
}
