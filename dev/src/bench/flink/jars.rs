//! Flink's jars and its job, fetched and built once into the cache, and the JVM that runs them.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::paths;

const MAIN_CLASS: &str = "dev.spanflow.bench.WindowJob";

/// The class path of Flink and its job; fetches and builds them first when they are not there.
///
/// # Errors
/// When Java, its compiler or Maven is missing, or the build fails; `dev/fetch.sh` has then said why on standard error.
pub(super) fn class_path() -> Result<String> {
    let script = paths::checkout().join("dev/fetch.sh");
    let run = |what: &str| {
        let mut command = Command::new(&script);
        command.arg(what).stderr(std::process::Stdio::inherit());
        let output = command
            .output()
            .with_context(|| format!("run {}", script.display()))?;
        if !output.status.success() {
            bail!("Apache Flink could not be fetched or its job not built: see the lines above");
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    };
    run("flink")?;
    run("flink-path")
}

/// `java` with Flink's job on its class path; the job's arguments are still to come.
pub(super) fn java(class_path: &str, heap_mib: u32) -> Command {
    let mut command = Command::new("java");
    command
        .arg(format!("-Xmx{heap_mib}m"))
        // What Flink's own scripts say for Java 17.
        .args([
            "--add-opens=java.base/java.lang=ALL-UNNAMED",
            "--add-opens=java.base/java.util=ALL-UNNAMED",
            "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
        ])
        .args([
            "-XX:+UseParallelGC",
            "-XX:+ExitOnOutOfMemoryError",
            "-Djava.awt.headless=true",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        ])
        .args(["-cp", class_path, MAIN_CLASS])
        // Options from outside could lift the cap on the heap.
        .env_remove("JAVA_TOOL_OPTIONS")
        .env_remove("JDK_JAVA_OPTIONS");
    command
}
