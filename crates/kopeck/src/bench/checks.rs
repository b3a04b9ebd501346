//! Owns the verdict on a benchmark's own result: money, and one effect for each request.
//!
//! Never: a figure. A rate of wrong answers is no rate. Bounds: constant.

use std::sync::Arc;

use anyhow::Context;
use ledger::Ledger;
use store_sqlite::{Check, Unobserved, Unwatched};

use super::asker::Asker;
use super::prefill;
use super::requests::{Crowd, Payment, write_payment};
use super::scenario::Payer;
use super::server::Server;
use super::tally::Tally;
use super::work::Work;

/// A book of at most so many operations is checked whole at the end.
const CHECK_WHOLE_MAX: u64 = 20_000_000;
/// How many wallets are read one by one at most where the file cannot be opened.
const WALLETS_READ_MAX: usize = 2_000;

/// Something that must be so, and whether it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// What must be so.
    pub(super) what: &'static str,
    /// Whether it is; nothing where it was not checked.
    pub(super) holds: Option<bool>,
    /// What was found.
    pub(super) detail: String,
}

/// What the client was told by a server, in all of its runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Operations that were acknowledged.
    pub(super) acknowledged: u64,
    /// Operations of whose outcome nobody told.
    pub(super) unknown: u64,
    /// Acknowledgements of what was done before, although every key was new.
    pub(super) replayed: u64,
}

impl Told {
    /// Adds a run's.
    pub(super) fn add(&mut self, tally: &Tally) {
        self.acknowledged += tally.acknowledged;
        self.unknown += tally.unknown;
        self.replayed += tally.replayed;
    }
}

/// One effect for each acknowledgement: the book has grown by as many operations as were acknowledged.
/// What nobody knows the outcome of may be in it or not.
pub(super) fn one_effect_each(told: Told, before: u64, after: u64) -> Finding {
    let grown = after.checked_sub(before);
    let Told { acknowledged, unknown, replayed } = told;
    let fits = grown.is_some_and(|grown| {
        (acknowledged..=acknowledged.saturating_add(unknown)).contains(&grown)
    });
    Finding {
        what: "one effect for each acknowledgement",
        // Where nothing was acknowledged, nothing was measured.
        holds: Some(fits && replayed == 0 && acknowledged > 0),
        detail: format!(
            "{acknowledged} acknowledged, {unknown} unknown, {replayed} replayed; the book grew from \
             {before} to {after} operations"
        ),
    }
}

/// Nobody but those who are looked at moves money: what one has less, the others have more.
pub(super) fn kept_between(before: &[(bool, i64)], after: &[(bool, i64)]) -> Finding {
    let sum = |balances: &[(bool, i64)]| {
        balances.iter().map(|(_, balance)| i128::from(*balance)).sum::<i128>()
    };
    let below = after.iter().filter(|(bank, balance)| !bank && *balance < 0).count();
    let (before_sum, after_sum) = (sum(before), sum(after));
    let same = before.len() == after.len() && before_sum == after_sum;
    Finding {
        what: "the bank and the people have together what they had",
        holds: Some(same && below == 0 && !after.is_empty()),
        detail: format!(
            "{} wallets, {before_sum} minor units before, {after_sum} after, {below} below zero",
            after.len()
        ),
    }
}

/// Payments that were acknowledged are sent again under their keys, those of batches as single ones: each
/// must be answered as before, and marked so.
pub(super) fn replays(
    server: &Server,
    crowd: &Crowd,
    sample: &[(Payment, u64)],
) -> anyhow::Result<Finding> {
    let mut asker = Asker::new(server.address())?;
    let host = server.address().to_string();
    let mut answers = Vec::new();
    for (payment, operation) in sample {
        let mut request = Vec::new();
        let cookie = &crowd.payer(payment.payer).cookie;
        let deposit = payment.payer == Payer::Bank;
        write_payment(&mut request, (&host, cookie), (deposit, payment.to), Some(&payment.key));
        let answer = asker.send(&request)?;
        let same = answer.number("operation_id") == Some(*operation);
        answers.push(answer.status == 200 && answer.replayed && same);
    }
    Ok(answered_as_before(&answers))
}

fn answered_as_before(answers: &[bool]) -> Finding {
    let same = answers.iter().filter(|same| **same).count();
    let checked = !answers.is_empty();
    Finding {
        what: "a payment sent again under its key is answered as before",
        holds: checked.then_some(same == answers.len()),
        detail: match checked {
            true => format!("{same} of {}", answers.len()),
            false => "no payment that had a key was acknowledged".to_owned(),
        },
    }
}

/// Opens what a server has left behind: the book's own check of itself, and, if it is small enough,
/// everything that `kopeck check` verifies. How many operations it has.
pub(super) fn left_behind(work: &Work, findings: &mut Vec<Finding>) -> anyhow::Result<u64> {
    let mut operations = None;
    let size = work.size();
    if size.operations.max(size.wallets) <= CHECK_WHOLE_MAX {
        let wanted = Check { data: &work.data(), published: None };
        let checked = store_sqlite::check(&wanted, &Unwatched)?;
        operations = Some(checked.operations);
        findings.push(Finding {
            what: "kopeck check",
            holds: Some(checked.is_sound()),
            detail: format!(
                "{} operations, {} wallets, {} damages",
                checked.operations, checked.wallets, checked.damages_total
            ),
        });
    }
    // A start refuses a book whose wallets do not sum to zero, or with somebody below it.
    let store = prefill::open(work, Arc::new(Unobserved));
    findings.push(Finding {
        what: "the book opens: all wallets together are zero, nobody's is below",
        holds: Some(store.is_ok()),
        detail: store.as_ref().map_or_else(ToString::to_string, |_| "it does".to_owned()),
    });
    let store = store?;
    let operations = match operations {
        Some(operations) => operations,
        None => newest(&store)?,
    };
    store.close();
    Ok(operations)
}

fn newest(store: &store_sqlite::SqliteStore) -> anyhow::Result<u64> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    Ok(runtime.block_on(store.checkpoint())?.operations)
}

/// The balances of the bank and of everybody who is known, in minor units, read over HTTP.
pub(super) fn balances(server: &Server, crowd: &Crowd) -> anyhow::Result<Vec<(bool, i64)>> {
    let mut asker = Asker::new(server.address())?;
    let everybody = std::iter::once(&crowd.bank).chain(crowd.people.iter().take(WALLETS_READ_MAX));
    everybody
        .enumerate()
        .map(|(number, person)| {
            let answer = asker.get("/api/wallet?limit=1", &person.cookie)?;
            let Balance { balance } = serde_json::from_slice(answer.body)?;
            Ok((number == 0, minor(balance.get()).context("a balance that is none")?))
        })
        .collect()
}

/// What is read of a wallet: the number's own text.
#[derive(serde::Deserialize)]
struct Balance {
    balance: Box<serde_json::value::RawValue>,
}

/// Minor units of a decimal text with two digits after the point.
fn minor(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 2 {
        return None;
    }
    format!("{whole}{fraction:0<2}").parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_wrong_number_of_operations_is_found() {
        let told = |acknowledged, unknown, replayed| Told { acknowledged, unknown, replayed };
        let holds = |told, before, after| one_effect_each(told, before, after).holds == Some(true);
        assert!(holds(told(10, 0, 0), 5, 15));
        assert!(!holds(told(10, 0, 0), 5, 14), "an acknowledged operation is not there");
        assert!(!holds(told(10, 0, 0), 5, 16), "one was done twice");
        assert!(!holds(told(10, 0, 0), 15, 5), "the book has shrunk");
        assert!(!holds(told(0, 0, 0), 5, 5), "nothing was done");
        assert!(!holds(told(10, 0, 1), 5, 15), "a new key was taken for an old one");
        assert!(holds(told(10, 2, 0), 5, 15) && holds(told(10, 2, 0), 5, 17));
        assert!(!holds(told(10, 2, 0), 5, 18));
    }

    #[test]
    fn money_made_lost_or_owed_is_found() {
        let before = [(true, -30), (false, 10), (false, 20)];
        let holds = |after: &[(bool, i64)]| kept_between(&before, after).holds == Some(true);
        assert!(holds(&before) && holds(&[(true, -31), (false, 0), (false, 31)]));
        assert!(!holds(&[(true, -30), (false, 10), (false, 19)]), "lost");
        assert!(!holds(&[(true, -30), (false, 11), (false, 20)]), "made");
        assert!(!holds(&[(true, -30), (false, -1), (false, 31)]), "below zero");
        assert!(!holds(&[(true, -30), (false, 30)]), "somebody was not looked at");
        assert!(kept_between(&[], &[]).holds == Some(false), "nobody was looked at");
    }

    #[test]
    fn an_answer_that_is_not_the_former_is_found() {
        assert!(answered_as_before(&[true, true]).holds == Some(true));
        assert!(answered_as_before(&[true, false]).holds == Some(false));
        assert_eq!(answered_as_before(&[]).holds, None, "nothing was sent again");
    }

    #[test]
    fn a_book_that_somebody_has_changed_is_found() {
        use super::super::work::Size;
        let home = tempfile::tempdir().unwrap();
        let size = Size { wallets: 5, sessions: 2, operations: 100, hot_operations: 0 };
        let mut work = Work::open(home.path(), size).unwrap();
        prefill::fill(&mut work, "test").unwrap();
        let mut findings = Vec::new();
        assert_eq!(left_behind(&work, &mut findings).unwrap(), 100);
        assert!(findings.len() == 2 && findings.iter().all(|finding| finding.holds == Some(true)));
        let file = rusqlite::Connection::open(work.data().join("kopeck.db")).unwrap();
        let edit = "UPDATE transfer SET amount_minor = amount_minor + 1 WHERE operation_id = 90";
        file.execute_batch(edit).unwrap();
        drop(file);
        findings.clear();
        let _ = left_behind(&work, &mut findings);
        assert!(findings.iter().any(|finding| finding.holds == Some(false)), "{findings:?}");
    }

    #[test]
    fn money_from_nowhere_is_found_by_the_opening_alone() {
        // Of a book that is too large to be checked whole there is nothing else.
        use super::super::work::Size;
        for balance in [1_i64, -1] {
            let home = tempfile::tempdir().unwrap();
            let size = Size { wallets: 5, sessions: 2, operations: 100, hot_operations: 0 };
            let mut work = Work::open(home.path(), size).unwrap();
            prefill::fill(&mut work, "test").unwrap();
            prefill::open(&work, Arc::new(Unobserved)).unwrap().close();
            let file = rusqlite::Connection::open(work.data().join("kopeck.db")).unwrap();
            let read = "SELECT states FROM swept_block";
            let mut states: Vec<u8> = file.query_row(read, (), |row| row.get(0)).unwrap();
            // Wallet 3's balance: 16 bytes a wallet, the balance first.
            states[32..40].copy_from_slice(&balance.to_be_bytes());
            file.execute("UPDATE swept_block SET states = ?1", [states]).unwrap();
            drop(file);
            assert!(prefill::open(&work, Arc::new(Unobserved)).is_err(), "{balance}");
        }
    }

    #[test]
    fn a_service_that_pays_again_is_found() {
        let (first, again) = (r#"{"operation_id":7}"#, r#"{"operation_id":8}"#);
        for (status, mark, body, holds) in [
            ("200 OK", "idempotency-replayed: true\r\n", first, true),
            ("200 OK", "", first, false),
            ("200 OK", "idempotency-replayed: true\r\n", again, false),
            ("200 OK", "", again, false),
            ("422 Unprocessable", "idempotency-replayed: true\r\n", first, false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let server = Server::elsewhere(listener.local_addr().unwrap());
            let said = format!("HTTP/1.1 {status}\r\n{mark}content-length: 18\r\n\r\n{body}");
            let service = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                assert!(stream.read(&mut [0; 4_096]).unwrap() > 0);
                stream.write_all(said.as_bytes()).unwrap();
            });
            let crowd = Crowd::of_two();
            let payment = Payment { payer: Payer::Person(0), to: 3, key: [b'k'; 36] };
            let found = replays(&server, &crowd, &[(payment, 7)]).unwrap();
            service.join().unwrap();
            assert_eq!(found.holds, Some(holds), "{status} {mark}{body}");
        }
    }

    #[test]
    fn balances_are_read_digit_by_digit() {
        for (text, expected) in
            [("0.00", 0), ("104.50", 10_450), ("-0.01", -1), ("7", 700), ("104.5", 10_450)]
        {
            assert_eq!(minor(text), Some(expected), "{text}");
        }
        assert_eq!(minor("1.234"), None);
        assert_eq!(minor("x"), None);
    }
}
