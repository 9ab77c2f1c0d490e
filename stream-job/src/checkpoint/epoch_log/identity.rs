//! Who writes.

use std::io::{self, Read};

/// 64 random bits as hex.
pub(super) fn random_id() -> io::Result<String> {
    let mut id = [0; 8];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut id)?;
    Ok(format!("{:016x}", u64::from_be_bytes(id)))
}

/// This process, as a person can find it and as no other process is named.
pub(super) fn this_process() -> io::Result<String> {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "an unknown host",
        host => host,
    };
    let since = chrono::Utc::now().format("%Y-%m-%d %H:%M:%S UTC");
    let (pid, id) = (std::process::id(), random_id()?);
    Ok(format!("process {pid} on {host}, since {since}, id {id}"))
}
