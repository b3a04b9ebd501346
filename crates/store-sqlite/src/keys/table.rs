//! Owns the table of the newest keys: entries in the order of their marks, each near the place that its mark
//! says.
//!
//! Never: two entries out of order, or a free place between an entry and its home. Bounds: 16 bytes a place;
//! at most three quarters of the homes are taken.
//!
//! Why not a map of a library: whoever looks for a mark fetches the very line of the cache that its entry
//! would be written into, so that the look ahead spares both waits; and a run is written of it without a sort.

use super::run::{Entry, RowRef};

/// Room behind the last home: hardly ever more is needed, and then all is moved.
const PLACES_BEHIND: usize = 64;

/// Homes are chosen by the highest bits of marks, which are as good as random.
#[derive(Debug)]
pub(super) struct Table {
    /// The homes, and what did not fit behind the last one.
    places: Vec<Entry>,
    /// There are two to the power of so many homes.
    bits: u32,
    len: usize,
}

impl Table {
    /// An empty one in which so many entries fill half of the homes. All of its memory is written to: the
    /// first touch of a page can take milliseconds, which a start has and a batch has not.
    pub(super) fn with_room_for(entries: usize) -> Self {
        let homes = (2 * entries).max(2).next_power_of_two();
        let mut places = vec![Entry::FREE; homes + PLACES_BEHIND];
        places.truncate(homes);
        Self { places, bits: homes.trailing_zeros(), len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn homes(&self) -> usize {
        1 << self.bits
    }

    /// With more entries it grows.
    pub(super) fn capacity(&self) -> usize {
        self.homes() / 4 * 3
    }

    fn home(&self, mark: u64) -> usize {
        usize::try_from(mark >> (u64::BITS - self.bits)).unwrap_or(usize::MAX)
    }

    /// Fetches the place where a mark would stand.
    pub(super) fn touch(&self, mark: u64) -> u64 {
        self.places.get(self.home(mark)).map_or(0, |place| place.mark)
    }

    /// The rows under a mark.
    pub(super) fn find(&self, mark: u64) -> impl Iterator<Item = RowRef> {
        self.after(self.home(mark), mark).filter(move |entry| entry.mark == mark).map(|it| it.row)
    }

    /// The entries from a home on that may be of a mark or lesser ones.
    fn after(&self, home: usize, mark: u64) -> impl Iterator<Item = &Entry> {
        let places = self.places.get(home..).unwrap_or_default().iter();
        places.take_while(move |place| !place.is_free() && place.mark <= mark)
    }

    /// All entries, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Entry> {
        self.places.iter().filter(|place| !place.is_free()).copied()
    }

    pub(super) fn insert(&mut self, entry: Entry) {
        if self.len >= self.capacity() {
            self.grow();
        }
        self.len += 1;
        let home = self.home(entry.mark);
        let mut carried = entry;
        for place in self.places.get_mut(home..).unwrap_or_default() {
            if place.is_free() {
                *place = carried;
                return;
            }
            if *place > carried {
                std::mem::swap(place, &mut carried);
            }
        }
        self.places.push(carried);
    }

    fn grow(&mut self) {
        let mut greater = Self::with_room_for(self.homes());
        self.iter().for_each(|entry| greater.insert(entry));
        *self = greater;
    }

    /// Takes an entry out, if it is there.
    pub(super) fn remove(&mut self, entry: Entry) {
        let home = self.home(entry.mark);
        let Some(at) = self.after(home, entry.mark).position(|other| *other == entry) else {
            return;
        };
        self.len -= 1;
        // Those behind it move up, until one is at home or there is a free place.
        let mut free = home + at;
        loop {
            let next = self.places.get(free + 1).copied();
            let next = next.filter(|next| !next.is_free() && self.home(next.mark) <= free);
            if let Some(place) = self.places.get_mut(free) {
                *place = next.unwrap_or(Entry::FREE);
            }
            if next.is_none() {
                return;
            }
            free += 1;
        }
    }

    /// Writes to all of its memory: 4 MiB, a third of a millisecond, each 131 072 keys.
    pub(super) fn clear(&mut self) {
        self.places.truncate(self.homes());
        self.places.fill(Entry::FREE);
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Few marks, at both ends and in between, so that entries are pushed from their homes.
    fn entry() -> impl Strategy<Value = Entry> {
        let between = (0..16_u64).prop_map(|number| number << 60);
        let mark = prop_oneof![0..4_u64, between, any::<u64>(), u64::MAX - 3..=u64::MAX];
        (mark, 1..4_u64).prop_map(|(mark, row)| Entry { mark, row: RowRef::transfer(row) })
    }

    proptest! {
        #[test]
        fn it_is_a_set_in_order(steps in prop::collection::vec((any::<bool>(), entry()), 0..400)) {
            let mut table = Table::with_room_for(4);
            let mut plain = BTreeSet::new();
            for (adds, entry) in steps {
                if !adds {
                    table.remove(entry);
                    plain.remove(&entry);
                } else if plain.insert(entry) {
                    table.insert(entry);
                }
                prop_assert_eq!(table.len(), plain.len());
                prop_assert!(table.iter().eq(plain.iter().copied()));
                let rows = plain.iter().filter(|other| other.mark == entry.mark).map(|it| it.row);
                prop_assert!(table.find(entry.mark).eq(rows));
            }
            for entry in &plain {
                prop_assert!(table.find(entry.mark).any(|row| row == entry.row));
            }
            table.clear();
            prop_assert_eq!((table.len(), table.iter().count()), (0, 0));
        }
    }
}
