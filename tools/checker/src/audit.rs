//! Owns the reading back: every wallet's history over HTTP, until what was read is one state.
//!
//! Never: a look inside the service. Bounds: [`READS_AT_ONCE`] reads at a time; a wallet of which
//! nothing is new costs one entry; what cannot be read within [`READ_WAIT_MAX`] is an error, not a
//! verdict.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::task::JoinSet;

use crate::book::Book;
use crate::client::{Page, Session, Unread};
use crate::judge::{Evidence, View, judge};
use crate::violation::{Code, Violation};
use crate::world::World;

/// How many wallets are read at a time.
const READS_AT_ONCE: usize = 16;
/// The service's greatest page.
const PAGE_MAX: usize = 100;
const READ_WAIT_MAX: Duration = Duration::from_secs(60);
/// What was sent last may still arrive while wallets are read. So many times they are read again.
const ROUNDS_MAX: usize = 20;
const ROUND_PAUSE: Duration = Duration::from_millis(50);
/// How many violations a report writes out.
const SHOWN_MAX: usize = 20;

/// How much is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audit {
    /// What is new since the last audit, down to the newest operation that it saw of each wallet.
    New,
    /// Everything, from the first operation on.
    Full,
}

/// What an audit found.
#[derive(Debug, Clone)]
pub struct Report {
    /// Everything that is wrong; empty when all is well.
    pub violations: Vec<Violation>,
    /// Operations that are new since the last audit.
    pub new: u64,
    /// Operations in all.
    pub operations: u64,
    /// Reads made under load that were compared with what is there.
    pub reads: usize,
    /// Attempts whose outcome is still unknown.
    pub unknown: usize,
    /// How many of these are there.
    pub unknown_there: usize,
    /// How long it took.
    pub elapsed: Duration,
}

impl Report {
    /// Whether all is well.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// Fails with the violations, if there are any.
    pub fn expect_clean(&self) -> anyhow::Result<()> {
        if self.is_clean() { Ok(()) } else { bail!("{self}") }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { violations, new, operations, reads, unknown, unknown_there, elapsed } = self;
        write!(
            f,
            "{operations} operations ({new} new), {reads} reads, {unknown} unknown \
             ({unknown_there} there), in {elapsed:.1?}: "
        )?;
        if violations.is_empty() {
            return f.write_str("all is well");
        }
        write!(f, "{} violations", violations.len())?;
        for violation in violations.iter().take(SHOWN_MAX) {
            write!(f, "\n  {violation}")?;
        }
        if violations.len() > SHOWN_MAX { f.write_str("\n  ...") } else { Ok(()) }
    }
}

impl World {
    /// Reads back and judges. No load may be running. What is found right is settled; when
    /// something is wrong nothing is, so that a second audit finds the same.
    pub async fn audit(&mut self, audit: Audit) -> anyhow::Result<Report> {
        let began = Instant::now();
        self.expect_no_load()?;
        let mut views = match self.read_back(audit).await? {
            Ok(views) => views,
            Err(violation) => return Ok(self.unread(violation, began)),
        };
        for round in 1.. {
            let (pending, reads) = self.shared.history.unsettled();
            let evidence = Evidence {
                book: &self.book,
                history: &self.shared.history,
                bank: self.shared.bank.session.wallet,
                views: &views,
                pending: &pending,
                reads: &reads,
            };
            let verdict = judge(&evidence);
            if !verdict.violations.is_empty() && round < ROUNDS_MAX {
                // A request that was given up may have been done after some wallets were read. Two
                // readings that are the same are one state: then it is the service's fault.
                tokio::time::sleep(ROUND_PAUSE).await;
                match self.read_back(audit).await? {
                    Ok(again) if again == views => {}
                    Ok(again) => {
                        views = again;
                        continue;
                    }
                    Err(violation) => return Ok(self.unread(violation, began)),
                }
            }
            let mut violations = self.shared.history.violations();
            violations.extend(verdict.violations);
            let unknown = pending.iter().filter(|attempt| attempt.outcome().is_none());
            let (there, absent): (Vec<_>, Vec<_>) = unknown.partition(|attempt| {
                attempt.is_settled() || verdict.found.contains_key(&attempt.number)
            });
            let report = Report {
                new: verdict.new.len() as u64,
                operations: self.book.len() + verdict.new.len() as u64,
                reads: reads.len(),
                unknown: there.len() + absent.len(),
                unknown_there: there.len(),
                elapsed: began.elapsed(),
                violations,
            };
            if report.is_clean() {
                // Nobody reads with it any more, so it is not copied.
                Arc::make_mut(&mut self.book).append(verdict.new.into_values());
                self.shared.history.settle(&verdict.found, reads.len());
            }
            return Ok(report);
        }
        bail!("what is read does not come to rest")
    }

    /// A wallet's history is not shown to its owner any more: nothing else can be judged.
    fn unread(&self, violation: Violation, began: Instant) -> Report {
        let mut violations = self.shared.history.violations();
        violations.push(violation);
        Report {
            violations,
            new: 0,
            operations: self.book.len(),
            reads: 0,
            unknown: 0,
            unknown_there: 0,
            elapsed: began.elapsed(),
        }
    }

    /// Reads every wallet. An answer that no correct service gives ends it.
    async fn read_back(&self, audit: Audit) -> anyhow::Result<Result<Vec<View>, Violation>> {
        let (pending, _) = self.shared.history.unsettled();
        let mut expected: HashMap<u64, usize> = HashMap::new();
        for attempt in &pending {
            *expected.entry(attempt.order.from).or_default() += 1;
            *expected.entry(attempt.order.to).or_default() += 1;
        }
        let mut waiting = self.shared.accounts().map(|account| {
            let session = account.session.clone();
            let (anchor, expected) = match audit {
                // The newest of the book is read once more: what follows stands on it.
                Audit::New => (
                    self.book.of_wallet(session.wallet).last().copied(),
                    expected.get(&session.wallet).copied().unwrap_or_default() + 1,
                ),
                Audit::Full => (None, PAGE_MAX),
            };
            read_wallet(Arc::clone(&self.book), session, anchor, expected)
        });
        let mut reading = JoinSet::new();
        let mut views = Vec::new();
        loop {
            while reading.len() < READS_AT_ONCE
                && let Some(next) = waiting.next()
            {
                reading.spawn(next);
            }
            match reading.join_next().await {
                None => break,
                Some(view) => match view?? {
                    Ok(view) => views.push(view),
                    Err(violation) => return Ok(Err(violation)),
                },
            }
        }
        views.sort_unstable_by_key(View::wallet);
        Ok(Ok(views))
    }
}

/// Reads a wallet from its newest operation down to `anchor`, or to the first one; at first as many
/// entries as are `expected`.
async fn read_wallet(
    book: Arc<Book>,
    session: Session,
    anchor: Option<u64>,
    expected: usize,
) -> anyhow::Result<Result<View, Violation>> {
    let wallet = session.wallet;
    let mut limit = expected.clamp(1, PAGE_MAX);
    let mut cursor = None;
    let mut view: Option<View> = None;
    loop {
        let page = match read_page(&session, limit, cursor.as_deref()).await? {
            Ok(page) => page,
            Err(violation) => return Ok(Err(violation)),
        };
        let view = view.get_or_insert_with(|| View::new(&book, wallet, page.balance));
        let oldest = view.last_id().unwrap_or(u64::MAX);
        for entry in page.entries {
            view.take(&book, entry);
        }
        cursor = page.next_cursor.filter(|_| page.has_more);
        let reached = view.last_id().unwrap_or(0);
        // Pages that do not go down are judged as they are, not followed in a circle.
        let whole = cursor.is_none() || reached >= oldest;
        if whole || anchor.is_some_and(|anchor| reached <= anchor) {
            view.end(&book, anchor.is_none());
            return Ok(Ok(view.clone()));
        }
        limit = PAGE_MAX;
    }
}

async fn read_page(
    session: &Session,
    limit: usize,
    cursor: Option<&str>,
) -> anyhow::Result<Result<Page, Violation>> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(5);
    let odd = |what: String| {
        Ok(Err(Violation::new(Code::UnexpectedAnswer, what).in_wallet(session.wallet)))
    };
    loop {
        match session.page(limit, cursor).await {
            Ok(page) if page.wallet_id == session.wallet => return Ok(Ok(page)),
            Ok(page) => return odd(format!("its owner was shown wallet {}", page.wallet_id)),
            Err(Unread::Odd(answer)) => return odd(format!("it cannot be read: {answer}")),
            Err(Unread::Unknown(why)) if began.elapsed() > READ_WAIT_MAX => {
                return Err(anyhow::anyhow!(why)).context("the history cannot be read back");
            }
            Err(Unread::Unknown(_)) => tokio::time::sleep(pause).await,
        }
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}
