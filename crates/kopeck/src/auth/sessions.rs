//! Owns who is logged in: sessions in the store, and a cache of them in front of it.
//!
//! Never: a token kept, or a closed session found. Bounds: `capacity` sessions in memory (the
//! store has them all, of each user the newest); a session is written once when opened, once when closed,
//! and noted as used at most once every [`TOUCH_EVERY_MAX`], or four times within the idle time if that is shorter.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use ledger::{LedgerError, People, Session, Timestamp, TokenHash, User};
use quick_cache::sync::Cache;

use super::SessionToken;
use crate::clock;

/// How exactly it is known when a session was last used, if sessions may be idle much longer.
const TOUCH_EVERY_MAX: Duration = Duration::from_secs(5 * 60);

/// When sessions end by themselves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expiry {
    /// After so long without use.
    pub(crate) idle: Duration,
    /// After so long in any case.
    pub(crate) absolute: Duration,
}

/// A session in the cache; `None` says that it was closed.
type Cached = Option<Arc<Open>>;

#[derive(Debug)]
struct Open {
    user: Arc<User>,
    opened: Timestamp,
    /// When it was last noted as used, in microseconds.
    seen: AtomicI64,
}

/// All sessions.
pub(crate) struct Sessions {
    people: Arc<dyn People>,
    cache: Cache<TokenHash, Cached>,
    expiry: Expiry,
    touch_every: Duration,
}

impl Sessions {
    /// Keeps at most `capacity` sessions in memory.
    pub(crate) fn new(people: Arc<dyn People>, capacity: usize, expiry: Expiry) -> Self {
        let touch_every = TOUCH_EVERY_MAX.min(expiry.idle / 4);
        Self { people, cache: Cache::new(capacity.max(1)), expiry, touch_every }
    }

    /// When sessions end by themselves.
    pub(crate) fn expiry(&self) -> Expiry {
        self.expiry
    }

    /// Opens a session for a user who has just proved to be that user, and closes the one that it replaces:
    /// both or, when it fails, neither.
    pub(crate) async fn open(
        &self,
        user: User,
        replaces: Option<&SessionToken>,
    ) -> Result<SessionToken, LedgerError> {
        let token = SessionToken::generate()
            .map_err(|error| LedgerError::Unreadable(format!("no randomness: {error}")))?;
        let (token_hash, now) = (token.hash(), clock::now());
        let session = Session { token_hash, user: user.id, opened: now, seen: now };
        // Before the store has it: others who log in may close it as soon as it is there. Until it is, nobody
        // knows the token.
        self.cache.insert(token_hash, Some(Arc::new(Open::new(user, &session))));
        let replaces = replaces.map(SessionToken::hash);
        for closed in self.people.open_session(session, replaces).await?.into_iter().chain(replaces)
        {
            self.cache.insert(closed, None);
        }
        Ok(token)
    }

    /// Whose session a token opens, if any.
    pub(crate) async fn find(
        &self,
        token: &SessionToken,
    ) -> Result<Option<Arc<User>>, LedgerError> {
        let hash = token.hash();
        let cached = match self.cache.get(&hash) {
            Some(cached) => cached,
            None => self.load(hash).await?,
        };
        let now = clock::now();
        let Some(open) = cached.filter(|open| open.lives(now, self.expiry)) else {
            return Ok(None);
        };
        self.touch(hash, &open, now);
        Ok(Some(Arc::clone(&open.user)))
    }

    /// Closes a session for good. When it fails, the session is as it was, so that whoever wanted it closed can
    /// ask again: were it closed here alone, nobody could, and a restart would open it again.
    pub(crate) async fn close(&self, token: &SessionToken) -> Result<(), LedgerError> {
        let hash = token.hash();
        self.people.close_session(hash).await?;
        // Put there, not only taken away: a look-up that read the store before the session was
        // closed must not bring it back.
        self.cache.insert(hash, None);
        Ok(())
    }

    /// Makes the store forget the sessions that have ended by themselves.
    pub(crate) async fn forget_ended(&self) -> Result<(), LedgerError> {
        let now = clock::now();
        let opened = clock::before(now, self.expiry.absolute);
        // What the store knows of the last use may be late by a touch.
        let seen = clock::before(now, self.expiry.idle + self.touch_every);
        self.people.forget_sessions(opened, seen).await
    }

    /// Reads a session from the store into the cache. Unknown tokens leave nothing behind, so
    /// nobody fills the cache with guesses.
    async fn load(&self, hash: TokenHash) -> Result<Cached, LedgerError> {
        let guard = match self.cache.get_value_or_guard_async(&hash).await {
            Ok(cached) => return Ok(cached),
            Err(guard) => guard,
        };
        let Some((session, user)) = self.people.session(hash).await? else { return Ok(None) };
        let cached = Some(Arc::new(Open::new(user, &session)));
        match guard.insert(cached.clone()) {
            Ok(()) => Ok(cached),
            // Somebody else knew better meanwhile: it was closed.
            Err(_) => Ok(self.cache.get(&hash).flatten()),
        }
    }

    fn touch(&self, hash: TokenHash, open: &Open, now: Timestamp) {
        let seen = open.seen.load(Ordering::Relaxed);
        if clock::before(now, self.touch_every).micros() < seen {
            return;
        }
        let swapped =
            open.seen.compare_exchange(seen, now.micros(), Ordering::Relaxed, Ordering::Relaxed);
        if swapped.is_err() {
            return;
        }
        let touched = self.people.touch_session(hash, now);
        tokio::spawn(async move {
            if let Err(error) = touched.await {
                // For every session that is used: of what keeps the writer from it the log tells once.
                tracing::debug!(%error, "could not note that a session was used");
            }
        });
    }
}

impl Open {
    fn new(user: User, session: &Session) -> Self {
        let seen = AtomicI64::new(session.seen.micros());
        Self { user: Arc::new(user), opened: session.opened, seen }
    }

    fn lives(&self, now: Timestamp, expiry: Expiry) -> bool {
        self.opened > clock::before(now, expiry.absolute)
            && self.seen.load(Ordering::Relaxed) > clock::before(now, expiry.idle).micros()
    }
}
