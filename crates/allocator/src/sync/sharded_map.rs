//! A sharded hash map in which every operation is one step.
//!
//! Keys are already uniformly random: keyed pseudonyms and booking ids, neither
//! of which a client can choose, so hashing costs nothing. Closures run under a
//! shard's lock: they look at the entry and nothing else.
//!
//! Under `cfg(loom)` the same operations stand on the model's locks, since it
//! cannot look into [`dashmap`]. Keys fall on a few shards there too: what is
//! passed on between two threads is no more than the map itself passes on.

use std::hash::{Hash, Hasher};

#[cfg(not(loom))]
pub(crate) use mapped::ShardedMap;
#[cfg(not(loom))]
use mapped::shard_of;
#[cfg(loom)]
pub(crate) use modelled::ShardedMap;
#[cfg(loom)]
use modelled::shard_of;

/// The last eight bytes of the key are its hash.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct UniformHasher(u64);

impl Hasher for UniformHasher {
    fn write(&mut self, bytes: &[u8]) {
        // The last eight: a booking id's first bits are zero.
        if let Some(last) = bytes.last_chunk() {
            self.0 = u64::from_le_bytes(*last);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

/// How many shards a map has, each of which grows by itself, and holds up who looks into
/// it meanwhile.
const SHARDS: usize = if cfg!(loom) { 4 } else { 64 };

fn hash_of(key: &impl Hash) -> u64 {
    let mut hasher = UniformHasher::default();
    key.hash(&mut hasher);
    hasher.finish()
}

/// Entries for a map, collected by its shards.
#[derive(Debug)]
pub(crate) struct Batch<K, V> {
    shards: Vec<Vec<(K, V)>>,
    len: usize,
}

impl<K, V> Default for Batch<K, V> {
    fn default() -> Self {
        Self { shards: std::iter::repeat_with(Vec::new).take(SHARDS).collect(), len: 0 }
    }
}

impl<K: Hash, V> Batch<K, V> {
    /// Adds an entry.
    pub(crate) fn push(&mut self, key: K, value: V) {
        self.shards[shard_of(hash_of(&key))].push((key, value));
        self.len += 1;
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }
}

#[cfg(not(loom))]
mod mapped {
    use std::fmt;
    use std::hash::BuildHasherDefault;

    use dashmap::mapref::entry::Entry;
    use dashmap::{DashMap, SharedValue};

    use super::{Batch, Hash, SHARDS, UniformHasher, hash_of};

    /// The shard that a map gives a key of this hash.
    pub(super) const fn shard_of(hash: u64) -> usize {
        // As `DashMap::determine_shard`: the seven highest bits tell keys of a shard apart.
        ((hash << 7) >> (64 - SHARDS.trailing_zeros())) as usize
    }

    pub(crate) struct ShardedMap<K, V>(DashMap<K, V, BuildHasherDefault<UniformHasher>>);

    impl<K: Eq + Hash, V> Default for ShardedMap<K, V> {
        fn default() -> Self {
            Self(DashMap::with_hasher_and_shard_amount(Default::default(), SHARDS))
        }
    }

    impl<K: Eq + Hash, V> fmt::Debug for ShardedMap<K, V> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "Table of {}", self.0.len())
        }
    }

    impl<K: Eq + Hash + Copy, V> ShardedMap<K, V> {
        /// Makes room for about so many more before any of its shards has to grow.
        pub(crate) fn reserve(&self, more: usize) {
            // Shards differ by chance.
            let each = (more + more / 16).div_ceil(SHARDS);
            for shard in self.0.shards() {
                shard.write().reserve(each, |(key, _)| hash_of(key));
            }
        }

        /// Puts all entries of a batch there, one shard after the other; `taken` gets those
        /// whose key is there already, beside what is.
        pub(crate) fn fill<W>(
            &self,
            batch: &mut Batch<K, W>,
            value: impl Fn(W) -> V,
            mut taken: impl FnMut(&mut V, W),
        ) {
            batch.len = 0;
            for (shard, entries) in self.0.shards().iter().zip(&mut batch.shards) {
                if entries.is_empty() {
                    continue;
                }
                let mut shard = shard.write();
                for (key, new) in entries.drain(..) {
                    let hash = hash_of(&key);
                    match shard.get_mut(hash, |(there, _)| *there == key) {
                        Some((_, there)) => taken(there.get_mut(), new),
                        None => {
                            let new = SharedValue::new(value(new));
                            shard.insert(hash, (key, new), |(key, _)| hash_of(key));
                        }
                    }
                }
            }
        }

        pub(crate) fn look<R>(&self, key: &K, see: impl FnOnce(Option<&V>) -> R) -> R {
            let entry = self.0.get(key);
            see(entry.as_deref())
        }

        /// Puts `value` where there is none; else shows what there is, to be
        /// looked at and changed.
        pub(crate) fn occupy<R>(
            &self,
            key: K,
            value: V,
            taken: impl FnOnce(&mut V) -> R,
        ) -> Result<(), R> {
            match self.0.entry(key) {
                Entry::Vacant(vacant) => {
                    vacant.insert(value);
                    Ok(())
                }
                Entry::Occupied(mut occupied) => Err(taken(occupied.get_mut())),
            }
        }

        pub(crate) fn insert(&self, key: K, value: V) -> Option<V> {
            self.0.insert(key, value)
        }

        /// Removes the value if the condition holds, and returns it.
        pub(crate) fn remove_if(
            &self,
            key: &K,
            mut doomed: impl FnMut(&mut V) -> bool,
        ) -> Option<V> {
            self.0.remove_if_mut(key, |_, value| doomed(value)).map(|(_, value)| value)
        }

        pub(crate) fn len(&self) -> usize {
            self.0.len()
        }
    }

    impl<K: Eq + Hash + Copy, V: Default> ShardedMap<K, V> {
        /// Changes the value, first put there where there is none.
        pub(crate) fn change<R>(&self, key: K, change: impl FnOnce(&mut V) -> R) -> R {
            change(&mut self.0.entry(key).or_default())
        }
    }
}

#[cfg(loom)]
mod modelled {
    use std::collections::HashMap;
    use std::hash::BuildHasherDefault;

    use loom::sync::RwLock;

    use super::{Batch, Hash, SHARDS, UniformHasher, hash_of};

    pub(super) const fn shard_of(hash: u64) -> usize {
        hash as usize % SHARDS
    }

    type Shard<K, V> = RwLock<HashMap<K, V, BuildHasherDefault<UniformHasher>>>;

    #[derive(Debug)]
    pub(crate) struct ShardedMap<K, V>([Shard<K, V>; SHARDS]);

    impl<K, V> Default for ShardedMap<K, V> {
        fn default() -> Self {
            Self(std::array::from_fn(|_| RwLock::new(HashMap::default())))
        }
    }

    impl<K: Eq + Hash + Copy, V> ShardedMap<K, V> {
        pub(crate) fn reserve(&self, _more: usize) {}

        fn shard(&self, key: &K) -> &Shard<K, V> {
            &self.0[shard_of(hash_of(key))]
        }

        pub(crate) fn fill<W>(
            &self,
            batch: &mut Batch<K, W>,
            value: impl Fn(W) -> V,
            mut taken: impl FnMut(&mut V, W),
        ) {
            batch.len = 0;
            for (key, new) in batch.shards.iter_mut().flat_map(|entries| entries.drain(..)) {
                let mut shard = self.shard(&key).write().expect("not poisoned");
                match shard.get_mut(&key) {
                    Some(there) => taken(there, new),
                    None => drop(shard.insert(key, value(new))),
                }
            }
        }

        pub(crate) fn look<R>(&self, key: &K, see: impl FnOnce(Option<&V>) -> R) -> R {
            see(self.shard(key).read().expect("not poisoned").get(key))
        }

        pub(crate) fn occupy<R>(
            &self,
            key: K,
            value: V,
            taken: impl FnOnce(&mut V) -> R,
        ) -> Result<(), R> {
            let mut shard = self.shard(&key).write().expect("not poisoned");
            match shard.get_mut(&key) {
                Some(there) => Err(taken(there)),
                None => {
                    shard.insert(key, value);
                    Ok(())
                }
            }
        }

        pub(crate) fn insert(&self, key: K, value: V) -> Option<V> {
            self.shard(&key).write().expect("not poisoned").insert(key, value)
        }

        pub(crate) fn remove_if(
            &self,
            key: &K,
            mut doomed: impl FnMut(&mut V) -> bool,
        ) -> Option<V> {
            let mut shard = self.shard(key).write().expect("not poisoned");
            let removed = shard.get_mut(key).is_some_and(|value| doomed(value));
            removed.then(|| shard.remove(key)).flatten()
        }

        pub(crate) fn len(&self) -> usize {
            self.0.iter().map(|shard| shard.read().expect("not poisoned").len()).sum()
        }
    }

    impl<K: Eq + Hash + Copy, V: Default> ShardedMap<K, V> {
        pub(crate) fn change<R>(&self, key: K, change: impl FnOnce(&mut V) -> R) -> R {
            change(self.shard(&key).write().expect("not poisoned").entry(key).or_default())
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// What is filled lies in the shards in which it is looked for.
    #[test]
    fn what_is_filled_is_found_and_what_is_there_already_is_told() {
        let map = ShardedMap::default();
        let key = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes();
        map.insert(key(3), 1_003);
        let mut batch = Batch::default();
        (0..1_000).for_each(|i| batch.push(key(i), i));
        assert_eq!(batch.len(), 1_000);
        let mut taken = Vec::new();
        map.fill(&mut batch, |i| i, |there, i| taken.push((*there, i)));
        assert_eq!((taken, batch.len(), map.len()), (vec![(1_003, 3)], 0, 1_000));
        for i in (0..1_000).filter(|i| *i != 3) {
            assert!(map.look(&key(i), |there| there == Some(&i)), "{i}");
        }
        map.fill(&mut batch, |i| i, |_, i| panic!("{i} is there no more"));
    }
}
