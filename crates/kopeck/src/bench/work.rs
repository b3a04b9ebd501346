//! Owns the directory that a benchmark works in: its mark, and the sessions of the people in it.
//!
//! Never: somebody else's data. A directory that has things in it and no mark of ours is refused.
//! Bounds: the directory goes when the benchmark ends, unless it is to be kept.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::requests::{Crowd, Person};
use super::table::whole;
use crate::auth::{SessionToken, cookies};
use crate::hex;

/// The mark's file, beside the data directory.
const MARK: &str = "kopeck-bench.json";

/// What a book that was made for a benchmark has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Size {
    /// Wallets, but for the bank's.
    pub(super) wallets: u64,
    /// How many of their owners are logged in, from the first on.
    pub(super) sessions: u64,
    /// Operations, at least; each wallet is paid in once in any case.
    pub(super) operations: u64,
    /// How many of them the first wallet is in.
    pub(super) hot_operations: u64,
}

/// About what an operation takes on the disk at the most, with its key or its wallet, in bytes.
const OPERATION_DISK_BYTES: u64 = 250;
/// About what a session takes there.
const SESSION_DISK_BYTES: u64 = 100;

impl Size {
    /// About what the book takes on the disk when it is made, in bytes.
    pub(super) fn disk_bytes(self) -> u64 {
        let operations = self.operations.max(self.wallets).saturating_mul(OPERATION_DISK_BYTES);
        operations.saturating_add(self.sessions.saturating_mul(SESSION_DISK_BYTES))
    }
}

/// What says that a directory was made by a benchmark.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Mark {
    what: String,
    /// The sessions' tokens follow from it. Worth nothing but on a private server.
    secret: String,
    size: Size,
    /// Whether everything is in it.
    made: bool,
}

/// A book of a benchmark: a data directory with people whose sessions are known.
#[derive(Debug)]
pub(super) struct Work {
    home: PathBuf,
    mark: Mark,
}

/// Whether a benchmark has made this directory.
pub(super) fn is_ours(home: &Path) -> bool {
    home.join(MARK).exists()
}

impl Work {
    /// Opens what an earlier benchmark has made in `home`, or begins anew there.
    pub(super) fn open(home: &Path, size: Size) -> anyhow::Result<Self> {
        fs::create_dir_all(home).with_context(|| format!("cannot make {}", home.display()))?;
        if is_ours(home) {
            let work = Self::existing(home)?;
            ensure!(
                work.mark.made && work.mark.size == size,
                "{} was made with other sizes, or not to its end: remove it, or choose another",
                home.display()
            );
            return Ok(work);
        }
        ensure!(
            fs::read_dir(home)?.next().is_none(),
            "{} has things in it that no benchmark has made",
            home.display()
        );
        let secret = SessionToken::generate()?.reveal();
        let what = "the data of a benchmark of kopeck; may be removed".to_owned();
        let work = Self { home: home.to_owned(), mark: Mark { what, secret, size, made: false } };
        work.write_mark()?;
        Ok(work)
    }

    /// Opens a directory that has the mark.
    pub(super) fn existing(home: &Path) -> anyhow::Result<Self> {
        let file = home.join(MARK);
        let text = fs::read_to_string(&file)
            .with_context(|| format!("{} is not a benchmark's directory", home.display()))?;
        let mark = serde_json::from_str(&text)
            .with_context(|| format!("{} cannot be read", file.display()))?;
        Ok(Self { home: home.to_owned(), mark })
    }

    /// Says that everything is in it.
    pub(super) fn set_made(&mut self) -> anyhow::Result<()> {
        self.mark.made = true;
        self.write_mark()
    }

    /// Whether everything is in it.
    pub(super) fn is_made(&self) -> bool {
        self.mark.made
    }

    /// What is in it.
    pub(super) fn size(&self) -> Size {
        self.mark.size
    }

    /// What must be said of a book that has so many operations before it is measured, if it is not as it was
    /// made: kept data have what was measured on them.
    pub(super) fn grown(&self, before: u64) -> Option<String> {
        let Size { wallets, operations, .. } = self.mark.size;
        let made = operations.max(wallets);
        let name = self.home.file_name().unwrap_or_default().display();
        (before != made).then(|| {
            let (before, made) = (whole(before as f64), whole(made as f64));
            format!(
                "{name}: {before} operations before, and not {made}: it has been measured already"
            )
        })
    }

    /// Where it is.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// The data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    /// The token of the owner of a wallet.
    pub(super) fn token(&self, wallet: u64) -> anyhow::Result<SessionToken> {
        let digest = Sha256::new()
            .chain_update(self.mark.secret.as_bytes())
            .chain_update(wallet.to_be_bytes())
            .finalize();
        match SessionToken::parse(hex::text(&digest)) {
            Some(token) => Ok(token),
            None => bail!("a token that is none"),
        }
    }

    /// Everybody in it.
    pub(super) fn crowd(&self) -> anyhow::Result<Crowd> {
        let person = |wallet| {
            let cookie = format!("{}={}", cookies::SESSION.plain, self.token(wallet)?.reveal());
            Ok::<_, anyhow::Error>(Person { wallet, cookie })
        };
        let Size { wallets, sessions, .. } = self.mark.size;
        Ok(Crowd {
            bank: person(1)?,
            people: (2..sessions + 2).map(person).collect::<Result<_, _>>()?,
            wallets: usize::try_from(wallets)?,
        })
    }

    fn write_mark(&self) -> anyhow::Result<()> {
        let mut file = fs::File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(self.home.join(MARK))?;
        serde_json::to_writer(&mut file, &self.mark)?;
        Ok(file.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { wallets: 5, sessions: 3, operations: 0, hot_operations: 0 };

    #[test]
    fn only_a_directory_of_our_own_is_used_again_and_only_with_the_same_sizes() {
        let home = tempfile::tempdir().unwrap();
        let mut work = Work::open(home.path(), SIZE).unwrap();
        assert!(Work::open(home.path(), SIZE).is_err(), "not made to its end");
        work.set_made().unwrap();
        let again = Work::open(home.path(), SIZE).unwrap();
        assert_eq!(again.token(2).unwrap(), work.token(2).unwrap());
        assert_ne!(again.token(2).unwrap(), work.token(3).unwrap());
        assert!(Work::open(home.path(), Size { wallets: 6, ..SIZE }).is_err());
        let others = tempfile::tempdir().unwrap();
        fs::write(others.path().join("kopeck.db"), "somebody's").unwrap();
        assert!(Work::open(others.path(), SIZE).is_err());
        assert!(Work::existing(others.path()).is_err());
    }

    #[test]
    fn the_crowd_has_as_many_sessions_as_were_made() {
        let home = tempfile::tempdir().unwrap();
        let crowd = Work::open(home.path(), SIZE).unwrap().crowd().unwrap();
        assert_eq!((crowd.people.len(), crowd.wallets), (3, 5));
        assert_eq!((crowd.wallet(0), crowd.wallet(2), crowd.wallet(4)), (2, 4, 6));
    }
}
