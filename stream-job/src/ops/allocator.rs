//! How the C library's allocator is set.

/// Epochs allocate and free the same megabytes again and again. By default glibc gives large blocks back to the kernel at
/// each free, and pays for their pages at each allocation: a tenth of the job's CPU time. A global allocator of our own
/// would do too, but functions loaded as libraries share the host's.
///
/// To be called before any other thread exists.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep_freed_memory() {
    // The most that glibc takes.
    const MMAP_FROM: libc::c_int = 32 << 20;
    const AT_ONCE: libc::c_int = 16 << 20;
    const ARENAS: libc::c_int = 4;
    // SAFETY: sets four numbers of the allocator, which guards them itself.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_FROM);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 8 * AT_ONCE);
        libc::mallopt(libc::M_TOP_PAD, AT_ONCE);
        libc::mallopt(libc::M_ARENA_MAX, ARENAS);
    }
}

/// Other allocators are left as they are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_freed_memory() {}
