//! Owns the private servers of a benchmark: the service itself, as `kopeck serve` starts it; and what it
//! is measured against: *null*, the same service over an engine that decides and keeps nothing, and *bare*,
//! JSON in and JSON out on the same sockets.
//!
//! Never: real money, or a server that outlives its benchmark (`tether.rs`). It starts in a directory with
//! a benchmark's mark only, and a stand-in says what it is. A null engine has no history, no keys and no
//! disk; people and sessions are read from the engine's file as ever. Bounds: those of the service.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, ensure};
use axum::http::Request;
use axum::routing::post;
use axum::{Json, Router};
use clap::{Args, Parser};
use hyper::body::Incoming;
use ledger::{
    Batch, BatchOutcome, Book, Checkpoint, Currency, Ledger, LedgerError, OperationId,
    OperationKind, Outcome, Page, Pending, Receipt, Statement, Submission, UserId, WalletId,
    WalletKind,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use store_sqlite::Unobserved;
use tower_service::Service as _;

use super::prefill;
use super::server::Kind;
use super::tether;
use super::work::Work;
use crate::config::{Cli, Command, Serve};
use crate::http_threads::HttpThreads;
use crate::routes::Routes;
use crate::state::AppState;
use crate::telemetry::{self, Metrics};
use crate::{clock, server, signals};

/// What to be, and where.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wanted {
    /// As what.
    #[arg(long = "as", value_enum)]
    kind: Kind,

    /// A benchmark's directory.
    #[arg(long)]
    work_dir: PathBuf,

    /// Options of the service.
    #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
    serve: Vec<String>,
}

/// Serves until it is told to stop, or its standard input ends.
pub(crate) fn run(wanted: &Wanted) -> anyhow::Result<()> {
    let work = Work::existing(&wanted.work_dir)?;
    ensure!(work.is_made(), "the benchmark's directory is not ready");
    tether::stop_at_the_end_of(std::io::stdin())?;
    let arguments = ["kopeck", "serve"].into_iter().map(str::to_owned);
    let cli = Cli::try_parse_from(arguments.chain(wanted.serve.iter().cloned()))?;
    let Some(Command::Serve(options)) = cli.command else {
        anyhow::bail!("options of another command")
    };
    if wanted.kind == Kind::Kopeck {
        return crate::start(*options);
    }
    telemetry::start_log(options.log_format, &options.log)?;
    let http_threads = match wanted.kind {
        // Nobody writes: it may have all processors, as an axum of one's own would.
        Kind::Bare => std::thread::available_parallelism().map_or(1, usize::from),
        _ => options.http_threads,
    };
    let threads = HttpThreads::new(http_threads, options.http_processors.clone())?;
    threads.run(|| serve(wanted.kind, &work, *options, &threads))?
}

async fn serve(
    kind: Kind,
    work: &Work,
    options: Serve,
    threads: &HttpThreads,
) -> anyhow::Result<()> {
    let stop = signals::stop()?;
    let store = prefill::open(work, Arc::new(Unobserved))?;
    let ledger = Arc::new(NullLedger::new(work.size().wallets)?);
    let metrics = Arc::new(Metrics::new());
    metrics.publish(Vec::new());
    let listen = options.listen;
    let people = Arc::new(store.clone());
    let state = AppState::new(ledger, people, options, metrics, threads.processors())?;
    threads.stay(&work.data()).await?;
    let listener = server::listen(listen).with_context(|| format!("cannot listen on {listen}"))?;
    ensure!(kind != Kind::Kopeck, "the service itself needs no stand-in");
    let routes = Routes::new(state.clone());
    let bare = Router::new().route("/api/wallet_to_wallet", post(bare));
    let answer = move |request: Request<Incoming>| {
        let (routes, mut bare) = (routes.clone(), bare.clone());
        async move {
            match kind {
                Kind::Bare => bare.call(request).await.unwrap_or_else(|never| match never {}),
                _ => routes.answer(request).await,
            }
        }
    };
    let address = listener.local_addr()?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "A stand-in for a benchmark ({}): it KEEPS NOTHING", kind.name())?;
    writeln!(out, "  listening on  http://{address}/")?;
    out.flush()?;
    drop(out);
    let stopped = async {
        stop.await;
        state.config.shutdown_seconds
    };
    server::serve(listener, answer, &state, stopped).await;
    tokio::task::spawn_blocking(move || store.close()).await?;
    Ok(())
}

/// What a request has in it. Nobody looks at the amount.
#[derive(Deserialize)]
struct Asked {
    wallet_id: u64,
    amount: Box<RawValue>,
}

/// The shape of the service's answer.
#[derive(Serialize)]
struct Answered {
    status: &'static str,
    operation_id: u64,
    wallet_id: u64,
    balance: Box<RawValue>,
}

/// JSON in, JSON out.
async fn bare(Json(Asked { wallet_id, amount }): Json<Asked>) -> Json<Answered> {
    Json(Answered { status: "OK", operation_id: 1, wallet_id, balance: amount })
}

/// Decides by the book, in memory, and answers at once.
struct NullLedger {
    currency: Currency,
    book: Mutex<Book>,
}

impl NullLedger {
    /// Everybody has the money that a benchmark's book has at first.
    fn new(wallets: u64) -> anyhow::Result<Self> {
        let mut book = Book::new();
        let minor = prefill::first_payment_minor(wallets);
        book.open_wallet(WalletKind::System).context("no room for a wallet")?;
        for wallet in 2..wallets + 2 {
            book.open_wallet(WalletKind::Person).context("no room for a wallet")?;
            let deposit = prefill::payment(OperationKind::Deposit, (1, wallet), minor, None)?;
            book.decide(&deposit.operation, clock::now())?;
            book.commit();
        }
        Ok(Self { currency: Currency::parse("RUB")?, book: Mutex::new(book) })
    }
}

impl Ledger for NullLedger {
    fn currency(&self) -> Currency {
        self.currency
    }

    fn submit(&self, submissions: Vec<Submission>) -> Pending<Vec<Outcome>> {
        let now = clock::now();
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let decide = |Submission { operation, .. }| Outcome::new(book.decide(&operation, now));
        let outcomes = submissions.into_iter().map(decide).collect();
        book.commit();
        drop(book);
        Box::pin(std::future::ready(Ok(outcomes)))
    }

    fn submit_batch(&self, batch: Batch) -> Pending<BatchOutcome> {
        let outcomes = self.submit(batch.submissions);
        Box::pin(async { Ok(BatchOutcome::new(Ok(outcomes.await?))) })
    }

    fn statement(&self, wallet: WalletId, _: Page) -> Pending<Option<Statement>> {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let statement = book.wallet(wallet).zip(UserId::new(wallet.get())).map(|(state, owner)| {
            Statement { wallet, owner, balance: state.balance, entries: Vec::new(), next: None }
        });
        drop(book);
        Box::pin(std::future::ready(Ok(statement)))
    }

    fn checkpoint(&self) -> Pending<Checkpoint> {
        let none = LedgerError::Unreadable("a null engine keeps nothing".to_owned());
        Box::pin(std::future::ready(Err(none)))
    }

    fn receipt(&self, _: WalletId, _: OperationId, _: Option<u64>) -> Pending<Option<Receipt>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_null_engine_decides_by_the_book() {
        let ledger = NullLedger::new(2).unwrap();
        let all = prefill::first_payment_minor(2);
        let pay = |minor| {
            ledger.submit(vec![
                prefill::payment(OperationKind::Transfer, (2, 3), minor, None).unwrap(),
            ])
        };
        let accepted = pay(all).await.unwrap().remove(0).decision.unwrap();
        assert_eq!((accepted.debit.balance.minor(), accepted.credit.balance.minor()), (0, 2 * all));
        assert!(pay(1).await.unwrap().remove(0).decision.is_err());
        let page = Page { from: None, limit: 1 };
        let statement = ledger.statement(WalletId::new(3).unwrap(), page).await.unwrap().unwrap();
        assert_eq!(statement.balance.minor(), 2 * all);
    }
}
