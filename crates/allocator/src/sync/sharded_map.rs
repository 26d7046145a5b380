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
#[cfg(loom)]
pub(crate) use modelled::ShardedMap;

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

#[cfg(not(loom))]
mod mapped {
    use std::fmt;
    use std::hash::BuildHasherDefault;

    use dashmap::DashMap;
    use dashmap::mapref::entry::Entry;

    use super::{Hash, Hasher as _, UniformHasher};

    /// How many parts a map has, each of which grows by itself, and holds up who looks into
    /// it meanwhile.
    const SHARDS: usize = 64;

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
                shard.write().reserve(each, |(key, _)| {
                    let mut hasher = UniformHasher::default();
                    key.hash(&mut hasher);
                    hasher.finish()
                });
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

    use super::{Hash, Hasher, UniformHasher};

    const SHARDS: usize = 4;

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
            let mut hasher = UniformHasher::default();
            key.hash(&mut hasher);
            &self.0[hasher.finish() as usize % SHARDS]
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
