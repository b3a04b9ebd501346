//! Owns one run: a file of marks in their order, each with the row that it leads to, and a filter in
//! memory that tells nearly always that a mark is not in it.
//!
//! Never: a key, or the truth (the rows are that; a run can be made again from them). Bounds: 16 bytes
//! an entry in the file; at most 3 bytes in memory, and 8 for each 255 entries; one read of 4 KiB a find.
//!
//! The file: a head of 4 KiB, blocks of 4 KiB, the first mark of each block, the filter. Everything has
//! a checksum: the blocks each their own, which is verified by whoever reads one, the rest at opening.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::filter::{Filter, Probe};

/// The size of a head and of a block, in bytes.
const BLOCK_BYTES: usize = 4_096;
const ENTRY_BYTES: usize = 16;
const BLOCK_ENTRIES: usize = 255;
const MAGIC: [u8; 8] = *b"kopkeys1";
/// So much is written before it is synced, so that no sync at the end holds others up for long.
const SYNC_EVERY_BLOCKS: usize = 2_048;

/// A mark, and the row under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) mark: u64,
    pub(crate) row: RowRef,
}

impl Entry {
    /// Stands where there is none: no row has the number 0.
    pub(super) const FREE: Self = Self { mark: u64::MAX, row: RowRef(0) };

    pub(super) fn is_free(&self) -> bool {
        self.row == RowRef(0)
    }
}

/// Where the decision stands that was made under a key: in a transfer, or in a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RowRef(u64);

/// A place in the rows: everything up to these two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub(crate) operation: u64,
    pub(crate) refusal: u64,
}

impl RowRef {
    pub(crate) fn transfer(operation: u64) -> Self {
        Self(operation << 1)
    }

    pub(crate) fn refusal(number: u64) -> Self {
        Self(number << 1 | 1)
    }

    /// The operation's or the refusal's number.
    pub(crate) fn number(self) -> u64 {
        self.0 >> 1
    }

    pub(crate) fn is_refusal(self) -> bool {
        self.0 & 1 == 1
    }

    /// Whether it stands at a place or before it.
    pub(crate) fn is_within(self, place: Place) -> bool {
        self.number() <= if self.is_refusal() { place.refusal } else { place.operation }
    }
}

/// What a run is of: the rows after one place, up to another, of one very history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) after: Place,
    pub(crate) upto: Place,
    /// The link of the operation `upto`: another history has another one.
    pub(crate) link: u64,
    /// Entries up to here were let go when runs were merged: a longer window must read them again.
    pub(crate) forgotten: Place,
}

impl Place {
    /// The later of two places, number by number.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            operation: self.operation.max(other.operation),
            refusal: self.refusal.max(other.refusal),
        }
    }

    /// Whether this is within another place in both numbers.
    pub(crate) fn is_within(self, other: Self) -> bool {
        self.operation <= other.operation && self.refusal <= other.refusal
    }
}

/// A run cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// It is not what was written.
    #[error("{path} is damaged in its {part}; without it, it is made again at the next start")]
    Damaged { path: PathBuf, part: &'static str },
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
}

/// A run, open to be looked into.
#[derive(Debug)]
pub(crate) struct Run {
    file: File,
    path: PathBuf,
    pub(crate) span: Span,
    pub(crate) entries: u64,
    /// How large the file is.
    pub(crate) bytes: u64,
    /// The first mark of each block.
    firsts: Vec<u64>,
    filter: Filter,
}

impl Run {
    /// Opens a run that was written before.
    pub(crate) fn open(path: &Path) -> Result<Self, RunError> {
        let failed = |error| RunError::Io { path: path.to_owned(), error };
        let damaged = |part| RunError::Damaged { path: path.to_owned(), part };
        let mut file = File::open(path).map_err(failed)?;
        let mut head = vec![0; BLOCK_BYTES];
        file.read_exact(&mut head).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged("head"),
            _ => failed(error),
        })?;
        let head = Head::decode(&head).ok_or_else(|| damaged("head"))?;
        let length = file.metadata().map_err(failed)?.len();
        if length != head.file_bytes().ok_or_else(|| damaged("head"))? {
            return Err(damaged("length"));
        }
        let tail_from = BLOCK_BYTES as u64 * (1 + head.blocks);
        let mut tail = vec![0; usize::try_from(length - tail_from).map_err(|_| damaged("length"))?];
        file.read_exact_at(&mut tail, tail_from).map_err(failed)?;
        if crc32fast::hash(&tail) != head.tail_crc {
            return Err(damaged("filter"));
        }
        let words = tail.as_chunks::<8>().0;
        let blocks = usize::try_from(head.blocks).ok();
        let parts = blocks.and_then(|blocks| words.split_at_checked(blocks));
        let (firsts, filter) = parts.ok_or_else(|| damaged("length"))?;
        let firsts = firsts.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let filter = Filter::of_words(filter);
        let Head { span, entries, .. } = head;
        Ok(Self { file, path: path.to_owned(), span, entries, bytes: length, firsts, filter })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Fetches what says whether it is worth looking for a mark here.
    pub(crate) fn touch(&self, mark: u64) -> u64 {
        self.filter.touch(mark)
    }

    /// Whether it is worth looking for a mark here.
    pub(crate) fn may_have(&self, probe: &Probe) -> bool {
        self.filter.may_have(probe)
    }

    /// Adds the rows under a mark to `found`.
    pub(crate) fn find(&self, mark: u64, found: &mut Vec<RowRef>) -> Result<(), RunError> {
        // The same mark may go on from one block into the next.
        let mut block = self.firsts.partition_point(|first| *first < mark).saturating_sub(1);
        let mut entries = Vec::with_capacity(BLOCK_ENTRIES);
        while self.firsts.get(block).is_some_and(|first| *first <= mark) {
            self.read_block(block as u64, &mut entries)?;
            found.extend(entries.iter().filter(|entry| entry.mark == mark).map(|entry| entry.row));
            block += 1;
        }
        Ok(())
    }

    fn read_block(&self, number: u64, entries: &mut Vec<Entry>) -> Result<(), RunError> {
        let failed = |error| RunError::Io { path: self.path.clone(), error };
        let mut bytes = [0; BLOCK_BYTES];
        self.file.read_exact_at(&mut bytes, BLOCK_BYTES as u64 * (1 + number)).map_err(failed)?;
        entries.clear();
        decode_block(&bytes, entries)
            .ok_or_else(|| RunError::Damaged { path: self.path.clone(), part: "entries" })
    }

    /// All its entries in order.
    pub(crate) fn read(&self) -> Reader<'_> {
        Reader { run: self, next_block: 0, entries: Vec::new(), next: 0 }
    }
}

/// Reads a run from its beginning to its end.
pub(crate) struct Reader<'r> {
    run: &'r Run,
    next_block: usize,
    entries: Vec<Entry>,
    next: usize,
}

impl Reader<'_> {
    /// The next entry; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, RunError> {
        if self.next == self.entries.len() {
            if self.next_block == self.run.firsts.len() {
                return Ok(None);
            }
            self.run.read_block(self.next_block as u64, &mut self.entries)?;
            self.next_block += 1;
            self.next = 0;
        }
        let entry = self.entries.get(self.next).copied();
        self.next += 1;
        Ok(entry)
    }
}

/// Writes a run: entries in order, then [`finish`](Self::finish).
pub(crate) struct Writer {
    out: BufWriter<File>,
    block: Vec<u8>,
    firsts: Vec<u64>,
    filter: Filter,
    entries: u64,
}

impl Writer {
    /// Begins a file that has at most so many entries, and so many bits for each in its filter.
    pub(crate) fn begin(path: &Path, entries_max: u64, filter_bits_max: u64) -> io::Result<Self> {
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(path)?;
        let mut out = BufWriter::with_capacity(1 << 18, file);
        out.write_all(&[0; BLOCK_BYTES])?;
        Ok(Self {
            out,
            block: Vec::with_capacity(BLOCK_BYTES),
            firsts: Vec::new(),
            filter: Filter::for_entries(entries_max, filter_bits_max),
            entries: 0,
        })
    }

    pub(crate) fn push(&mut self, entry: Entry) -> io::Result<()> {
        if self.block.is_empty() {
            self.firsts.push(entry.mark);
        }
        self.block.extend_from_slice(&entry.mark.to_le_bytes());
        self.block.extend_from_slice(&entry.row.0.to_le_bytes());
        self.filter.insert(entry.mark);
        self.entries += 1;
        if self.block.len() == BLOCK_ENTRIES * ENTRY_BYTES { self.end_block() } else { Ok(()) }
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let count = u32::try_from(self.block.len() / ENTRY_BYTES).unwrap_or(0);
        self.block.resize(BLOCK_BYTES - 8, 0);
        self.block.extend_from_slice(&count.to_le_bytes());
        let crc = crc32fast::hash(&self.block);
        self.block.extend_from_slice(&crc.to_le_bytes());
        self.out.write_all(&self.block)?;
        self.block.clear();
        if self.firsts.len().is_multiple_of(SYNC_EVERY_BLOCKS) {
            self.out.flush()?;
            self.out.get_ref().sync_data()?;
        }
        Ok(())
    }

    /// Ends the file and makes it durable.
    pub(crate) fn finish(mut self, span: Span) -> io::Result<()> {
        self.end_block()?;
        let mut tail_crc = crc32fast::Hasher::new();
        for word in self.firsts.iter().chain(self.filter.words()) {
            let bytes = word.to_le_bytes();
            tail_crc.update(&bytes);
            self.out.write_all(&bytes)?;
        }
        self.out.flush()?;
        let head = Head {
            span,
            entries: self.entries,
            blocks: self.firsts.len() as u64,
            filter_blocks: self.filter.blocks(),
            tail_crc: tail_crc.finalize(),
        };
        self.out.get_ref().write_all_at(&head.encode(), 0)?;
        self.out.get_ref().sync_all()
    }
}

fn decode_block(bytes: &[u8; BLOCK_BYTES], entries: &mut Vec<Entry>) -> Option<()> {
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    let (content, count) = match crc32fast::hash(content) == u32::from_le_bytes(*crc) {
        true => content.split_last_chunk::<4>()?,
        false => return None,
    };
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let words = content.as_chunks::<8>().0.as_chunks::<2>().0;
    for [mark, row] in words.get(..count)? {
        let mark = u64::from_le_bytes(*mark);
        entries.push(Entry { mark, row: RowRef(u64::from_le_bytes(*row)) });
    }
    Some(())
}

/// What stands at the beginning of the file.
struct Head {
    span: Span,
    entries: u64,
    blocks: u64,
    filter_blocks: u64,
    tail_crc: u32,
}

impl Head {
    fn encode(&self) -> [u8; BLOCK_BYTES] {
        let Span { after, upto, link, forgotten } = self.span;
        let words = [
            after.operation,
            after.refusal,
            upto.operation,
            upto.refusal,
            link,
            self.entries,
            self.blocks,
            self.filter_blocks,
            u64::from(self.tail_crc),
            forgotten.operation,
            forgotten.refusal,
        ];
        let mut text: Vec<u8> = MAGIC.to_vec();
        text.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        text.resize(BLOCK_BYTES - 4, 0);
        let crc = crc32fast::hash(&text);
        text.extend_from_slice(&crc.to_le_bytes());
        text.try_into().unwrap_or([0; BLOCK_BYTES])
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (content, crc) = bytes.split_last_chunk::<4>()?;
        let rest = content.strip_prefix(&MAGIC)?;
        if crc32fast::hash(content) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut words = rest.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next();
        let after = Place { operation: next()?, refusal: next()? };
        let upto = Place { operation: next()?, refusal: next()? };
        let link = next()?;
        let (entries, blocks, filter_blocks) = (next()?, next()?, next()?);
        let tail_crc = u32::try_from(next()?).ok()?;
        let forgotten = Place { operation: next()?, refusal: next()? };
        let span = Span { after, upto, link, forgotten };
        Some(Self { span, entries, blocks, filter_blocks, tail_crc })
    }

    fn file_bytes(&self) -> Option<u64> {
        let blocks = self.blocks.checked_add(1)?.checked_mul(BLOCK_BYTES as u64)?;
        let tail = self.blocks.checked_mul(8)?.checked_add(self.filter_blocks.checked_mul(64)?)?;
        blocks.checked_add(tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u64) -> u64 {
        number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
    }

    fn write(path: &Path, mut entries: Vec<Entry>) {
        entries.sort_unstable();
        let mut writer = Writer::begin(path, entries.len() as u64, u64::MAX).unwrap();
        for entry in entries {
            writer.push(entry).unwrap();
        }
        let upto = Place { operation: 7, refusal: 3 };
        writer.finish(Span { upto, link: 9, ..Span::default() }).unwrap();
    }

    fn entries(count: u64) -> Vec<Entry> {
        (1..=count)
            .map(|number| Entry { mark: mark(number), row: RowRef::transfer(number) })
            .collect()
    }

    #[test]
    fn every_entry_is_found_and_hardly_anything_else() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("run");
        for count in [0, 1, 254, 255, 256, 10_000] {
            write(&path, entries(count));
            let run = Run::open(&path).unwrap();
            assert_eq!((run.entries, run.span.link, run.span.upto.refusal), (count, 9, 3));
            let mut found = Vec::new();
            for number in 1..=count {
                assert!(run.may_have(&Probe::of(mark(number))));
                run.find(mark(number), &mut found).unwrap();
                assert_eq!(std::mem::take(&mut found), [RowRef::transfer(number)]);
            }
            let absent = (count + 1..=count + 10_000).map(mark);
            let in_vain = absent.filter(|mark| run.may_have(&Probe::of(*mark))).count();
            assert!(in_vain < 20, "{count}: {in_vain}");
            run.find(mark(count + 1), &mut found).unwrap();
            assert_eq!(found, []);
            let mut reader = run.read();
            let mut read = Vec::new();
            while let Some(entry) = reader.next().unwrap() {
                read.push(entry);
            }
            assert!(read.is_sorted() && read.len() as u64 == count);
        }
    }

    #[test]
    fn rows_with_the_same_mark_are_all_found_across_blocks() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("run");
        let same = (1..=600).map(|number| Entry { mark: 5, row: RowRef::refusal(number) });
        write(&path, same.chain(entries(300)).collect());
        let run = Run::open(&path).unwrap();
        let mut found = Vec::new();
        run.find(5, &mut found).unwrap();
        assert_eq!(found.len(), 600);
        assert!(found.iter().all(|row| row.is_refusal()));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let dir = tempfile::TempDir::new().unwrap();
        let path = dir.path().join("run");
        write(&path, entries(300));
        let good = std::fs::read(&path).unwrap();
        let readable = |path: &Path| {
            let run = Run::open(path)?;
            let mut reader = run.read();
            while reader.next()?.is_some() {}
            Ok::<_, RunError>(())
        };
        readable(&path).unwrap();
        for at in (0..good.len()).step_by(13) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            let error = readable(&path).unwrap_err();
            assert!(matches!(error, RunError::Damaged { .. }), "{at}: {error}");
        }
        for length in [0, 100, 4_096, good.len() - 1] {
            std::fs::write(&path, &good[..length]).unwrap();
            readable(&path).unwrap_err();
        }
    }
}
