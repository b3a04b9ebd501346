//! Owns the list of what a check found.
//!
//! Never: a judgement. Bounds: [`FINDINGS_MAX`] are kept, all are counted.

/// How many damages are told one by one.
const FINDINGS_MAX: usize = 100;

/// Where a damage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At an operation, or from this one on.
    Operation(u64),
    /// In the wallet table.
    Wallet(u64),
    /// In the table of users.
    User(u64),
    /// In the file as a whole, or where the detail says.
    Whole,
}

/// A damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A stable name for programs, in `snake_case`.
    pub code: &'static str,
    /// Where it is.
    pub place: Place,
    /// What it is, in a sentence for people.
    pub detail: String,
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    first: Vec<Finding>,
    total: u64,
}

impl Findings {
    pub(super) fn add(&mut self, code: &'static str, place: Place, detail: impl Into<String>) {
        self.total += 1;
        if self.first.len() < FINDINGS_MAX {
            self.first.push(Finding { code, place, detail: detail.into() });
        }
    }

    /// Takes over what was found elsewhere.
    pub(super) fn append(&mut self, mut other: Self) {
        self.total += other.total;
        let room = FINDINGS_MAX - self.first.len();
        other.first.truncate(room);
        self.first.append(&mut other.first);
    }

    pub(super) fn into_parts(self) -> (Vec<Finding>, u64) {
        (self.first, self.total)
    }
}
