//! What the system says about this process.

/// Resident memory in bytes, `None` where `/proc` is not there.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
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
        assert!(super::resident_bytes().unwrap() > 100_000);
    }
}
