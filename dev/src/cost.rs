//! What a process has cost so far, from `/proc` (proc(5)).

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// CPU time and memory of one process, all its threads together, its children not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// User and system time.
    pub cpu: Duration,
    /// Largest resident set so far, bytes.
    pub peak_resident: u64,
}

impl Cost {
    /// Of a process that runs.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of(pid: u32) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).with_context(|| format!("read {path}"))
        };
        let cost = parse(&read("stat")?, &read("status")?, ticks_per_second());
        cost.with_context(|| format!("read the cost of process {pid}"))
    }
}

fn parse(stat: &str, status: &str, ticks_per_second: u64) -> Option<Cost> {
    Some(Cost {
        cpu: Duration::from_millis(ticks(stat)? * 1000 / ticks_per_second),
        peak_resident: field(status, "VmHWM:")? * 1024,
    })
}

/// User and system time in the `stat` of a process or thread.
fn ticks(stat: &str) -> Option<u64> {
    // The name, in parentheses, may hold anything: fields are counted from behind the last one. utime and stime are the
    // 14th and 15th of all, the 12th and 13th from there.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// A number in the `status` of a process.
fn field(status: &str, name: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Resident memory of a process now, bytes.
///
/// # Errors
/// When there is no such process.
pub fn resident(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let kib = field(&status, "VmRSS:").with_context(|| format!("read VmRSS of process {pid}"))?;
    Ok(kib * 1024)
}

/// CPU time of the threads of a process that have this name, together. Those that have ended are not counted.
///
/// # Errors
/// When there is no such process.
pub fn cpu_of_threads(pid: u32, name: &str) -> Result<Duration> {
    let path = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(&path).with_context(|| format!("read {path}"))?;
    let ticks = tasks.flatten().filter_map(|task| {
        // A thread may end between two reads.
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        let (_, thread) = stat.rsplit_once(')')?.0.split_once('(')?;
        (thread == name).then(|| ticks(&stat))?
    });
    Ok(Duration::from_millis(
        ticks.sum::<u64>() * 1000 / ticks_per_second(),
    ))
}

fn ticks_per_second() -> u64 {
    // SAFETY: sysconf has no preconditions.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|&t| t > 0).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_shifts_no_field() {
        let stat = "42 (a) b) c) S 1 42 42 0 -1 4194560 100 0 0 0 250 150 7 7 20 0 4 0 100 1 1";
        let cost = parse(stat, "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n", 100).unwrap();
        assert_eq!(cost.cpu, Duration::from_secs(4));
        assert_eq!(cost.peak_resident, 2 << 20);
    }

    #[test]
    fn this_process_has_cost_something() {
        let pid = std::process::id();
        assert!(Cost::of(pid).unwrap().peak_resident > 1 << 20);
        assert!(resident(pid).unwrap() > 1 << 20);
    }

    #[test]
    fn the_time_of_a_thread_is_told_from_that_of_others() {
        let worked = std::thread::Builder::new()
            .name("works".to_owned())
            .spawn(|| {
                let pid = std::process::id();
                let spent = || cpu_of_threads(pid, "works").unwrap();
                while spent().is_zero() {}
                (spent(), cpu_of_threads(pid, "does not").unwrap())
            });
        let (spent, of_others) = worked.unwrap().join().unwrap();
        assert!(!spent.is_zero() && of_others.is_zero());
    }
}
