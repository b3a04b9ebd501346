//! Owns the filter of a run: what tells of nearly every new mark that it is not in it, without a read.
//!
//! Never: a mark that is there and not told of. Bounds: [`bits_an_entry`], in blocks of 64 bytes; one block
//! a look.

/// Files of so many entries are small: there are few at a time, and they take little memory.
const SMALL_ENTRIES_MAX: u64 = 1 << 21;
const MIDDLE_ENTRIES_MAX: u64 = 1 << 25;

/// Of 1 000 absent marks, 6 are looked for in vain with 12 bits, 1 with 16, and hardly any with 24. It costs
/// the same in whichever file, and most files are small, so those have filters that are seldom wrong.
/// Where memory is short, large files have `bits_max`: with 6 it is 60 of 1 000, which is not all of them.
fn bits_an_entry(entries: u64, bits_max: u64) -> u64 {
    if entries <= SMALL_ENTRIES_MAX {
        24.min(bits_max.saturating_mul(2))
    } else if entries <= MIDDLE_ENTRIES_MAX {
        16.min(bits_max)
    } else {
        12.min(bits_max)
    }
}

/// Tells nearly always that a mark is absent. Blocked: one look costs one line of the cache.
#[derive(Debug, Default)]
pub(super) struct Filter(Vec<[u64; 8]>);

impl Filter {
    /// Empty, with room for so many entries, where large files have at most `bits_max` for each.
    pub(super) fn for_entries(entries: u64, bits_max: u64) -> Self {
        let blocks = (entries * bits_an_entry(entries, bits_max)).div_ceil(512).max(1);
        Self(vec![[0; 8]; usize::try_from(blocks).unwrap_or(1)])
    }

    /// As [`words`](Self::words) gave it, each in little-endian order; words beyond the last whole block
    /// are left out.
    pub(super) fn of_words(words: &[[u8; 8]]) -> Self {
        let blocks = words.as_chunks::<8>().0.iter();
        Self(blocks.map(|block| block.map(u64::from_le_bytes)).collect())
    }

    /// How many blocks of eight words it has.
    pub(super) fn blocks(&self) -> u64 {
        self.0.len() as u64
    }

    /// All its words in their order.
    pub(super) fn words(&self) -> impl Iterator<Item = &u64> {
        self.0.iter().flatten()
    }

    /// The block of a mark.
    fn place(&self, mark: u64) -> usize {
        let scaled = (u128::from(mark) * self.0.len() as u128) >> 64;
        usize::try_from(scaled).unwrap_or(0)
    }

    /// Sets the mark's bits one by one: to look at all words, as [`may_have`](Self::may_have) does, would
    /// wait for them to be written.
    pub(super) fn insert(&mut self, mark: u64) {
        let place = self.place(mark);
        if let Some(block) = self.0.get_mut(place) {
            set_bits(block, mark);
        }
    }

    /// Some bits of the block that tells of a mark, so that it is fetched before it is asked.
    pub(super) fn touch(&self, mark: u64) -> u64 {
        self.0.get(self.place(mark)).map_or(0, |[first, ..]| *first)
    }

    /// Whether a mark may be among those that were inserted; false only if it is not.
    pub(super) fn may_have(&self, Probe { mark, bits }: &Probe) -> bool {
        self.0.get(self.place(*mark)).is_none_or(|block| {
            // All words are looked at: a branch at each would be guessed wrong half of the time.
            let missing = block.iter().zip(bits).map(|(word, bits)| !word & bits);
            missing.fold(0, |all, one| all | one) == 0
        })
    }
}

/// What filters are asked for: a mark, and its six bits in a block of whichever filter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    mark: u64,
    bits: [u64; 8],
}

impl Probe {
    pub(crate) fn of(mark: u64) -> Self {
        let mut bits = [0; 8];
        set_bits(&mut bits, mark);
        Self { mark, bits }
    }
}

/// Sets a mark's six bits in its block. A block is chosen by the mark's high bits; the bits by all of them,
/// mixed.
fn set_bits(block: &mut [u64; 8], mark: u64) {
    let mixed = mark.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ mark;
    for place in 0..6 {
        let bit = (mixed >> (place * 9)) & 511;
        if let Some(word) = block.get_mut((bit >> 6) as usize) {
            *word |= 1 << (bit & 63);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_told_of_with_however_few_bits() {
        const ENTRIES: u64 = 10_000;
        let mark = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let probe = |number| Probe::of(mark(number));
        for (bits_max, in_vain_max) in [(12, 20), (8, 60), (3, 900), (1, 9_000)] {
            let mut filter = Filter::for_entries(ENTRIES, bits_max);
            (1..=ENTRIES).for_each(|number| filter.insert(mark(number)));
            assert!((1..=ENTRIES).all(|number| filter.may_have(&probe(number))));
            let absent = ENTRIES + 1..=2 * ENTRIES;
            let in_vain = absent.filter(|number| filter.may_have(&probe(*number))).count();
            assert!(in_vain < in_vain_max, "{bits_max}: {in_vain}");
        }
    }
}
