//! Installs the engine: the pinned npm package into the cache, checked, and whole or not at all.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::embedded::{Package, VERSION, library_path};

/// Between two looks at a download.
const POLL: Duration = Duration::from_millis(200);
/// A download that has not grown for so long is given up.
const STALLED_AFTER: Duration = Duration::from_secs(120);

/// What to install, and where.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// The cache folder.
    pub cache: PathBuf,
    /// A tgz that is there already, instead of a download.
    pub from: Option<PathBuf>,
    /// Install over what is there.
    pub force: bool,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The tgz comes.
    Downloading {
        /// Bytes so far.
        bytes: u64,
        /// Bytes in all.
        total: u64,
        /// Seconds since the start.
        seconds: u64,
    },
    /// The SHA-256 is computed.
    Checking,
    /// The library is unpacked.
    Extracting,
}

/// Why the engine can't be installed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nothing is pinned for this platform. Said before anything is downloaded.
    #[error(
        "there is no tested build of the ClickHouse engine for {os} on {arch}{env}: `warehouse serve` runs on x86_64 Linux with glibc. On other platforms use a ClickHouse server (set CLICKHOUSE_URL), or a libchdb of your own (`warehouse serve --library`)"
    )]
    Unsupported {
        /// The operating system.
        os: &'static str,
        /// The processor.
        arch: &'static str,
        /// ` (musl)` or nothing.
        env: &'static str,
    },
    /// npm isn't there.
    #[error(
        "npm isn't installed, and the engine comes as an npm package: on Debian or Ubuntu run `apt-get install npm`, or give the package's tgz with --from"
    )]
    NoNpm,
    /// npm failed.
    #[error("`npm pack {package}` failed: {reason}")]
    Npm {
        /// Name and version.
        package: String,
        /// npm's own last words.
        reason: String,
    },
    /// npm did not get on.
    #[error(
        "the download stands still: no byte in {seconds} s, {bytes} so far; check the network and npm's registry setting (`npm config get registry`)"
    )]
    Stalled {
        /// How long.
        seconds: u64,
        /// Bytes so far.
        bytes: u64,
    },
    /// The tgz is not the pinned one.
    #[error(
        "{path} is not the package that was pinned: its SHA-256 is {found} instead of {expected}; nothing was installed"
    )]
    Checksum {
        /// The tgz.
        path: PathBuf,
        /// Its sum.
        found: String,
        /// The pinned sum.
        expected: &'static str,
    },
    /// tar failed, or the library wasn't in the package.
    #[error("can't extract {path}: {reason}")]
    Extract {
        /// The tgz.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file or folder can't be written.
    #[error("can't {what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn file_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    move |source| FetchError::File {
        what,
        path: path.to_owned(),
        source,
    }
}

/// Makes sure that the engine is in the cache; returns the library's path. At once when it is there.
///
/// Two at a time are kept apart by a lock in the cache; the second finds the first's work done.
pub fn fetch(
    options: &FetchOptions,
    progress: &mut dyn FnMut(Step),
) -> Result<PathBuf, FetchError> {
    let library = library_path(&options.cache);
    if library.is_file() && !options.force {
        return Ok(library);
    }
    let package = Package::here().ok_or(FetchError::Unsupported {
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
        env: if cfg!(target_env = "musl") {
            " (musl)"
        } else {
            ""
        },
    })?;
    fs::create_dir_all(&options.cache).map_err(file_error("create", &options.cache))?;
    let _lock = lock(&options.cache)?;
    if library.is_file() && !options.force {
        return Ok(library);
    }
    let work = Work::new(&options.cache)?;
    let tgz = match &options.from {
        Some(tgz) => tgz.clone(),
        None => download(package, &work.folder, progress)?,
    };
    progress(Step::Checking);
    check(&tgz, package.sha256)?;
    progress(Step::Extracting);
    extract(&tgz, &work.folder)?;
    install(&work.folder, &options.cache)?;
    Ok(library)
}

/// Waits for another `fetch`, for as long as it makes progress: it ends by itself when it stalls.
fn lock(cache: &Path) -> Result<File, FetchError> {
    let path = cache.join(format!("chdb-{VERSION}.lock"));
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(file_error("create", &path))?;
    file.lock().map_err(file_error("lock", &path))?;
    Ok(file)
}

/// A folder beside the target, removed whatever happens.
struct Work {
    folder: PathBuf,
}

impl Work {
    fn new(cache: &Path) -> Result<Self, FetchError> {
        // The lock is held: what another process left here is of one that died.
        let folder = cache.join(format!("chdb-{VERSION}.partial"));
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(file_error("remove", &folder))?;
        }
        fs::create_dir_all(&folder).map_err(file_error("create", &folder))?;
        Ok(Self { folder })
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What stays is removed by the next fetch.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Runs `npm pack` with a cache of its own inside `folder`, so that the growth of that folder is the progress.
fn download(
    package: Package,
    folder: &Path,
    progress: &mut dyn FnMut(Step),
) -> Result<PathBuf, FetchError> {
    let name = format!("{}@{VERSION}", package.name);
    let log = folder.join("npm.log");
    let output = File::create(&log).map_err(file_error("create", &log))?;
    let errors = output.try_clone().map_err(file_error("write", &log))?;
    let npm = Command::new("npm")
        .args([
            "pack",
            &name,
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
            "--pack-destination",
        ])
        .arg(folder)
        .arg("--cache")
        .arg(folder.join("npm-cache"))
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn();
    let child = match npm {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(FetchError::NoNpm),
        Err(error) => {
            return Err(FetchError::Npm {
                package: name,
                reason: error.to_string(),
            });
        }
    };
    let mut npm = Running(child);
    let failed = |reason: String| FetchError::Npm {
        package: name.clone(),
        reason,
    };
    if !wait(&mut npm, folder, package.bytes, progress)? {
        let text = fs::read_to_string(&log).unwrap_or_default();
        let lines: Vec<_> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .take(4)
            .collect();
        return Err(failed(if lines.is_empty() {
            "npm said nothing".to_owned()
        } else {
            lines.join("; ")
        }));
    }
    let entries = fs::read_dir(folder).map_err(file_error("read", folder))?;
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .ok_or_else(|| failed("it ended well, but left no .tgz".to_owned()))
}

/// Ended when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended by itself, or is ended here; both calls fail harmlessly then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for npm; whether it succeeded.
fn wait(
    npm: &mut Running,
    folder: &Path,
    total: u64,
    progress: &mut dyn FnMut(Step),
) -> Result<bool, FetchError> {
    let started = Instant::now();
    let (mut bytes, mut grown) = (0, Instant::now());
    loop {
        if let Some(status) = npm
            .0
            .try_wait()
            .map_err(file_error("wait for npm in", folder))?
        {
            return Ok(status.success());
        }
        let now = size_of_tree(folder);
        if now != bytes {
            (bytes, grown) = (now, Instant::now());
        }
        if grown.elapsed() > STALLED_AFTER {
            return Err(FetchError::Stalled {
                seconds: STALLED_AFTER.as_secs(),
                bytes,
            });
        }
        // npm writes the package twice: into its cache, and out again.
        progress(Step::Downloading {
            bytes: bytes.min(total),
            total,
            seconds: started.elapsed().as_secs(),
        });
        std::thread::sleep(POLL);
    }
}

/// Bytes of all files below a folder; files that vanish meanwhile count nothing.
fn size_of_tree(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries
        .filter_map(Result::ok)
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => size_of_tree(&entry.path()),
            Ok(data) => data.len(),
            Err(_) => 0,
        })
        .sum()
}

fn check(tgz: &Path, expected: &'static str) -> Result<(), FetchError> {
    let mut file = File::open(tgz).map_err(file_error("open", tgz))?;
    let mut sum = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    loop {
        let size = file.read(&mut piece).map_err(file_error("read", tgz))?;
        if size == 0 {
            break;
        }
        sum.update(&piece[..size]);
    }
    let found: String = sum
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if found == expected {
        return Ok(());
    }
    Err(FetchError::Checksum {
        path: tgz.to_owned(),
        found,
        expected,
    })
}

fn extract(tgz: &Path, folder: &Path) -> Result<(), FetchError> {
    let failed = |reason: String| FetchError::Extract {
        path: tgz.to_owned(),
        reason,
    };
    let tar = Command::new("tar")
        .arg("-xzf")
        .arg(tgz)
        .arg("-C")
        .arg(folder)
        .stdin(Stdio::null())
        .output();
    let tar = tar.map_err(|error| failed(format!("can't run tar: {error}")))?;
    if !tar.status.success() {
        return Err(failed(
            String::from_utf8_lossy(&tar.stderr).trim().to_owned(),
        ));
    }
    let library = folder.join("package").join("libchdb.so");
    if !library.is_file() {
        return Err(failed("there is no package/libchdb.so in it".to_owned()));
    }
    // On disk before it gets its name, so that a power cut can't leave half a library under it.
    let file = File::open(&library).map_err(file_error("open", &library))?;
    file.sync_all().map_err(file_error("write", &library))
}

/// Moves `package` to its place in one step.
fn install(work: &Path, cache: &Path) -> Result<(), FetchError> {
    let ready = work.join("ready");
    fs::create_dir(&ready).map_err(file_error("create", &ready))?;
    let package = ready.join("package");
    fs::rename(work.join("package"), &package).map_err(file_error("move", &package))?;
    let target = cache.join(format!("chdb-{VERSION}"));
    if target.exists() {
        // Open files of a running warehouse stay readable under their old name until it ends.
        let old = work.join("old");
        fs::rename(&target, &old).map_err(file_error("move", &target))?;
    }
    fs::rename(&ready, &target).map_err(file_error("move", &target))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_library_that_is_there_is_not_fetched_again() {
        let cache = tempfile::tempdir().unwrap();
        let library = library_path(cache.path());
        fs::create_dir_all(library.parent().unwrap()).unwrap();
        fs::write(&library, b"x").unwrap();
        let options = FetchOptions {
            cache: cache.path().to_owned(),
            from: None,
            force: false,
        };
        let mut steps = Vec::new();
        assert_eq!(
            fetch(&options, &mut |step| steps.push(step)).unwrap(),
            library
        );
        assert!(steps.is_empty());
    }

    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
    fn a_package_with_another_sum_installs_nothing() {
        let cache = tempfile::tempdir().unwrap();
        let tgz = cache.path().join("other.tgz");
        fs::write(&tgz, b"not the engine").unwrap();
        let options = FetchOptions {
            cache: cache.path().to_owned(),
            from: Some(tgz.clone()),
            force: false,
        };
        let error = fetch(&options, &mut |_| ()).unwrap_err().to_string();
        assert!(
            error.contains("SHA-256") && error.contains("nothing was installed"),
            "{error}"
        );
        assert!(!cache.path().join(format!("chdb-{VERSION}")).exists());
        assert!(
            !cache
                .path()
                .join(format!("chdb-{VERSION}.partial"))
                .exists()
        );
    }

    #[test]
    fn extraction_is_whole_and_takes_the_place_of_an_older_one() {
        let cache = tempfile::tempdir().unwrap();
        let source = cache.path().join("source");
        fs::create_dir_all(source.join("package")).unwrap();
        for content in ["first", "second"] {
            fs::write(source.join("package").join("libchdb.so"), content).unwrap();
            let tgz = cache.path().join("package.tgz");
            let tar = Command::new("tar")
                .arg("-czf")
                .arg(&tgz)
                .arg("-C")
                .arg(&source)
                .arg("package")
                .status();
            assert!(tar.unwrap().success());
            let work = Work::new(cache.path()).unwrap();
            extract(&tgz, &work.folder).unwrap();
            install(&work.folder, cache.path()).unwrap();
            assert_eq!(
                fs::read_to_string(library_path(cache.path())).unwrap(),
                content
            );
        }
    }
}
