//! What the system says about a process.

/// Resident memory in bytes of `/proc/PROCESS`, where `self` is this one; `None` where it is not there.
pub(crate) fn resident_bytes(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    #[cfg(target_os = "linux")]
    fn resident_memory_is_read() {
        assert!(super::resident_bytes("self").unwrap() > 100_000);
        // Beyond the largest process id of Linux.
        assert_eq!(super::resident_bytes("8388608"), None);
    }
}
