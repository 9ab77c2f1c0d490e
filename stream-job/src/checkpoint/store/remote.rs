//! A store behind `object_store`: each call from any thread, with a limit on its time and its attempts.

use std::future::Future;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path as ObjectPath;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use tokio::runtime::Runtime;

use super::{Entry, StoreError};

/// How long and how often an object store is asked.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Attempts of one call.
    pub attempts: u32,
    /// Time for one attempt, beside what its bytes are given.
    pub attempt: Duration,
    /// The bytes of an attempt are given as much time as this many a second need.
    pub bytes_per_second: u64,
    /// Pause before the second attempt; doubled before each one after it.
    pub pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            attempts: 5,
            attempt: Duration::from_secs(10),
            bytes_per_second: 1 << 20,
            pause: Duration::from_millis(200),
        }
    }
}

#[derive(Debug)]
pub(super) struct Remote {
    pub(super) url: String,
    objects: Arc<dyn ObjectStore>,
    /// Every path is below it; may be empty.
    prefix: String,
    limits: Limits,
}

/// One call, for its message.
struct Call {
    doing: &'static str,
    store: String,
    path: String,
}

/// Why an attempt failed.
enum Failed {
    Refused(Error),
    Slow(Duration),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Refused(error)
    }
}

impl Limits {
    /// Waits for what moves so many bytes.
    async fn within<T>(
        &self,
        bytes: u64,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Failed> {
        let time = self.attempt + Duration::from_secs(bytes / self.bytes_per_second.max(1));
        match tokio::time::timeout(time, answer).await {
            Ok(answer) => answer.map_err(Failed::Refused),
            Err(_) => Err(Failed::Slow(time)),
        }
    }
}

impl Remote {
    pub(super) fn new(
        url: String,
        objects: Arc<dyn ObjectStore>,
        prefix: &str,
        limits: Limits,
    ) -> Remote {
        Remote {
            url,
            objects,
            prefix: prefix.trim_matches('/').to_owned(),
            limits,
        }
    }

    pub(super) fn put_new(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (objects, location, limits) = self.at(path);
        let bytes = Bytes::copy_from_slice(bytes);
        let put = move |again| {
            let (objects, location, bytes) = (objects.clone(), location.clone(), bytes.clone());
            async move {
                let put = put_once(&*objects, &location, bytes.clone(), again);
                limits.within(bytes.len() as u64, put).await
            }
        };
        if wait(retried(self.call("write", path), limits, put))? {
            return Ok(());
        }
        Err(StoreError::Exists {
            store: self.url.clone(),
            path: path.to_owned(),
        })
    }

    pub(super) fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let (objects, location, limits) = self.at(path);
        let get = move |_again| {
            let (objects, location) = (objects.clone(), location.clone());
            async move {
                let answer = limits.within(0, objects.get(&location)).await;
                let Some(answer) = found(answer)? else {
                    return Ok(None);
                };
                let bytes = answer.meta.size;
                limits.within(bytes, answer.bytes()).await.map(Some)
            }
        };
        let bytes = wait(retried(self.call("read", path), limits, get))?;
        Ok(bytes.map(Vec::from))
    }

    pub(super) fn list(&self, folder: &str) -> Result<Vec<Entry>, StoreError> {
        let (objects, _, limits) = self.at(folder);
        let location = match (self.prefix.is_empty(), folder.is_empty()) {
            (true, true) => None,
            (false, true) => Some(ObjectPath::from(self.prefix.as_str())),
            (_, false) => Some(self.location(folder)),
        };
        let list = move |_again| {
            let (objects, location) = (objects.clone(), location.clone());
            async move {
                let listing = objects.list(location.as_ref()).try_collect::<Vec<_>>();
                limits.within(0, listing).await
            }
        };
        let found = wait(retried(self.call("list", folder), limits, list))?;
        Ok((found.into_iter())
            .filter_map(|meta| {
                let path = self.without_prefix(meta.location.as_ref())?;
                Some(Entry {
                    path: path.to_owned(),
                    bytes: meta.size,
                })
            })
            .collect())
    }

    pub(super) fn delete(&self, path: &str) -> Result<(), StoreError> {
        let (objects, location, limits) = self.at(path);
        let delete = move |_again| {
            let (objects, location) = (objects.clone(), location.clone());
            async move { found(limits.within(0, objects.delete(&location)).await) }
        };
        wait(retried(self.call("delete", path), limits, delete)).map(|_| ())
    }

    fn at(&self, path: &str) -> (Arc<dyn ObjectStore>, ObjectPath, Limits) {
        (self.objects.clone(), self.location(path), self.limits)
    }

    fn location(&self, path: &str) -> ObjectPath {
        if self.prefix.is_empty() {
            ObjectPath::from(path)
        } else {
            ObjectPath::from(format!("{}/{path}", self.prefix))
        }
    }

    fn without_prefix<'a>(&self, location: &'a str) -> Option<&'a str> {
        if self.prefix.is_empty() {
            return Some(location);
        }
        location.strip_prefix(&self.prefix)?.strip_prefix('/')
    }

    fn call(&self, doing: &'static str, path: &str) -> Call {
        Call {
            doing,
            store: self.url.clone(),
            path: path.to_owned(),
        }
    }
}

/// Whether it was put. An attempt before this one may have been carried out though its answer was lost, so what is
/// there then counts as ours if it is equal: what differs between two writers differs in the bytes.
async fn put_once(
    objects: &dyn ObjectStore,
    location: &ObjectPath,
    bytes: Bytes,
    again: bool,
) -> Result<bool, Error> {
    let payload = PutPayload::from_bytes(bytes.clone());
    let put = objects.put_opts(location, payload, PutMode::Create.into());
    let taken = match put.await {
        Ok(_) => return Ok(true),
        Err(error @ Error::AlreadyExists { .. }) => error,
        Err(error) => return Err(error),
    };
    match objects.get(location).await {
        Ok(found) => Ok(again && found.bytes().await? == bytes),
        // S3 answers so while another put of the name is on its way, which may yet fail.
        Err(Error::NotFound { .. }) => Err(taken),
        Err(error) => Err(error),
    }
}

fn found<T>(answer: Result<T, Failed>) -> Result<Option<T>, Failed> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(Failed::Refused(Error::NotFound { .. })) => Ok(None),
        Err(failed) => Err(failed),
    }
}

/// Carries a call out, again where its error may pass. An attempt is told whether there was one before.
async fn retried<T, F: Future<Output = Result<T, Failed>>>(
    call: Call,
    limits: Limits,
    mut attempt: impl FnMut(bool) -> F,
) -> Result<T, StoreError> {
    let mut pause = limits.pause;
    let mut attempts = 0;
    loop {
        let again = attempts > 0;
        attempts += 1;
        let failed = match attempt(again).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        let last = attempts >= limits.attempts;
        let reason = match failed {
            Failed::Refused(error) if last || !may_pass(&error) => {
                return Err(call.refused(attempts, error));
            }
            Failed::Slow(time) if last => return Err(call.timed_out(attempts, time)),
            Failed::Refused(error) => error.to_string(),
            Failed::Slow(time) => format!("no answer in {} ms", time.as_millis()),
        };
        tracing::warn!(
            "{} {} in {}: {reason}; trying again in {} ms",
            call.doing,
            call.path,
            call.store,
            pause.as_millis(),
        );
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}

impl Call {
    fn refused(self, attempts: u32, error: Error) -> StoreError {
        StoreError::Remote {
            doing: self.doing,
            store: self.store,
            path: self.path,
            attempts,
            source: Box::new(error),
        }
    }

    fn timed_out(self, attempts: u32, time: Duration) -> StoreError {
        StoreError::TimedOut {
            doing: self.doing,
            store: self.store,
            path: self.path,
            attempts,
            millis: time.as_millis(),
        }
    }
}

/// Whether another attempt may succeed: what the network or the server did, not what was asked.
fn may_pass(error: &Error) -> bool {
    matches!(
        error,
        Error::Generic { .. } | Error::JoinError { .. } | Error::AlreadyExists { .. }
    )
}

/// Waits for a future on threads of the store's own, so that any thread may call, an async one too.
fn wait<T: Send + 'static>(
    future: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let (sender, answer) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        // The receiver waits below for as long as this runs.
        let _ = sender.send(future.await);
    });
    answer
        .recv()
        .unwrap_or_else(|_| Err(StoreError::Threads("a call to it panicked".to_owned())))
}

/// Never dropped, as that would block, which async code must not.
fn runtime() -> Result<&'static Runtime, StoreError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("store")
        .enable_all()
        .build()
        .map_err(|error| StoreError::Threads(error.to_string()))?;
    Ok(RUNTIME.get_or_init(|| runtime))
}
