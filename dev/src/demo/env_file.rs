//! `demo.env`: what a running demo tells to other programs (contracts.md).

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::warehouse::DATABASE;

/// What the file says.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// Brokers.
    pub(super) bootstrap: String,
    /// URL of the warehouse.
    pub(super) warehouse: String,
    /// URL of the job.
    pub(super) job: String,
    /// Processes by name.
    pub(super) pids: Vec<(&'static str, u32)>,
}

/// The file while it is there. Dropping it removes it.
#[derive(Debug)]
pub(super) struct EnvFile(PathBuf);

impl EnvFile {
    /// Writes the file under another name first, so that nobody reads half of it.
    pub(super) fn write(path: &Path, facts: &Facts) -> Result<Self> {
        let file = Self(path.to_path_buf());
        file.update(facts)?;
        Ok(file)
    }

    /// Writes it anew: a process was started again.
    pub(super) fn update(&self, facts: &Facts) -> Result<()> {
        let path = &self.0;
        let part = path.with_extension("env.part");
        fs::write(&part, render(facts)).with_context(|| format!("write {}", part.display()))?;
        fs::rename(&part, path).with_context(|| format!("write {}", path.display()))
    }
}

impl Drop for EnvFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn render(facts: &Facts) -> String {
    let pids: Vec<String> = facts
        .pids
        .iter()
        .map(|(name, pid)| format!("{name}:{pid}"))
        .collect();
    let lines = [
        ("KAFKA_BOOTSTRAP_SERVERS", facts.bootstrap.as_str()),
        ("CLICKHOUSE_URL", &facts.warehouse),
        ("CLICKHOUSE_DATABASE", DATABASE),
        ("CLICKHOUSE_TOKEN", ""),
        ("JOB_URL", &facts.job),
        ("PIDS", &pids.join(",")),
    ];
    lines.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = writeln!(text, "{name}={value}");
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_file_names_what_the_contract_asks_for_and_goes_with_its_guard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("demo.env");
        let facts = Facts {
            bootstrap: "127.0.0.1:9092".to_owned(),
            warehouse: "http://127.0.0.1:8123".to_owned(),
            job: "http://127.0.0.1:8090".to_owned(),
            pids: vec![("kafka", 7), ("warehouse", 8)],
        };
        let file = EnvFile::write(&path, &facts).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9092\nCLICKHOUSE_URL=http://127.0.0.1:8123\n\
             CLICKHOUSE_DATABASE=spanflow\nCLICKHOUSE_TOKEN=\nJOB_URL=http://127.0.0.1:8090\n\
             PIDS=kafka:7,warehouse:8\n"
        );
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
