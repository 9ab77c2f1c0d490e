//! Which build of libchdb is used, and where it lies.

use std::path::{Path, PathBuf};

/// The pinned version. The npm tag `latest` lacks streamed INSERTs.
pub const VERSION: &str = "26.7.3-stable.1";

/// One platform's package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Package {
    /// The npm package.
    pub name: &'static str,
    /// SHA-256 of its tgz, lowercase hex.
    pub sha256: &'static str,
    /// Bytes of the tgz, for the progress display.
    pub bytes: u64,
}

impl Package {
    /// The package for a platform, in Rust's names; `None` where none is pinned: a build that nobody has tried with
    /// this gateway is no better than none. Such a platform can bring its own library (`--library`).
    pub fn of(os: &str, arch: &str, env: &str) -> Option<Self> {
        let x64 = Self {
            name: "@chdb/lib-linux-x64-gnu",
            sha256: "c0d32b129e988f2b9a9a31c9141aecf5e1e2453f9a079efc4d36ab8e3f92b2ad",
            bytes: 177_817_999,
        };
        matches!((os, arch, env), ("linux", "x86_64", "gnu")).then_some(x64)
    }

    /// The package for the platform that this binary was built for.
    pub fn here() -> Option<Self> {
        let env = if cfg!(target_env = "gnu") { "gnu" } else { "" };
        Self::of(std::env::consts::OS, std::env::consts::ARCH, env)
    }
}

/// Where downloads are kept: `$SPANFLOW_CACHE`, else `~/.cache/spanflow`.
pub fn cache_folder() -> PathBuf {
    match std::env::var_os("SPANFLOW_CACHE") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => std::env::home_dir()
            .unwrap_or_default()
            .join(".cache")
            .join("spanflow"),
    }
}

/// The library inside a cache folder.
pub fn library_path(cache: &Path) -> PathBuf {
    cache
        .join(format!("chdb-{VERSION}"))
        .join("package")
        .join("libchdb.so")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_platforms_with_a_pinned_build_have_a_package() {
        assert!(Package::of("linux", "x86_64", "gnu").is_some());
        for (os, arch, env) in [
            ("linux", "x86_64", "musl"),
            ("linux", "aarch64", "gnu"),
            ("windows", "x86_64", "msvc"),
        ] {
            assert_eq!(Package::of(os, arch, env), None);
        }
    }
}
