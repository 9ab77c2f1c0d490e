#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use tempfile::TempDir;

use super::*;

const QUICK: Limits = Limits {
    attempts: 3,
    attempt: Duration::from_secs(30),
    bytes_per_second: 1 << 20,
    pause: Duration::from_millis(1),
};

fn remote(objects: Arc<dyn ObjectStore>, prefix: &str) -> Store {
    let url = "test://bucket".to_owned();
    Store::of(Backend::Remote(Remote::new(url, objects, prefix, QUICK)))
}

/// Every kind of store, and the folder that some of them are in.
fn stores() -> (TempDir, Vec<(&'static str, Store)>) {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("objects")).unwrap();
    let files = LocalFileSystem::new_with_prefix(dir.path().join("objects")).unwrap();
    let stores = vec![
        (
            "folder",
            Store::open_dir(&dir.path().join("local")).unwrap(),
        ),
        ("memory", remote(Arc::new(InMemory::new()), "")),
        (
            "memory with a prefix",
            remote(Arc::new(InMemory::new()), "a/b"),
        ),
        ("object_store's folder", remote(Arc::new(files), "p")),
    ];
    (dir, stores)
}

fn paths(store: &Store, folder: &str) -> Vec<String> {
    let entries = store.list(folder).unwrap();
    entries.into_iter().map(|entry| entry.path).collect()
}

#[test]
fn what_was_put_is_read_listed_and_deleted() {
    let (_dir, stores) = stores();
    for (kind, store) in stores {
        assert_eq!(store.get("x/y").unwrap(), None, "{kind}");
        assert_eq!(paths(&store, "x"), [""; 0], "{kind}");
        store.put_new("x/y", b"one").unwrap();
        store.put_new("x/z/w", b"").unwrap();
        store.put_new("xx/y", b"three").unwrap();
        assert_eq!(store.get("x/y").unwrap().unwrap(), b"one", "{kind}");
        assert_eq!(
            store.get("x").unwrap(),
            None,
            "{kind}: a folder is no object"
        );
        assert_eq!(paths(&store, "x"), ["x/y", "x/z/w"], "{kind}");
        assert_eq!(paths(&store, ""), ["x/y", "x/z/w", "xx/y"], "{kind}");
        assert_eq!(store.list("xx").unwrap()[0].bytes, 5, "{kind}");
        store.delete("x/y").unwrap();
        store.delete("x/y").unwrap();
        assert_eq!(store.get("x/y").unwrap(), None, "{kind}");
        assert_eq!(paths(&store, "x"), ["x/z/w"], "{kind}");
    }
}

#[test]
fn a_path_that_is_taken_stays_as_it_is() {
    let (_dir, stores) = stores();
    for (kind, store) in stores {
        store.put_new("a", b"first").unwrap();
        // Equal bytes are no excuse: two writers may mean different things by them.
        for bytes in [b"other", b"first"] {
            let error = store.put_new("a", bytes).unwrap_err();
            assert!(error.is_exists(), "{kind}: {error}");
        }
        assert_eq!(store.get("a").unwrap().unwrap(), b"first", "{kind}");
        store.delete("a").unwrap();
        store.put_new("a", b"later").unwrap();
    }
}

#[test]
fn of_many_that_put_one_path_exactly_one_wins() {
    let (_dir, stores) = stores();
    for (kind, store) in stores {
        for round in 0..20 {
            let path = format!("round/{round}");
            let put = |bytes: u8| store.put_new(&path, &[bytes; 1000]);
            let won: Vec<u8> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4_u8)
                    .map(|writer| scope.spawn(move || (writer, put(writer))))
                    .collect();
                (threads.into_iter())
                    .map(|thread| thread.join().unwrap())
                    .filter_map(|(writer, result)| match result {
                        Ok(()) => Some(writer),
                        Err(error) if error.is_exists() => None,
                        Err(error) => panic!("{kind}: {error}"),
                    })
                    .collect()
            });
            assert_eq!(won.len(), 1, "{kind}");
            assert_eq!(store.get(&path).unwrap().unwrap(), [won[0]; 1000], "{kind}");
        }
    }
}

#[test]
fn paths_that_could_lead_out_of_a_store_are_refused() {
    let (_dir, stores) = stores();
    let long = "n".repeat(201);
    for (kind, store) in stores {
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/./b",
            "a//b",
            "a/",
            ".hidden",
            "a b",
            "a\\b",
            "ä",
            "a\0b",
            "%2e%2e/x",
            &long,
        ] {
            for result in [
                store.put_new(path, b"x"),
                store.get(path).map(drop),
                store.delete(path),
                if path.is_empty() {
                    store.put_new("", b"x")
                } else {
                    store.list(path).map(drop)
                },
            ] {
                let refused = matches!(result, Err(StoreError::Path { .. }));
                assert!(refused, "{kind}: {path:?}: {result:?}");
            }
        }
    }
}

#[test]
fn a_torn_temporary_file_is_no_object_and_is_swept() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open_dir(dir.path()).unwrap();
    store.put_new("log/a", b"whole").unwrap();
    // What a process leaves that dies while it writes.
    fs::write(dir.path().join("log/.77-0.tmp"), b"ha").unwrap();
    fs::write(dir.path().join(".77-1.tmp"), b"").unwrap();
    assert_eq!(paths(&store, ""), ["log/a"]);
    assert_eq!(store.sweep().unwrap(), 2);
    assert_eq!(store.sweep().unwrap(), 0);
    let left: BTreeSet<_> = fs::read_dir(dir.path().join("log"))
        .unwrap()
        .map(|file| file.unwrap().file_name())
        .collect();
    assert_eq!(
        left.len(),
        1,
        "a put leaves nothing but the object: {left:?}"
    );
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = Store::open(file.join("state").to_str().unwrap()).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("file") && text.contains("make the folder"),
        "{text}"
    );
}

#[test]
fn an_address_opens_its_store_or_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("state");
    let by_url = Store::open(&format!("file://{}", folder.display())).unwrap();
    by_url.put_new("a", b"1").unwrap();
    let by_folder = Store::open(folder.to_str().unwrap()).unwrap();
    assert_eq!(by_folder.get("a").unwrap().unwrap(), b"1");
    assert_eq!(by_folder.local_dir(), by_url.local_dir());

    let (one, two) = (
        Store::open("memory:addresses").unwrap(),
        Store::open("memory:addresses").unwrap(),
    );
    one.put_new("a", b"1").unwrap();
    assert!(two.put_new("a", b"2").unwrap_err().is_exists());
    assert_eq!(
        Store::open("memory:others").unwrap().get("a").unwrap(),
        None
    );
    assert_eq!(one.local_dir(), None);

    for (address, expected) in [
        ("", "it is empty"),
        ("file://host/x", "absolute folder"),
        ("https://user:secret@host/x", "not known"),
        ("s3://key:secret@bucket/x", "from the environment"),
        ("s3:///x", "no bucket"),
        ("s3://bucket/../x", "starts with a dot"),
    ] {
        let error = Store::open(address).unwrap_err().to_string();
        assert!(error.contains(expected), "{address}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[cfg(not(feature = "s3"))]
#[test]
fn s3_without_its_feature_names_the_feature() {
    let error = Store::open("s3://bucket/prefix").unwrap_err().to_string();
    assert!(error.contains("--features s3"), "{error}");
}

#[test]
fn a_store_may_be_asked_from_async_code() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = Store::open("memory:async").unwrap();
        store.put_new("a", b"1").unwrap();
        assert_eq!(store.get("a").unwrap().unwrap(), b"1");
    });
}

/// What goes wrong with a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It is carried out, but the answer is lost.
    AnswerLost,
    /// It is not carried out.
    RequestLost,
    /// It is not answered.
    Hangs,
    /// It is refused for good.
    Denied,
    /// Another put of the name is on its way.
    Conflict,
}

/// A store in memory whose first puts go wrong.
#[derive(Debug)]
struct Faulty {
    objects: InMemory,
    fault: Fault,
    left: AtomicU32,
    puts: AtomicU32,
}

impl Faulty {
    fn new(fault: Fault, times: u32) -> Arc<Faulty> {
        Arc::new(Faulty {
            objects: InMemory::new(),
            fault,
            left: AtomicU32::new(times),
            puts: AtomicU32::new(0),
        })
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

fn broken(path: &ObjectPath, fault: Fault) -> object_store::Error {
    let (path, source) = (path.to_string(), "as the test wants it".into());
    match fault {
        Fault::Denied => object_store::Error::PermissionDenied { path, source },
        Fault::Conflict => object_store::Error::AlreadyExists { path, source },
        _ => object_store::Error::Generic {
            store: "faulty",
            source,
        },
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        path: &ObjectPath,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.puts.fetch_add(1, Ordering::SeqCst);
        let left = (self.left).fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        });
        if left.is_err() {
            return self.objects.put_opts(path, payload, options).await;
        }
        if self.fault == Fault::AnswerLost {
            self.objects.put_opts(path, payload, options).await?;
        }
        if self.fault == Fault::Hangs {
            std::future::pending::<()>().await;
        }
        Err(broken(path, self.fault))
    }

    async fn put_multipart_opts(
        &self,
        path: &ObjectPath,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(path, options).await
    }

    async fn get_opts(
        &self,
        path: &ObjectPath,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.objects.get_opts(path, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<ObjectPath>>,
    ) -> BoxStream<'static, object_store::Result<ObjectPath>> {
        self.objects.delete_stream(paths)
    }

    fn list(
        &self,
        prefix: Option<&ObjectPath>,
    ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(
        &self,
        prefix: Option<&ObjectPath>,
    ) -> object_store::Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(
        &self,
        from: &ObjectPath,
        to: &ObjectPath,
        options: CopyOptions,
    ) -> object_store::Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

#[test]
fn a_put_is_tried_again_until_it_is_known_to_be_carried_out() {
    for fault in [Fault::AnswerLost, Fault::RequestLost, Fault::Conflict] {
        let objects = Faulty::new(fault, 1);
        let store = remote(objects.clone(), "");
        store
            .put_new("a", b"1")
            .unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert_eq!(objects.puts.load(Ordering::SeqCst), 2, "{fault:?}");
        assert_eq!(store.get("a").unwrap().unwrap(), b"1");
    }
}

#[test]
fn a_put_whose_answer_was_lost_is_not_taken_for_that_of_another() {
    let objects = Faulty::new(Fault::RequestLost, 0);
    let store = remote(objects.clone(), "");
    store.put_new("a", b"of another").unwrap();
    objects.left.store(1, Ordering::SeqCst);
    let error = store.put_new("a", b"ours").unwrap_err();
    assert!(error.is_exists(), "{error}");
}

#[test]
fn a_store_that_keeps_failing_is_given_up_with_what_where_and_how_often() {
    for (fault, puts, expected) in [
        (Fault::RequestLost, 3, "after 3 attempts"),
        (Fault::Denied, 1, "after 1 attempts"),
    ] {
        let objects = Faulty::new(fault, u32::MAX);
        let error = remote(objects.clone(), "")
            .put_new("x/a", b"1")
            .unwrap_err();
        let text = error.to_string();
        assert!(text.contains("cannot write x/a in test://bucket"), "{text}");
        assert!(text.contains(expected), "{text}");
        assert_eq!(objects.puts.load(Ordering::SeqCst), puts, "{fault:?}");
    }
}

#[test]
fn a_store_that_does_not_answer_is_not_waited_for_for_ever() {
    let limits = Limits {
        attempt: Duration::from_millis(1),
        ..QUICK
    };
    let objects = Faulty::new(Fault::Hangs, u32::MAX);
    let remote = Remote::new("test://bucket".to_owned(), objects, "", limits);
    let error = Store::of(Backend::Remote(remote))
        .put_new("a", b"1")
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no answer in 3 attempts"), "{text}");
}
