//! From an address to a store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::remote::Remote;
use super::{Backend, Limits, Store, StoreError, path};

pub(super) fn open(address: &str, limits: Limits) -> Result<Store, StoreError> {
    if let Some(name) = address.strip_prefix("memory:") {
        let remote = Remote::new(address.to_owned(), in_memory(name), "", limits);
        return Ok(Store::of(Backend::Remote(remote)));
    }
    match address.split_once("://") {
        None if address.is_empty() => Err(refused(address, "it is empty")),
        None => Store::open_dir(Path::new(address)),
        Some(("file", folder)) if folder.starts_with('/') && !folder.contains('%') => {
            Store::open_dir(Path::new(folder))
        }
        Some(("file", _)) => Err(refused(
            address,
            "file:// takes an absolute folder, as it is, with nothing escaped",
        )),
        Some(("s3", place)) => s3(place, limits),
        Some((scheme, _)) => Err(refused(
            &format!("{scheme}://…"),
            "this kind of store is not known",
        )),
    }
}

fn s3(place: &str, limits: Limits) -> Result<Store, StoreError> {
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let prefix = prefix.trim_end_matches('/');
    if bucket.contains('@') {
        return Err(refused(
            "s3://…@…",
            "credentials are taken from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), never from an \
             address, which ends up in logs",
        ));
    }
    let url = format!("s3://{place}");
    if bucket.is_empty() || bucket.contains(['?', '#', ':', '%']) {
        return Err(refused(&url, "it names no bucket"));
    }
    path::check_folder(prefix).map_err(|error| refused(&url, &error.to_string()))?;
    let objects = s3_bucket(&url, bucket)?;
    let remote = Remote::new(url, objects, prefix, limits);
    Ok(Store::of(Backend::Remote(remote)))
}

#[cfg(feature = "s3")]
fn s3_bucket(url: &str, bucket: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    let builder = object_store::aws::AmazonS3Builder::from_env();
    build_s3(builder, bucket).map_err(|error| refused(url, &error.to_string()))
}

/// Each call is repeated by us alone, who know what may have been carried out.
#[cfg(feature = "s3")]
pub(super) fn build_s3(
    builder: object_store::aws::AmazonS3Builder,
    bucket: &str,
) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
    let once = object_store::RetryConfig {
        max_retries: 0,
        ..object_store::RetryConfig::default()
    };
    let objects = builder
        .with_bucket_name(bucket)
        .with_conditional_put(object_store::aws::S3ConditionalPut::ETagMatch)
        .with_retry(once)
        .build()?;
    Ok(Arc::new(objects))
}

#[cfg(not(feature = "s3"))]
fn s3_bucket(url: &str, _bucket: &str) -> Result<Arc<dyn ObjectStore>, StoreError> {
    Err(StoreError::Feature {
        url: url.to_owned(),
        feature: "s3",
    })
}

/// The store of this name, the same for all who ask in this process.
fn in_memory(name: &str) -> Arc<dyn ObjectStore> {
    static STORES: LazyLock<Mutex<BTreeMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);
    let mut stores = STORES.lock().unwrap_or_else(PoisonError::into_inner);
    stores.entry(name.to_owned()).or_default().clone()
}

fn refused(url: &str, reason: &str) -> StoreError {
    StoreError::Address {
        url: url.to_owned(),
        reason: reason.to_owned(),
    }
}
