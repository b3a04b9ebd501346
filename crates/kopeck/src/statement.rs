//! Owns a wallet's history as a download: read page by page as the client takes it, newest first.
//!
//! Never: more than a page in memory, or an end that looks whole when it is not: a failure on the way
//! breaks the connection off. Every page after the first starts where the one before it ended, and
//! operations never change: so the download is the state at its beginning, whatever happens
//! meanwhile. Bounds: [`ENTRIES_A_PAGE`]; [`DOWNLOADS_PER_USER_MAX`].

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{Days, NaiveDate};
use futures_util::stream;
use ledger::{
    Entry, Ledger, LedgerError, OperationId, Page, Statement, Timestamp, User, UserId, WalletId,
};

use crate::body::Pieces;
use crate::problem::{Code, Problem};
use crate::turns::{Turn, Turns};

const ENTRIES_A_PAGE: usize = 500;
/// Downloads of one user at a time, of the pages and of the API together; more are refused
/// (`overloaded`).
const DOWNLOADS_PER_USER_MAX: usize = 16;

/// The media type of CSV.
pub(crate) const CSV: &str = "text/csv; charset=utf-8";
/// The media type of JSON Lines.
pub(crate) const JSON_LINES: &str = "application/jsonl";

/// From when to when: days in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Period {
    /// The first moment that is told.
    from: Option<Timestamp>,
    /// The first moment after it.
    before: Option<Timestamp>,
}

impl Period {
    /// Reads the query `from=2026-01-01&to=2026-01-31`; both days are in it, and each may be left out. A
    /// period without a day is refused: it would look like one in which nothing happened.
    pub(crate) fn parse(query: &str) -> Result<Self, Problem> {
        let mut period = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let malformed = |detail: String| {
                let field: String = name.chars().take(100).collect();
                Problem::new(Code::MalformedQuery).detail(detail).field(field)
            };
            let day = || {
                let day = parse_day(&value);
                let wanted = || format!("`{name}` must be a day such as 2026-01-31, in UTC");
                day.ok_or_else(|| malformed(wanted()))
            };
            let again = match &*name {
                "from" => period.from.replace(start_of(day()?)).is_some(),
                "to" => {
                    let next = day()?.checked_add_days(Days::new(1));
                    let next = next.ok_or_else(|| malformed("`to` is too late".to_owned()))?;
                    period.before.replace(start_of(next)).is_some()
                }
                _ => return Err(malformed("there is no such query parameter".to_owned())),
            };
            if again {
                return Err(malformed(format!("`{name}` stands there twice")));
            }
        }
        if let (Some(from), Some(before)) = (period.from, period.before)
            && from >= before
        {
            let detail = "`to` must not be before the day in `from`";
            return Err(Problem::new(Code::MalformedQuery).detail(detail).field("to"));
        }
        Ok(period)
    }

    fn has(&self, entry: &Entry) -> bool {
        !self.is_before(entry) && self.before.is_none_or(|before| entry.time < before)
    }

    /// Whether the whole period is later than an entry.
    fn is_before(&self, entry: &Entry) -> bool {
        self.from.is_some_and(|from| entry.time < from)
    }
}

/// Four digits, two, two: what other forms `chrono` may take are not offered.
fn parse_day(text: &str) -> Option<NaiveDate> {
    let in_place = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    if in_place { NaiveDate::parse_from_str(text, "%Y-%m-%d").ok() } else { None }
}

fn start_of(day: NaiveDate) -> Timestamp {
    Timestamp::from_micros(day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros())
}

/// How many downloads each user has.
#[derive(Debug)]
pub(crate) struct Downloads(Turns<UserId>);

impl Downloads {
    pub(crate) fn new() -> Self {
        Self(Turns::new())
    }
}

/// A wallet's history that is about to be downloaded.
pub(crate) struct Download {
    ledger: Arc<dyn Ledger>,
    wallet: WalletId,
    period: Period,
    /// What is read already.
    page: Statement,
    /// The user's turn, which ends with the download.
    _turn: Turn<UserId>,
}

impl Download {
    /// Reads the first page, so that what can be refused is refused with a status.
    pub(crate) async fn open(
        ledger: &Arc<dyn Ledger>,
        downloads: &Downloads,
        user: &User,
        period: Period,
    ) -> Result<Self, Problem> {
        let turn = downloads.0.take(user.id, DOWNLOADS_PER_USER_MAX).ok_or_else(|| {
            Problem::overloaded(format!(
                "at most {DOWNLOADS_PER_USER_MAX} downloads of one user at a time; try again"
            ))
        })?;
        let wallet = user.wallet;
        let page = read(&**ledger, wallet, None).await?;
        Ok(Self { ledger: Arc::clone(ledger), wallet, period, page, _turn: turn })
    }

    /// The answer. `write` makes bytes of some entries, newest first; what it is given first is what
    /// the download begins with.
    pub(crate) fn answer(
        self,
        media_type: &'static str,
        ending: &str,
        write: impl Fn(&[Entry], bool) -> io::Result<Vec<u8>> + Send + 'static,
    ) -> Response {
        let name = format!("attachment; filename=\"kopeck-wallet-{}.{ending}\"", self.wallet);
        let body = Body::from_stream(stream::try_unfold(
            Some((self, true, write)),
            async |state| -> io::Result<_> {
                let Some((mut download, is_first, write)) = state else { return Ok(None) };
                let (entries, has_more) = download.take_page();
                let bytes = write(&entries, is_first)?;
                let next = download.page.next.filter(|_| has_more);
                let rest = match next {
                    Some(next) => {
                        download.turn(next).await?;
                        Some((download, false, write))
                    }
                    None => None,
                };
                Ok(Some((bytes, rest)))
            },
        ));
        let media_type = HeaderValue::from_static(media_type);
        let headers = [
            (header::CONTENT_TYPE, media_type),
            (header::CONTENT_DISPOSITION, HeaderValue::try_from(name).unwrap_or(ATTACHMENT)),
        ];
        (headers, Pieces::of(body)).into_response()
    }

    /// The entries of the page that are in the period, and whether later pages may have more.
    fn take_page(&mut self) -> (Vec<Entry>, bool) {
        let mut entries = std::mem::take(&mut self.page.entries);
        let has_more = !entries.last().is_some_and(|oldest| self.period.is_before(oldest));
        entries.retain(|entry| self.period.has(entry));
        (entries, has_more)
    }

    async fn turn(&mut self, next: OperationId) -> io::Result<()> {
        match read(&*self.ledger, self.wallet, Some(next)).await {
            Ok(page) => {
                self.page = page;
                Ok(())
            }
            Err(error) => {
                // The status is long gone: breaking off is all that can be said.
                tracing::error!(wallet = %self.wallet, %error, "a statement broke off");
                Err(io::Error::other(error))
            }
        }
    }
}

const ATTACHMENT: HeaderValue = HeaderValue::from_static("attachment");

async fn read(
    ledger: &dyn Ledger,
    wallet: WalletId,
    from: Option<OperationId>,
) -> Result<Statement, LedgerError> {
    let statement = ledger.statement(wallet, Page { from, limit: ENTRIES_A_PAGE }).await?;
    statement
        .ok_or_else(|| LedgerError::Unreadable(format!("wallet {wallet} of a user is missing")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods() {
        let day = |day: u32| start_of(NaiveDate::from_ymd_opt(2026, 1, day).unwrap());
        let check = |query: &str, from: Option<u32>, before: Option<u32>| {
            let expected = Period { from: from.map(day), before: before.map(day) };
            assert_eq!(Period::parse(query).unwrap(), expected, "{query}");
        };
        check("", None, None);
        check("from=2026-01-02", Some(2), None);
        check("to=2026-01-02", None, Some(3));
        check("to=2026-01-30&from=2026-01-02", Some(2), Some(31));
        check("from=2026-01-02&to=2026-01-02", Some(2), Some(3));
        for bad in [
            "from=",
            "from=2026-1-2",
            "from=2026-02-30",
            "from=26-01-01",
            "from=+026-01-01",
            "from=2026-01-01T00:00:00Z",
            "from=%D9%A2026-01-1",
            "to=x",
            "from=2026-01-01&from=2026-01-01",
            "limit=1",
            "from=2026-01-02&to=2026-01-01",
            "to=2026-01-01&from=2027-01-01",
        ] {
            assert_eq!(Period::parse(bad).unwrap_err().code(), "malformed_query", "{bad}");
        }
    }
}
