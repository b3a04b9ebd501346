//! Owns the check that no idempotency key took effect twice within its window.
//!
//! Never: trust in whatever finds keys for the engine, or a key in memory: marks of them only.
//! Bounds: [`MARKS_MAX`] marks in memory, 16 bytes each; more go to a temporary file, sorted.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use rusqlite::{Connection, OptionalExtension};

use super::CheckError;
use super::findings::{Findings, Place};

/// How many marks are held in memory: 64 MiB of them.
const MARKS_MAX: usize = 1 << 22;

/// A key is good for one operation of its wallet within so long, in microseconds: a day.
const WINDOW_US: i64 = 24 * 60 * 60 * 1_000_000;

/// A mark and the operation that has it.
type Marked = (u64, u64);

/// The marks of all keys, as they come.
pub(super) struct Keys {
    marks_max: usize,
    count: u64,
    marks: Vec<Marked>,
    /// Where the runs of the file begin, counted in marks.
    runs: Vec<u64>,
    file: Option<File>,
}

impl Default for Keys {
    fn default() -> Self {
        Self::holding(MARKS_MAX)
    }
}

impl Keys {
    /// Holds so many marks in memory.
    fn holding(marks_max: usize) -> Self {
        Self { marks_max, count: 0, marks: Vec::new(), runs: Vec::new(), file: None }
    }

    pub(super) fn add(&mut self, mark: u64, operation: u64) -> Result<(), CheckError> {
        self.count += 1;
        self.marks.push((mark, operation));
        if self.marks.len() < self.marks_max {
            return Ok(());
        }
        self.marks.sort_unstable();
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(tempfile::tempfile()?),
        };
        self.runs.push(self.count - self.marks.len() as u64);
        let mut out = BufWriter::new(file);
        for (mark, operation) in self.marks.drain(..) {
            out.write_all(&mark.to_le_bytes())?;
            out.write_all(&operation.to_le_bytes())?;
        }
        out.flush()?;
        Ok(())
    }

    /// Looks for one mark at two operations. Gives how many keys there are.
    pub(super) fn check(
        mut self,
        connection: &Connection,
        findings: &mut Findings,
    ) -> Result<u64, CheckError> {
        self.marks.sort_unstable();
        let in_file = self.count - self.marks.len() as u64;
        let ends = self.runs.iter().copied().skip(1).chain([in_file]);
        let mut runs = Vec::new();
        for (begin, end) in self.runs.iter().copied().zip(ends) {
            if let Some(file) = &self.file {
                runs.push(Run::File(FileRun::new(file, begin, end)));
            }
        }
        runs.push(Run::Memory(self.marks.into_iter()));
        let mut heap: std::collections::BinaryHeap<_> = std::collections::BinaryHeap::new();
        for (number, run) in runs.iter_mut().enumerate() {
            if let Some(next) = run.next()? {
                heap.push(std::cmp::Reverse((next, number)));
            }
        }
        let mut before: Option<Marked> = None;
        while let Some(std::cmp::Reverse((marked, number))) = heap.pop() {
            if let Some(before) = before.filter(|before| before.0 == marked.0) {
                compare(connection, before.1, marked.1, findings)?;
            }
            before = Some(marked);
            if let Some(run) = runs.get_mut(number)
                && let Some(next) = run.next()?
            {
                heap.push(std::cmp::Reverse((next, number)));
            }
        }
        Ok(self.count)
    }
}

/// Two operations with one mark: whether they have one key, and within its window.
fn compare(
    connection: &Connection,
    first: u64,
    second: u64,
    findings: &mut Findings,
) -> Result<(), CheckError> {
    let gap: Option<i64> = connection
        .prepare_cached(
            "SELECT later.time_us - earlier.time_us FROM transfer AS earlier, transfer AS later
             WHERE earlier.operation_id = ? AND later.operation_id = ?
                 AND earlier.debit_wallet_id = later.debit_wallet_id
                 AND earlier.idempotency_key = later.idempotency_key",
        )?
        .query_row([first.cast_signed(), second.cast_signed()], |row| row.get(0))
        .optional()?;
    if gap.is_some_and(|gap| gap < WINDOW_US) {
        let detail = format!(
            "operation {second} has the idempotency key of operation {first}, of the same wallet and \
             less than a day before"
        );
        findings.add("key_doubled", Place::Operation(second), detail);
    }
    Ok(())
}

/// Marks in their order, wherever they are.
enum Run<'f> {
    Memory(std::vec::IntoIter<Marked>),
    File(FileRun<'f>),
}

impl Run<'_> {
    fn next(&mut self) -> Result<Option<Marked>, CheckError> {
        match self {
            Self::Memory(marks) => Ok(marks.next()),
            Self::File(run) => run.next(),
        }
    }
}

/// A part of the file, read a piece at a time: all runs share the file's position.
struct FileRun<'f> {
    file: &'f File,
    next: u64,
    end: u64,
    piece: std::vec::IntoIter<Marked>,
}

const MARK_BYTES: u64 = 16;
/// Marks that are read at once.
const PIECE_MARKS: u64 = 4_096;

impl<'f> FileRun<'f> {
    fn new(file: &'f File, begin: u64, end: u64) -> Self {
        Self { file, next: begin, end, piece: Vec::new().into_iter() }
    }

    fn next(&mut self) -> Result<Option<Marked>, CheckError> {
        if let Some(marked) = self.piece.next() {
            return Ok(Some(marked));
        }
        let count = PIECE_MARKS.min(self.end - self.next);
        let mut file = self.file;
        file.seek(SeekFrom::Start(self.next * MARK_BYTES))?;
        let mut bytes = BufReader::new(file.take(count * MARK_BYTES));
        let mut number = || -> std::io::Result<u64> {
            let mut number = [0; 8];
            bytes.read_exact(&mut number)?;
            Ok(u64::from_le_bytes(number))
        };
        let mut piece = Vec::new();
        for _ in 0..count {
            piece.push((number()?, number()?));
        }
        self.next += count;
        self.piece = piece.into_iter();
        Ok(self.piece.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELD: usize = 10_000;
    /// Two runs in the file, and one in memory.
    const MANY: u64 = 2 * HELD as u64 + 1_000;

    #[test]
    fn marks_come_back_in_order_from_memory_and_from_the_file() {
        let mut keys = Keys::holding(HELD);
        for operation in 1..=MANY {
            // Every mark once, scattered, but for the last ones, which are there already.
            let number = if operation > MANY - 3 { operation + 3 - MANY } else { operation };
            keys.add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), operation).unwrap();
        }
        assert_eq!(keys.runs, [0, HELD as u64]);
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(&format!(
                "CREATE TABLE transfer (operation_id INTEGER PRIMARY KEY, debit_wallet_id,
                     idempotency_key, time_us);
                 INSERT INTO transfer VALUES (1, 2, 'a', 5), (2, 2, 'b', 5), (3, 2, 'c', 5),
                     ({}, 2, 'a', 6), ({}, 3, 'b', 6), ({MANY}, 2, 'c', 5 + {WINDOW_US});",
                MANY - 2,
                MANY - 1
            ))
            .unwrap();
        let mut findings = Findings::default();
        assert_eq!(keys.check(&connection, &mut findings).unwrap(), MANY);
        let (found, _) = findings.into_parts();
        let places: Vec<_> = found.iter().map(|finding| finding.place).collect();
        assert_eq!(places, [Place::Operation(MANY - 2)]);
    }
}
