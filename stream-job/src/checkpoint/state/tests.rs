#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::checkpoint::record::Rewrite;

/// An operator that keeps numbers by name.
#[derive(Default)]
struct Numbers {
    held: BTreeMap<u32, String>,
    changes: Changes<u32>,
    restored_at: Option<u64>,
}

fn encoded(sections: Vec<Section>) -> Vec<u8> {
    let mut file = Vec::new();
    encode(sections, &mut file);
    file
}

fn group_of(key: u32) -> u16 {
    key_group(xxhash_rust::xxh3::xxh3_64(&key.to_le_bytes()))
}

impl KeyedState for Numbers {
    const UID: &'static str = "numbers";
    const VERSION: u16 = 3;
    const READS: &'static [u16] = &[3];

    fn save(&mut self, out: &mut StateWriter) {
        let Numbers { held, changes, .. } = self;
        changes.save_noted(out, |key| group_of(*key), |key| held.get(key));
        save_rewritten(out, |key| group_of(*key), held.iter());
    }

    fn restore(&mut self, version: u16, entry: &Entry<'_>) -> Result<(), StateError> {
        let (key, value) = read_version::<Self, _, _>(version, entry)?;
        assert!(self.held.insert(key, value).is_none(), "a key came twice");
        Ok(())
    }

    fn restored(&mut self, record: &EpochRecord) {
        self.restored_at = Some(record.epoch);
    }
}

impl Numbers {
    fn set(&mut self, key: u32, value: Option<String>) {
        match value {
            Some(value) => self.held.insert(key, value),
            None => self.held.remove(&key),
        };
        self.changes.note(key);
    }

    fn checkpoint(&mut self, rewrite: Rewrite) -> StateFile {
        let mut writer = StateWriter::new(1, rewrite);
        self.save(&mut writer);
        let file = encoded(vec![writer.close::<Numbers>()]);
        StateFile::open("f".to_owned(), file).unwrap()
    }
}

fn record(epoch: u64) -> EpochRecord {
    crate::dataflow::fixtures::record(epoch, 0)
}

const ALL: Rewrite = Rewrite {
    from: 0,
    to: KEY_GROUPS,
};

#[test]
fn every_group_has_one_owner_and_each_worker_a_range() {
    for workers in 1..=7 {
        let owners: Vec<usize> = (0..KEY_GROUPS).map(|group| owner(group, workers)).collect();
        assert!(owners.is_sorted());
        assert_eq!((owners[0], owners[1023]), (0, workers - 1));
    }
}

#[test]
fn state_of_another_version_is_refused_by_name() {
    let mut numbers = Numbers::default();
    numbers.set(1, Some("one".to_owned()));
    let mut writer = StateWriter::new(1, ALL);
    numbers.save(&mut writer);
    let mut section = writer.close::<Numbers>();
    section.version = 4;
    let file = StateFile::open("e7.state".to_owned(), encoded(vec![section])).unwrap();
    assert_eq!(file.operators().collect::<Vec<_>>(), [("numbers", 4)]);
    let mut restored = Restored::new(record(7));
    restored.add_older(ALL, vec![file]);
    let error = restored.feed(&mut Numbers::default(), 0, 1).unwrap_err();
    let text = format!("{error}");
    assert!(
        text.contains("`numbers`") && text.contains("e7.state") && text.contains("version 4"),
        "{text}"
    );
}

#[test]
fn a_file_that_is_cut_anywhere_or_has_more_is_refused() {
    let mut numbers = Numbers::default();
    numbers.set(1, Some("one".to_owned()));
    let mut writer = StateWriter::new(1, ALL);
    numbers.save(&mut writer);
    let mut bytes = encoded(vec![writer.close::<Numbers>()]);
    for length in 0..bytes.len() {
        let error = StateFile::open("f".to_owned(), bytes[..length].to_vec()).unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }), "{length}");
    }
    bytes.push(0);
    assert!(StateFile::open("f".to_owned(), bytes).is_err());
}

#[derive(Clone, Debug)]
enum Step {
    Set(u32, Option<u8>),
    Checkpoint { width: u16 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0u32..60, proptest::option::of(any::<u8>())).prop_map(|(key, value)| Step::Set(key, value)),
        1 => (0u16..700).prop_map(|width| Step::Checkpoint { width }),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #[test]
    fn whatever_was_rewritten_when_a_restore_gives_back_what_was_held(steps in steps(), workers in 1usize..5) {
        let mut numbers = Numbers::default();
        let mut layers: Vec<(Rewrite, StateFile)> = vec![(ALL, numbers.checkpoint(ALL))];
        let mut model = BTreeMap::new();
        let mut cursor = 0u16;
        for step in steps {
            match step {
                Step::Set(key, value) => numbers.set(key, value.map(|v| v.to_string())),
                Step::Checkpoint { width } => {
                    let rewrite = Rewrite { from: cursor, to: (cursor + width).min(KEY_GROUPS) };
                    cursor = rewrite.to % KEY_GROUPS;
                    layers.push((rewrite, numbers.checkpoint(rewrite)));
                    model = numbers.held.clone();
                }
            }
        }
        let mut restored = Restored::new(record(9));
        for (rewrite, file) in layers.into_iter().rev() {
            restored.add_older(rewrite, vec![file]);
        }
        let mut union = BTreeMap::new();
        for worker in 0..workers {
            let mut part = Numbers::default();
            restored.feed(&mut part, worker, workers).unwrap();
            prop_assert_eq!(part.restored_at, Some(9));
            for (key, value) in part.held {
                prop_assert_eq!(owner(group_of(key), workers), worker);
                union.insert(key, value);
            }
        }
        prop_assert_eq!(union, model);
    }
}
