//! A sharded hash map in which every operation is one step.
//!
//! Keys are already uniformly random: keyed pseudonyms and booking ids, neither
//! of which a client can choose, so hashing costs nothing. Closures run under a
//! shard's lock: they look at the entry and nothing else.
//!
//! Beside the locks there are two atomics a shard, which say where its table lies:
//!
//! | location | writer | reader | ordering | if it is weaker, or stale |
//! |---|---|---|---|---|
//! | `middle`, `mask` | whoever adds an entry or makes room, under the shard's lock | `fetch`, without it | relaxed | another line is fetched; nothing rests on it |
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
    use std::ptr::{self, NonNull};
    use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

    use dashmap::{DashMap, SharedValue};

    use super::{Batch, Hash, SHARDS, UniformHasher, hash_of};
    use crate::sync::prefetch::prefetch;

    /// How many entries before an entry of a [`Batch`] its place is fetched from memory.
    const FETCHED_AHEAD: usize = 8;

    /// The shard that a map gives a key of this hash.
    pub(super) const fn shard_of(hash: u64) -> usize {
        // As `DashMap::determine_shard`: the seven highest bits tell keys of a shard apart.
        ((hash << 7) >> (64 - SHARDS.trailing_zeros())) as usize
    }

    pub(crate) struct ShardedMap<K, V> {
        map: DashMap<K, V, BuildHasherDefault<UniformHasher>>,
        places: [Place; SHARDS],
    }

    /// Where a shard's table lies in memory, as it stood a moment ago: for what may be wrong.
    #[derive(Default)]
    struct Place {
        /// Behind the last entry, where the bytes that tell them apart begin.
        middle: AtomicPtr<u8>,
        /// Of a hash, the bits that say how far from there its entry lies.
        mask: AtomicUsize,
    }

    impl Place {
        /// After whatever may have moved the table, under its lock.
        fn note<E>(&self, data_end: NonNull<E>, buckets: usize) {
            let middle = data_end.as_ptr().cast();
            if self.middle.load(Ordering::Relaxed) != middle {
                self.middle.store(middle, Ordering::Relaxed);
            }
            if self.mask.load(Ordering::Relaxed) != buckets - 1 {
                self.mask.store(buckets - 1, Ordering::Relaxed);
            }
        }

        /// Where the byte that tells an entry of this hash apart lies, and where the entry of
        /// so many bytes does, if nothing else has taken its place: in the other direction.
        fn of(&self, hash: u64, entry_bytes: usize) -> (*const u8, *const u8) {
            let middle = self.middle.load(Ordering::Relaxed).cast_const();
            let at = hash as usize & self.mask.load(Ordering::Relaxed);
            (middle.wrapping_add(at), middle.wrapping_sub((at + 1) * entry_bytes))
        }
    }

    impl<K: Eq + Hash, V> Default for ShardedMap<K, V> {
        fn default() -> Self {
            Self {
                map: DashMap::with_hasher_and_shard_amount(Default::default(), SHARDS),
                places: std::array::from_fn(|_| Place::default()),
            }
        }
    }

    impl<K: Eq + Hash, V> fmt::Debug for ShardedMap<K, V> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "Table of {}", self.map.len())
        }
    }

    impl<K: Eq + Hash + Copy, V> ShardedMap<K, V> {
        /// Makes room for about so many more before any of its shards has to grow.
        pub(crate) fn reserve(&self, more: usize) {
            // Shards differ by chance.
            let each = (more + more / 16).div_ceil(SHARDS);
            for (shard, place) in self.map.shards().iter().zip(&self.places) {
                let mut shard = shard.write();
                shard.reserve(each, |(key, _)| hash_of(key));
                place.note(shard.data_end(), shard.buckets());
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
            for (i, entries) in batch.shards.iter_mut().enumerate() {
                if entries.is_empty() {
                    continue;
                }
                let mut shard = self.map.shards()[i].write();
                let mut rest = entries.drain(..);
                while let Some((key, new)) = rest.next() {
                    rest.as_slice()
                        .get(FETCHED_AHEAD)
                        .into_iter()
                        .for_each(|(key, _)| self.fetch(key));
                    let hash = hash_of(&key);
                    match shard.get_mut(hash, |(there, _)| *there == key) {
                        Some((_, there)) => taken(there.get_mut(), new),
                        None => {
                            let new = SharedValue::new(value(new));
                            shard.insert(hash, (key, new), |(key, _)| hash_of(key));
                        }
                    }
                }
                self.places[i].note(shard.data_end(), shard.buckets());
            }
        }

        /// Has the processor fetch what a look at this key touches: worth it where the look
        /// comes after some hundred instructions of something else.
        pub(crate) fn fetch(&self, key: &K) {
            let hash = hash_of(key);
            let shard = shard_of(hash);
            let (tag, entry) = self.places[shard].of(hash, size_of::<(K, SharedValue<V>)>());
            prefetch(ptr::from_ref(&self.map.shards()[shard]));
            prefetch(tag);
            prefetch(entry);
        }

        pub(crate) fn look<R>(&self, key: &K, see: impl FnOnce(Option<&V>) -> R) -> R {
            let entry = self.map.get(key);
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
            self.at(key, |there| match there {
                Some(there) => (Err(taken(there)), None),
                None => (Ok(()), Some(value)),
            })
        }

        pub(crate) fn insert(&self, key: K, value: V) -> Option<V> {
            self.at(key, |there| match there {
                Some(there) => (Some(std::mem::replace(there, value)), None),
                None => (None, Some(value)),
            })
        }

        /// Shows what is there, and puts there what comes back where there is nothing.
        fn at<R>(&self, key: K, see: impl FnOnce(Option<&mut V>) -> (R, Option<V>)) -> R {
            let hash = hash_of(&key);
            let i = shard_of(hash);
            let mut shard = self.map.shards()[i].write();
            if let Some((_, there)) = shard.get_mut(hash, |(there, _)| *there == key) {
                return see(Some(there.get_mut())).0;
            }
            let (seen, new) = see(None);
            if let Some(new) = new {
                shard.insert(hash, (key, SharedValue::new(new)), |(key, _)| hash_of(key));
                self.places[i].note(shard.data_end(), shard.buckets());
            }
            seen
        }

        /// Removes the value if the condition holds, and returns it.
        pub(crate) fn remove_if(
            &self,
            key: &K,
            mut doomed: impl FnMut(&mut V) -> bool,
        ) -> Option<V> {
            self.map.remove_if_mut(key, |_, value| doomed(value)).map(|(_, value)| value)
        }

        pub(crate) fn len(&self) -> usize {
            self.map.len()
        }

        /// True if the entry of this key lies where it is fetched from, or at most so many
        /// entries beside that.
        #[cfg(test)]
        pub(super) fn lies_where_it_is_fetched(&self, key: &K, beside: usize) -> bool {
            let hash = hash_of(key);
            let bytes = size_of::<(K, SharedValue<V>)>();
            let shard = self.map.shards()[shard_of(hash)].read();
            let entry = shard.get(hash, |(there, _)| there == key).expect("it is there");
            let (_, fetched) = self.places[shard_of(hash)].of(hash, bytes);
            fetched.addr().abs_diff(ptr::from_ref(entry).addr()) <= beside * bytes
        }
    }

    impl<K: Eq + Hash + Copy, V: Default> ShardedMap<K, V> {
        /// Changes the value, first put there where there is none.
        pub(crate) fn change<R>(&self, key: K, change: impl FnOnce(&mut V) -> R) -> R {
            self.at(key, |there| match there {
                Some(there) => (change(there), None),
                None => {
                    let mut new = V::default();
                    (change(&mut new), Some(new))
                }
            })
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

        pub(crate) fn fetch(&self, _key: &K) {}

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

    /// Fetching from where a table lay before it grew would be of no use, and no test of
    /// what is decided would tell. Each way into a map by itself, since any of them mends
    /// what another forgot.
    #[test]
    fn a_table_that_grows_is_fetched_from_where_it_lies() {
        type Put = fn(&ShardedMap<[u8; 8], u64>, [u8; 8]);
        let ways: [(&str, Put); 4] = [
            ("insert", |map, key| assert_eq!(map.insert(key, 1), None)),
            ("occupy", |map, key| map.occupy(key, 1, |_| ()).expect("new")),
            ("change", |map, key| map.change(key, |there| *there = 1)),
            ("fill", |map, key| {
                let mut batch = Batch::default();
                batch.push(key, 1);
                map.fill(&mut batch, |value| value, |_, _| ());
            }),
        ];
        let key = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes();
        for (way, put) in ways {
            let map = ShardedMap::default();
            map.fetch(&key(0));
            let found = (0..20_000).filter(|i| {
                put(&map, key(*i));
                map.lies_where_it_is_fetched(&key(*i), 16)
            });
            // The last groups of tags go on at the table's begin, and some keys crowd.
            let found = found.count();
            assert!(found > 18_000, "{way}: {found}");
        }
    }
}
