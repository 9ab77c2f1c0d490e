//! What the numbers were measured on.

use std::fs;
use std::process::Command;

use crate::paths;

/// Processor, cores, memory, kernel, JVM and commit, as lines.
pub(super) fn facts() -> String {
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_else(|| "unknown".to_owned());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split_whitespace().next().unwrap_or("unknown");
    format!(
        "machine  {cpu}, {cores} cores, memory {memory}, Linux {}, load {load}\njava     {}\ncommit   {}",
        kernel.trim(),
        first_line(Command::new("java").arg("-version")),
        first_line(
            Command::new("git")
                .args(["describe", "--always", "--dirty"])
                .current_dir(paths::checkout())
        )
    )
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The first line that a command writes, wherever it writes it.
fn first_line(command: &mut Command) -> String {
    command.output().map_or_else(
        |_| "unknown".to_owned(),
        |output| {
            let all = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&all);
            text.lines().next().unwrap_or("unknown").to_owned()
        },
    )
}
