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
    // The name, in parentheses, may hold anything: fields are counted from behind the last one. utime and stime are the
    // 14th and 15th of all, the 12th and 13th from there.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = peak.split_whitespace().next()?.parse().ok()?;
    Some(Cost {
        cpu: Duration::from_millis(ticks * 1000 / ticks_per_second),
        peak_resident: kib * 1024,
    })
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
        assert!(Cost::of(std::process::id()).unwrap().peak_resident > 1 << 20);
    }
}
