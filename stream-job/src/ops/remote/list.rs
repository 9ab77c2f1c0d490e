//! `list`: the jobs in a folder, whether they run or not.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::{Said, ask};
use crate::checkpoint::timelines;
use crate::ops::cli::SettingsSource;
use crate::ops::client::Client;
use crate::ops::supervise::{JobState, Note, read_note};

/// What `list` is told.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    source: SettingsSource,
}

/// One job in a store.
#[derive(Debug)]
struct Found {
    folder: PathBuf,
    note: Option<Note>,
    /// Timeline and newest epoch.
    log: Option<(String, Option<u64>)>,
}

/// `list`: the jobs in the state folder and beside it.
///
/// # Errors
/// The settings are wrong, or the folder can't be read.
pub fn list(args: &ListArgs) -> anyhow::Result<Said> {
    let settings = args.source.read(Vec::new())?.settings;
    let state = settings.local_state_dir().with_context(|| {
        format!(
            "`state_dir` is {}: jobs in an object store are listed by their supervisors' URLs, with `status`",
            settings.state_dir
        )
    })?;
    let parent = match state.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut folders: Vec<PathBuf> = match std::fs::read_dir(parent) {
        Ok(entries) => entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_dir())
            .collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error).with_context(|| format!("read {}", parent.display())),
    };
    folders.sort();
    let jobs: Vec<Found> = folders.into_iter().filter_map(look_into).collect();
    if jobs.is_empty() {
        return Ok(Said(format!("no job in {}\n", parent.display())));
    }
    ask(async {
        let mut rows =
            vec![["JOB", "STATE", "TIMELINE", "EPOCH", "URL", "FOLDER"].map(str::to_owned)];
        for job in &jobs {
            rows.push(row(job, &settings.http_token).await);
        }
        Ok(Said(table(&rows)))
    })
}

fn look_into(folder: PathBuf) -> Option<Found> {
    let note = read_note(&folder);
    let log = timelines::read(&folder).ok().map(|replay| {
        let cut = replay.epochs.last().map(|record| record.epoch);
        let kept = replay.checkpoints.last().map(|checkpoint| checkpoint.epoch);
        (replay.timeline, cut.max(kept))
    });
    (note.is_some() || log.is_some()).then_some(Found { folder, note, log })
}

async fn row(job: &Found, token: &str) -> [String; 6] {
    const NONE: &str = "-";
    let word = |text: Option<String>| text.unwrap_or_else(|| NONE.to_owned());
    let answers = match &job.note {
        Some(note) => match Client::at(&note.url, token) {
            Ok(client) => client
                .within(Duration::from_secs(2))
                .get("/healthz")
                .await
                .is_ok(),
            Err(_) => false,
        },
        None => false,
    };
    let state = job.note.as_ref().map(|note| match note.state {
        state if answers => state.word().to_owned(),
        state @ (JobState::Finished | JobState::Failed) => state.word().to_owned(),
        _ => "gone".to_owned(),
    });
    let (timeline, epoch) = match &job.log {
        Some((timeline, newest)) => (
            Some(timeline.clone()),
            newest.map(|epoch| epoch.to_string()),
        ),
        None => (None, None),
    };
    [
        word(job.note.as_ref().map(|note| note.name.clone())),
        word(state),
        word(timeline),
        word(epoch),
        word(
            job.note
                .as_ref()
                .filter(|_| answers)
                .map(|note| note.url.clone()),
        ),
        job.folder.display().to_string(),
    ]
}

/// Columns side by side.
fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |at: usize| {
        rows.iter()
            .map(|row| row[at].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::checkpoint::epoch_log::NewLog;
    use crate::checkpoint::store::Store;
    use crate::checkpoint::timelines::Timelines;

    fn args(state: &Path) -> ListArgs {
        ListArgs {
            source: SettingsSource::of([format!("state_dir={}", state.display())]),
        }
    }

    #[test]
    fn a_store_without_jobs_is_said_so_and_a_note_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("agents");
        assert!(list(&args(&state)).unwrap().0.starts_with("no job in "));
        std::fs::create_dir_all(&state).unwrap();
        let note = Note {
            name: "agents".to_owned(),
            url: "http://127.0.0.1:1".to_owned(),
            pid: 1,
            state: JobState::Running,
            reason: None,
        };
        std::fs::write(
            state.join("supervisor.json"),
            serde_json::to_vec(&note).unwrap(),
        )
        .unwrap();
        let said = list(&args(&state)).unwrap().0;
        let line = said.lines().nth(1).unwrap();
        assert!(line.starts_with("agents  gone   -"), "{said}");
    }

    #[test]
    fn a_job_that_no_supervisor_has_left_a_note_of_is_found_by_its_timeline() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("agents");
        let timelines = Timelines::open(Store::open_dir(&state).unwrap()).unwrap();
        let new = NewLog::mint(Vec::new(), std::collections::BTreeMap::new()).unwrap();
        let timeline = new.timeline.clone();
        drop(timelines.open_log(|| Ok(new)).unwrap());
        let said = list(&args(&state)).unwrap().0;
        let line = said.lines().nth(1).unwrap();
        assert!(
            line.starts_with(&format!("-    -      {timeline}  -")),
            "{said}"
        );
    }
}
