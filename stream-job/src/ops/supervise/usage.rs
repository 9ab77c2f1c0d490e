//! What `/proc` says about another process.

use std::fs;

/// CPU time of a process since its start, in seconds; `None` where it is gone or `/proc` is not there.
pub(super) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let ticks = cpu_ticks(&stat)?;
    // SAFETY: reads one number of the system's configuration.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    #[allow(clippy::cast_precision_loss)]
    let seconds = ticks as f64 / per_second.max(1) as f64;
    Some(seconds)
}

/// `utime` and `stime` are fields 14 and 15. The name before them is in parentheses and may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut fields = after_name.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_behind_a_name_with_spaces_and_parentheses() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 31 11 0 0 20 0 4 0 12345";
        assert_eq!(cpu_ticks(stat), Some(42));
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_measured_and_an_absent_one_is_not() {
        assert!(cpu_seconds(std::process::id()).is_some());
        // Beyond the largest process id of Linux.
        assert_eq!(cpu_seconds(1 << 23), None);
    }
}
