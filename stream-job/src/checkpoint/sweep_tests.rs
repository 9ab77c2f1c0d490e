#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;
use crate::checkpoint::manifest::{self, Layer, Manifest, StateRef};
use crate::checkpoint::record::{EpochRecord, Rewrite};

const FOLDER: &str = "00000002";

fn state_path(epoch: u64, generation: u64, worker: u32) -> String {
    format!("{FOLDER}/state/e{epoch:020}-g{generation}-w{worker}.state")
}

fn manifest_path(epoch: u64, generation: u64) -> String {
    format!("{FOLDER}/checkpoints/e{epoch:020}-g{generation}.json")
}

fn manifest_of(epoch: u64, generation: u64, files: &[String]) -> Manifest {
    let file = |path: &String| StateRef {
        epoch,
        worker: 0,
        path: path.clone(),
        bytes: 5,
        crc32c: crc32c::crc32c(b"state"),
        rewritten_bytes: 5,
        operators: BTreeMap::new(),
    };
    Manifest {
        version: manifest::VERSION,
        timeline: "t".to_owned(),
        generation,
        code_version: "1".to_owned(),
        settings: BTreeMap::new(),
        record: EpochRecord {
            epoch,
            ..EpochRecord::default()
        },
        acks: Vec::new(),
        layers: vec![Layer {
            epoch,
            rewrite: Rewrite { from: 0, to: 1024 },
            files: files.iter().map(file).collect(),
        }],
        written_ms: 0,
        tells_all: false,
    }
}

/// Puts a manifest, and says what the log would of it.
fn checkpoint(store: &Store, epoch: u64, generation: u64, files: &[String]) -> CheckpointRef {
    let path = manifest_path(epoch, generation);
    let bytes = serde_json::to_vec(&manifest_of(epoch, generation, files)).unwrap();
    store.put_new(&path, &bytes).unwrap();
    CheckpointRef {
        epoch,
        manifest: path,
        crc32c: crc32c::crc32c(&bytes),
        bytes: bytes.len() as u64,
    }
}

fn put_state(store: &Store, paths: &[String]) {
    for path in paths {
        store.put_new(path, b"state").unwrap();
    }
}

fn paths_in(store: &Store, folder: &str) -> Vec<String> {
    let entries = store.list(folder).unwrap();
    entries.into_iter().map(|entry| entry.path).collect()
}

fn each(name: &str, test: impl Fn(&Store)) {
    let dir = tempfile::tempdir().unwrap();
    test(&Store::open_dir(dir.path()).unwrap());
    test(&Store::open(&format!("memory:sweep-{name}")).unwrap());
}

#[test]
fn what_no_checkpoint_of_the_log_names_is_deleted_and_counted() {
    each("orphans", |store| {
        // Generation 1 completed epoch 10; generation 2 took the files of epoch 20 with it, and died between the manifest of
        // epoch 30 and its entry in the log.
        let kept = [state_path(10, 1, 0), state_path(10, 1, 1)];
        let unfinished = [state_path(20, 2, 0)];
        let unlogged = [state_path(30, 2, 0), state_path(30, 2, 1)];
        for paths in [&kept[..], &unfinished, &unlogged] {
            put_state(store, paths);
        }
        let logged = [checkpoint(store, 10, 1, &kept)];
        let unlogged = checkpoint(store, 30, 2, &unlogged);

        let swept = sweep(store, FOLDER, 3, &logged).unwrap();
        assert_eq!((swept.files, swept.bytes), (4, 3 * 5 + unlogged.bytes));
        let mut left = vec![manifest_path(10, 1)];
        left.extend(kept);
        assert_eq!(paths_in(store, FOLDER), left);
        assert_eq!(sweep(store, FOLDER, 3, &logged).unwrap(), Swept::default());
    });
}

#[test]
fn files_of_a_checkpoint_that_was_deleted_in_part_stay_only_where_a_kept_one_names_them() {
    each("half", |store| {
        let (old, shared) = (state_path(10, 1, 0), state_path(20, 1, 0));
        put_state(store, &[old.clone(), shared.clone()]);
        let gone = checkpoint(store, 20, 1, &[old, shared.clone()]);
        store.delete(&gone.manifest).unwrap();
        let logged = [
            gone,
            checkpoint(store, 30, 1, std::slice::from_ref(&shared)),
        ];
        assert_eq!(sweep(store, FOLDER, 2, &logged).unwrap().files, 1);
        assert_eq!(paths_in(store, FOLDER), [manifest_path(30, 1), shared]);
    });
}

#[test]
fn newer_generations_other_timelines_savepoints_and_strange_names_are_left_alone() {
    each("others", |store| {
        let others = [
            state_path(10, 3, 0),
            manifest_path(10, 4),
            "00000001/state/e00000000000000000010-g1-w0.state".to_owned(),
            "00000001/checkpoints/e00000000000000000010-g1.json".to_owned(),
            "savepoints/kept/e00000000000000000010-g1-w0.state".to_owned(),
            format!("{FOLDER}/state/notes.txt"),
            format!("{FOLDER}/state/e1.state"),
        ];
        put_state(store, &others);
        assert_eq!(sweep(store, FOLDER, 3, &[]).unwrap(), Swept::default());
        assert_eq!(paths_in(store, "").len(), others.len());
    });
}

#[test]
fn nothing_is_deleted_while_a_manifest_of_the_log_cannot_be_read() {
    each("damaged", |store| {
        put_state(store, &[state_path(10, 1, 0), state_path(20, 1, 0)]);
        let mut named = checkpoint(store, 10, 1, &[state_path(10, 1, 0)]);
        named.crc32c ^= 1;
        let error = sweep(store, FOLDER, 2, &[named]).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        assert_eq!(paths_in(store, FOLDER).len(), 3);
    });
}
