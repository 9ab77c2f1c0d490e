//! Where things are: the folder of a running system, the cache of downloads, the checkout and its binaries.

use std::env;
use std::path::{Path, PathBuf};

use ::warehouse::{FileLock, LockError};
use anyhow::{Context, Result, anyhow, bail};

/// The folder that holds all data of one local system; see contracts.md, "What a running local system tells".
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    /// `$SPANFLOW_HOME`, else `.spanflow` in the checkout.
    #[must_use]
    pub fn from_env() -> Self {
        Self(from_env("SPANFLOW_HOME").unwrap_or_else(|| checkout().join(".spanflow")))
    }

    /// A folder by path; it is made when something is written to it.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The broker's configuration and data.
    #[must_use]
    pub fn kafka(&self) -> PathBuf {
        self.0.join("kafka")
    }

    /// The embedded engine's data.
    #[must_use]
    pub fn warehouse(&self) -> PathBuf {
        self.0.join("warehouse")
    }

    /// The job's epoch log and state.
    #[must_use]
    pub fn job(&self) -> PathBuf {
        self.0.join("job")
    }

    /// Output of every process.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    /// What a running system tells about itself.
    #[must_use]
    pub fn demo_env(&self) -> PathBuf {
        self.0.join("demo.env")
    }

    /// Makes the folder and takes it for this process until the guard is dropped.
    ///
    /// # Errors
    /// When the folder can't be made, or another process runs a system in it.
    pub fn lock(&self) -> Result<FileLock> {
        std::fs::create_dir_all(&self.0)
            .with_context(|| format!("make the folder {}", self.0.display()))?;
        let path = self.0.join("lock");
        FileLock::take(&path).map_err(|error| match error {
            LockError::Held(holder) => anyhow!(
                "a system is running in {} already ({holder}): stop it first, or set SPANFLOW_HOME to another folder",
                self.0.display()
            ),
            LockError::Io(error) => {
                anyhow::Error::new(error).context(format!("lock {}", path.display()))
            }
        })
    }

    /// Removes what a system keeps in the folder, and the folder where nothing else is in it.
    ///
    /// # Errors
    /// When a system is running in it, or something can't be removed.
    pub fn remove(&self) -> Result<()> {
        if !self.0.exists() {
            return Ok(());
        }
        let lock = self.lock()?;
        // Named one by one: SPANFLOW_HOME may point at a folder that holds other things too.
        for folder in [self.kafka(), self.warehouse(), self.job(), self.logs()] {
            if folder.exists() {
                std::fs::remove_dir_all(&folder)
                    .with_context(|| format!("remove {}", folder.display()))?;
            }
        }
        for file in [self.demo_env(), self.0.join("lock")] {
            if file.exists() {
                std::fs::remove_file(&file)
                    .with_context(|| format!("remove {}", file.display()))?;
            }
        }
        drop(lock);
        // Not empty: something of somebody else's is left, which is theirs to remove.
        let _ = std::fs::remove_dir(&self.0);
        Ok(())
    }
}

/// `$SPANFLOW_CACHE`, else `~/.cache/spanflow`: what is downloaded once.
///
/// # Errors
/// When neither `SPANFLOW_CACHE` nor `HOME` is set.
pub fn cache() -> Result<PathBuf> {
    if let Some(path) = from_env("SPANFLOW_CACHE") {
        return Ok(path);
    }
    let home = from_env("HOME").context(
        "neither SPANFLOW_CACHE nor HOME is set: set SPANFLOW_CACHE to a folder for downloads",
    )?;
    Ok(home.join(".cache/spanflow"))
}

/// The checkout that this crate was built from.
#[must_use]
pub fn checkout() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// The binary `name` of this workspace: in `$SPANFLOW_BIN_DIR`, else beside the running program (its own folder in
/// `target/<profile>`, the one above it for a test).
///
/// # Errors
/// When it has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let folders = match from_env("SPANFLOW_BIN_DIR") {
        Some(folder) => vec![folder],
        None => {
            let program = env::current_exe().context("find the running program")?;
            program
                .ancestors()
                .skip(1)
                .take(2)
                .map(Path::to_path_buf)
                .collect()
        }
    };
    for folder in &folders {
        let path = folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    let places: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
    bail!(
        "no binary `{name}` in {}: build it first with `cargo build --bins` (or `--release`), or set SPANFLOW_BIN_DIR",
        places.join(" or ")
    )
}

fn from_env(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_in_use_is_refused_and_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("home"));
        let lock = home.lock().unwrap();
        assert!(home.lock().unwrap_err().to_string().contains("running in"));
        assert!(home.remove().is_err());
        assert!(home.path().exists());
        drop(lock);
        home.remove().unwrap();
        assert!(!home.path().exists());
    }

    #[test]
    fn what_others_keep_in_the_folder_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path());
        std::fs::create_dir_all(home.kafka()).unwrap();
        std::fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
        home.remove().unwrap();
        assert!(!home.kafka().exists());
        assert!(folder.path().join("thesis.txt").exists());
    }
}
