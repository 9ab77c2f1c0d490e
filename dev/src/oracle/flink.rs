//! Asks Apache Flink: one JVM, all transcripts.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::transcript::{Answer, Transcript};
use crate::paths;

/// The version that `dev/oracle/pom.xml` names.
pub(super) const VERSION: &str = "2.2.0";

const MAIN: &str = "dev.spanflow.oracle.Oracle";

/// Flink's window operator, compiled and ready.
pub struct Flink {
    class_path: String,
    folder: TempDir,
}

impl Flink {
    /// Fetches the jars where they are not in the cache, and compiles what drives them.
    ///
    /// # Errors
    /// When there is no JDK, or Maven fails; the message says what to do.
    pub fn prepare() -> Result<Self> {
        let jars = fetch_jars()?;
        let folder = tempfile::tempdir().context("make a folder for the oracle")?;
        let classes = folder.path().join("classes");
        let class_path = format!("{}:{}/*", classes.display(), jars.display());
        let sources = sources()?;
        let mut javac = Command::new("javac");
        javac.args(["--release", "17", "-nowarn", "-cp", &class_path, "-d"]);
        javac.arg(&classes).args(&sources);
        let output = javac.output().context(
            "run javac: the oracle needs a JDK of version 17 or newer (in Debian: apt-get install openjdk-17-jdk-headless)",
        )?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("javac fails on {}:\n{said}", source_folder().display());
        }
        Ok(Self { class_path, folder })
    }

    /// What Flink does with each transcript, in their order.
    ///
    /// # Errors
    /// When the JVM fails, with what it said.
    pub fn answers(&self, transcripts: &[Transcript]) -> Result<Vec<Answer>> {
        let [asked, answered] =
            ["transcripts.jsonl", "answers.jsonl"].map(|name| self.folder.path().join(name));
        write_lines(&asked, transcripts)?;
        let mut java = Command::new("java");
        java.args([
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-cp",
            &self.class_path,
            MAIN,
        ]);
        let output = java.arg(&asked).arg(&answered).output();
        let output = output.context("run java: is a JRE of version 17 or newer installed?")?;
        if !output.status.success() {
            bail!(
                "the JVM ended with {}:\n{}",
                output.status,
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let answers: Vec<Answer> = read_lines(&answered)?;
        let in_order = answers.iter().map(|answer| answer.id);
        if !in_order.eq(transcripts.iter().map(|transcript| transcript.id)) {
            bail!(
                "Flink answered {} transcripts of {}, or in another order",
                answers.len(),
                transcripts.len()
            );
        }
        Ok(answers)
    }
}

fn fetch_jars() -> Result<PathBuf> {
    let folder = paths::cache()?.join(format!("flink-harness-{VERSION}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    let script = paths::checkout().join("dev/fetch.sh");
    let status = Command::new(&script)
        .arg("flink-harness")
        .status()
        .with_context(|| format!("run {}", script.display()))?;
    if !status.success() || !folder.is_dir() {
        bail!("Apache Flink could not be fetched: see the lines above");
    }
    Ok(folder)
}

fn source_folder() -> PathBuf {
    paths::checkout().join("dev/oracle/src/main/java/dev/spanflow/oracle")
}

fn sources() -> Result<Vec<PathBuf>> {
    let folder = source_folder();
    let entries = fs::read_dir(&folder).with_context(|| format!("read {}", folder.display()))?;
    let paths: std::io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.with_context(|| format!("read {}", folder.display()))?;
    paths.retain(|path| path.extension().is_some_and(|end| end == "java"));
    Ok(paths)
}

/// Writes JSON lines.
///
/// # Errors
/// When the file can't be written.
pub(super) fn write_lines<T: serde::Serialize>(path: &Path, lines: &[T]) -> Result<()> {
    let what = || format!("write {}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(what)?);
    for line in lines {
        serde_json::to_writer(&mut file, line).with_context(what)?;
        file.write_all(b"\n").with_context(what)?;
    }
    file.flush().with_context(what)
}

/// Reads JSON lines.
///
/// # Errors
/// When the file can't be read, or a line is not what it should be.
pub fn read_lines<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let lines = BufReader::new(file).lines();
    let read = lines.enumerate().map(|(at, line)| {
        let what = || format!("{}, line {}", path.display(), at + 1);
        serde_json::from_str(&line.with_context(what)?).with_context(what)
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::VERSION;

    #[test]
    fn the_pom_names_the_same_version() {
        let pom = include_str!("../../oracle/pom.xml");
        assert!(pom.contains(&format!("<flink.version>{VERSION}</flink.version>")));
    }
}
