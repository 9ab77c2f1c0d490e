//! Keys and values by key group: a checkpoint finds the groups that it rewrites without a look at the others.

use std::borrow::Borrow;
use std::hash::Hash;

use hashbrown::HashTable;
use serde::Serialize;

use super::{Changes, KEY_GROUPS, StateWriter, key_group};

/// A key that says which group it lies in.
pub trait GroupKey: Eq {
    /// A hash that is the same in every process and release: the group comes of it.
    fn stable_hash(&self) -> u64;
}

impl<K: GroupKey + ?Sized> GroupKey for std::sync::Arc<K> {
    fn stable_hash(&self) -> u64 {
        (**self).stable_hash()
    }
}

/// A hash map of one table a key group. One hash finds both the group and the place in it; and as the tables are small, none
/// holds the dataflow up when it grows.
#[derive(Clone, Debug)]
pub struct Grouped<K, V> {
    groups: Vec<HashTable<(K, V)>>,
    len: usize,
}

impl<K, V> Default for Grouped<K, V> {
    fn default() -> Self {
        Self {
            groups: (0..KEY_GROUPS).map(|_| HashTable::new()).collect(),
            len: 0,
        }
    }
}

/// The index of the table that holds a key, and the key's hash there: all keys of a table agree in the bits that chose it.
fn place_of<Q: GroupKey + ?Sized>(key: &Q) -> (usize, u64) {
    let hash = key.stable_hash();
    let spread = (hash / u64::from(KEY_GROUPS)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (usize::from(key_group(hash)), spread)
}

impl<K: GroupKey, V> Grouped<K, V> {
    /// A key and its value.
    pub fn get<Q: GroupKey + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let (group, hash) = place_of(key);
        let found = self.groups[group].find(hash, |(held, _)| held.borrow() == key);
        found.map(|(_, value)| value)
    }

    /// A key as it is held, and its value.
    pub fn get_key_value_mut<Q: GroupKey + ?Sized>(&mut self, key: &Q) -> Option<(&K, &mut V)>
    where
        K: Borrow<Q>,
    {
        let (group, hash) = place_of(key);
        let found = self.groups[group].find_mut(hash, |(held, _)| held.borrow() == key);
        found.map(|(key, value)| (&*key, value))
    }

    /// The value of a key.
    pub fn get_mut<Q: GroupKey + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value_mut(key).map(|(_, value)| value)
    }

    /// Sets the value of a key; returns the one before.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (group, hash) = place_of(&key);
        let rehash = |(held, _): &(K, V)| place_of(held).1;
        match self.groups[group].entry(hash, |(held, _)| *held == key, rehash) {
            hashbrown::hash_table::Entry::Occupied(mut held) => {
                Some(std::mem::replace(&mut held.get_mut().1, value))
            }
            hashbrown::hash_table::Entry::Vacant(vacant) => {
                vacant.insert((key, value));
                self.len += 1;
                None
            }
        }
    }

    /// Takes a key and its value out.
    pub fn remove<Q: GroupKey + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (group, hash) = place_of(key);
        let found = self.groups[group].find_entry(hash, |(held, _)| held.borrow() == key);
        let ((_, value), _) = found.ok()?.remove();
        self.len -= 1;
        Some(value)
    }

    /// Number of keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All keys and values.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        let all = self.groups.iter_mut().flatten();
        all.map(|(key, value)| (&*key, value))
    }

    /// Takes all keys and values out.
    pub fn drain(&mut self) -> impl Iterator<Item = (K, V)> + '_ {
        self.len = 0;
        self.groups.iter_mut().flat_map(HashTable::drain)
    }

    /// Hands over the keys that `changes` names, and all of the groups that are rewritten. `saved` makes what is kept of a
    /// value, which should share with it what is large: it is written down on another thread.
    pub fn save<S>(&self, changes: &mut Changes<K>, out: &mut StateWriter, saved: impl Fn(&V) -> S)
    where
        K: Clone + Serialize + Hash + Send + 'static,
        S: Serialize + Send + 'static,
    {
        let mut entries: Vec<(u16, K, Option<S>)> = Vec::new();
        for key in changes.drain() {
            let group = key_group(key.stable_hash());
            if !out.rewrites(group) {
                let saved = self.get(&key).map(&saved);
                entries.push((group, key, saved));
            }
        }
        for group in out.rewritten_groups() {
            let all = self.groups[usize::from(group)].iter();
            entries.extend(all.map(|(key, value)| (group, key.clone(), Some(saved(value)))));
        }
        out.later(move |out| {
            for (group, key, saved) in entries {
                match saved {
                    Some(saved) => out.put(group, &key, &saved),
                    None => out.delete(group, &key),
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
    struct Name(String);

    impl GroupKey for Name {
        fn stable_hash(&self) -> u64 {
            // Few groups, and full ones.
            xxhash_rust::xxh3::xxh3_64(self.0.as_bytes()) & !0x3fc
        }
    }

    proptest! {
        #[test]
        fn it_holds_what_a_sorted_map_holds(steps in proptest::collection::vec((0u16..300, any::<Option<u8>>()), 0..900)) {
            let mut grouped: Grouped<Name, u8> = Grouped::default();
            let mut model = BTreeMap::new();
            for (key, value) in steps {
                let key = Name(key.to_string());
                match value {
                    Some(value) => prop_assert_eq!(grouped.insert(key.clone(), value), model.insert(key.clone(), value)),
                    None => prop_assert_eq!(grouped.remove(&key), model.remove(&key)),
                }
                prop_assert_eq!(grouped.get(&key), model.get(&key));
                prop_assert_eq!(grouped.len(), model.len());
            }
            let mut held: Vec<_> = grouped.iter_mut().map(|(key, value)| (key.clone(), *value)).collect();
            held.sort();
            prop_assert!(held.into_iter().eq(model.clone()));
            let drained: BTreeMap<_, _> = grouped.drain().collect();
            prop_assert_eq!(drained, model);
            prop_assert!(grouped.is_empty());
        }
    }
}
