//! Owns how users and sessions are written and read: the embedded side of the people contract.
//!
//! Never: a password or a token in the clear. Bounds: point look-ups by key or index; of a user's sessions
//! [`SESSIONS_READ_MAX`] are read when one is opened, and [`SESSIONS_CLOSED_MAX`] closed.

use ledger::{
    Credentials, IdempotencyKey, NewUser, Role, SESSIONS_PER_USER_MAX, Session, SignUpRecord,
    Timestamp, TokenHash, User, UserId, WalletId, WalletKind,
};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::file::forgetting::{self, Ended, Key};
use crate::file::rows;

/// More than a user may have: then they are from before there was a bound, and become fewer with each that is
/// opened.
const SESSIONS_READ_MAX: usize = 1_024;
const SESSIONS_CLOSED_MAX: usize = 100;

/// A write that concerns no money and is answered with nothing.
pub(crate) enum PeopleWrite {
    SetPassword(UserId, String),
    TouchSession(TokenHash, Timestamp),
    CloseSession(TokenHash),
    ForgetSessions(Vec<Key>, Ended),
    ForgetSignUpKeys(Vec<Key>),
}

/// The kind of wallet that goes with a role.
pub(crate) fn wallet_kind(role: Role) -> WalletKind {
    match role {
        Role::Bank => WalletKind::System,
        Role::Person => WalletKind::Person,
    }
}

pub(crate) fn email_is_taken(connection: &Connection, email_key: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM user WHERE email_key = ?")?.exists([email_key])
}

/// Writes a user and the user's wallet, which the book has opened.
pub(crate) fn insert_user(
    connection: &Connection,
    new: NewUser,
    wallet: WalletId,
    now: Timestamp,
) -> rusqlite::Result<User> {
    let role = match new.role {
        Role::Bank => "bank",
        Role::Person => "person",
    };
    connection
        .prepare_cached(
            "INSERT INTO user (wallet_id, role, name, email, email_key, password_hash, created_us)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute((
            wallet.get().cast_signed(),
            role,
            &new.name,
            &new.email,
            &new.email_key,
            &new.password_hash,
            now.micros(),
        ))?;
    let user_id = connection.last_insert_rowid();
    connection
        .prepare_cached(
            "INSERT INTO wallet (wallet_id, user_id, system, opened_us) VALUES (?, ?, ?, ?)",
        )?
        .execute((
            wallet.get().cast_signed(),
            user_id,
            wallet_kind(new.role) == WalletKind::System,
            now.micros(),
        ))?;
    Ok(User {
        id: user_id_of(user_id.cast_unsigned(), 0)?,
        wallet,
        role: new.role,
        name: new.name,
        email: new.email,
    })
}

/// Records what became of a sign-up, by name and address, under a key.
pub(crate) fn record_sign_up(
    connection: &Connection,
    key: &IdempotencyKey,
    (name, email): (&str, &str),
    user: Option<UserId>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let user = user.map(|user| user.get().cast_signed());
    connection
        .prepare_cached("INSERT INTO sign_up_key VALUES (?, ?, ?, ?, ?)")?
        .execute((key.as_str(), name, email, user, now.micros()))
        .map(|_| ())
}

/// What was recorded of a sign-up under a key.
pub(crate) fn sign_up_record(
    connection: &Connection,
    key: &IdempotencyKey,
) -> rusqlite::Result<Option<SignUpRecord>> {
    connection
        .prepare_cached(
            "SELECT user.user_id, wallet_id, role, user.name, user.email, recorded.name,
                    recorded.email
             FROM sign_up_key AS recorded LEFT JOIN user USING (user_id)
             WHERE idempotency_key = ?",
        )?
        .query_row([key.as_str()], |row| {
            let known: Option<i64> = row.get(0)?;
            let user = known.map(|_| read_user(row)).transpose()?;
            Ok(SignUpRecord { name: row.get(5)?, email: row.get(6)?, user })
        })
        .optional()
}

/// Opens a session, in place of another if it replaces one. The sessions of its user that were closed for
/// it: those that were longest not used, if there are too many.
pub(crate) fn open_session(
    connection: &Connection,
    session: &Session,
    replaces: Option<TokenHash>,
) -> rusqlite::Result<Vec<TokenHash>> {
    let user = session.user.get().cast_signed();
    // Before the others are counted: it is one of them no more.
    if let Some(replaced) = replaces {
        close_session(connection, replaced)?;
    }
    connection
        .prepare_cached(
            "INSERT INTO session (token_hash, user_id, opened_us, seen_us) VALUES (?, ?, ?, ?)",
        )?
        .execute((session.token_hash, user, session.opened.micros(), session.seen.micros()))?;
    // Of the index alone.
    let count: usize = connection
        .prepare_cached("SELECT count(*) FROM (SELECT 1 FROM session WHERE user_id = ? LIMIT ?)")?
        .query_row((user, SESSIONS_READ_MAX as i64), |row| row.get(0))?;
    let closed = count.saturating_sub(SESSIONS_PER_USER_MAX).min(SESSIONS_CLOSED_MAX);
    if closed == 0 {
        return Ok(Vec::new());
    }
    // First those that were never noted as used since they were opened: else somebody who logs in again and again
    // would close a session that is in use all the time, which is noted every few minutes only.
    let mut close = connection.prepare_cached(
        "DELETE FROM session WHERE token_hash IN (
                 SELECT token_hash FROM (
                     SELECT token_hash, seen_us, opened_us FROM session
                     WHERE user_id = ?1 AND token_hash <> ?2 LIMIT ?3)
                 ORDER BY seen_us > opened_us, seen_us, opened_us LIMIT ?4)
             RETURNING token_hash",
    )?;
    let mut rows =
        close.query((user, session.token_hash, SESSIONS_READ_MAX as i64, closed as i64))?;
    let mut closed = Vec::new();
    while let Some(row) = rows.next()? {
        // What is damaged is no token's hash, and nobody's session.
        closed.extend(row.get_ref(0)?.as_bytes()?.first_chunk());
    }
    Ok(closed)
}

fn close_session(connection: &Connection, token_hash: TokenHash) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM session WHERE token_hash = ?")?
        .execute([token_hash])
        .map(|_| ())
}

/// Writes what concerns no money.
pub(crate) fn write(connection: &Connection, write: PeopleWrite) -> rusqlite::Result<()> {
    match write {
        PeopleWrite::SetPassword(user, password_hash) => {
            let user = user.get().cast_signed();
            connection
                .prepare_cached("UPDATE user SET password_hash = ? WHERE user_id = ?")?
                .execute((password_hash, user))?;
            connection.prepare_cached("DELETE FROM session WHERE user_id = ?")?.execute([user])?;
        }
        PeopleWrite::TouchSession(token_hash, seen) => {
            connection
                .prepare_cached(
                    "UPDATE session SET seen_us = max(seen_us, ?) WHERE token_hash = ?",
                )?
                .execute((seen.micros(), token_hash))?;
        }
        PeopleWrite::CloseSession(token_hash) => close_session(connection, token_hash)?,
        PeopleWrite::ForgetSessions(old, ended) => {
            forgetting::delete_sessions(connection, &old, ended)?;
        }
        PeopleWrite::ForgetSignUpKeys(old) => forgetting::delete_sign_up_keys(connection, &old)?,
    }
    Ok(())
}

pub(crate) fn credentials(
    connection: &Connection,
    email_key: &str,
) -> rusqlite::Result<Option<Credentials>> {
    connection
        .prepare_cached(
            "SELECT user_id, wallet_id, role, name, email, password_hash
             FROM user WHERE email_key = ?",
        )?
        .query_row([email_key], |row| {
            Ok(Credentials { user: read_user(row)?, password_hash: row.get(5)? })
        })
        .optional()
}

pub(crate) fn bank(connection: &Connection) -> rusqlite::Result<Option<User>> {
    connection
        .prepare_cached("SELECT user_id, wallet_id, role, name, email FROM user WHERE user_id = 1")?
        .query_row((), read_user)
        .optional()
}

pub(crate) fn session(
    connection: &Connection,
    token_hash: TokenHash,
) -> rusqlite::Result<Option<(Session, User)>> {
    connection
        .prepare_cached(
            // The index has the user's number once more: if one of the two was changed, nobody is
            // let into the wallet of somebody else.
            "SELECT user.user_id, wallet_id, role, name, email, opened_us, seen_us
             FROM session JOIN user USING (user_id) WHERE token_hash = ?1
                 AND EXISTS (SELECT 1 FROM session AS again INDEXED BY session_user
                             WHERE again.user_id = session.user_id AND again.token_hash = ?1)",
        )?
        .query_row([token_hash], |row| {
            let user = read_user(row)?;
            let session = Session {
                token_hash,
                user: user.id,
                opened: Timestamp::from_micros(row.get(5)?),
                seen: Timestamp::from_micros(row.get(6)?),
            };
            Ok((session, user))
        })
        .optional()
}

/// The owner of a wallet.
pub(crate) fn owner(connection: &Connection, wallet: WalletId) -> rusqlite::Result<Option<UserId>> {
    connection
        .prepare_cached("SELECT user_id FROM wallet WHERE wallet_id = ?")?
        .query_row([wallet.get().cast_signed()], |row| {
            let owner = user_id_of(row.get(0)?, 0)?;
            if owner.get() == wallet.get() { Ok(owner) } else { Err(damaged(wallet.get())) }
        })
        .optional()
}

/// User n has wallet n, and the bank is user 1: who does not fit that is not let in, for the wallet
/// would be another's.
#[derive(Debug, thiserror::Error)]
#[error("the data file is damaged: user {0} and wallet {0} do not belong together any more")]
struct UserDamage(u64);

fn damaged(number: u64) -> rusqlite::Error {
    rows::damage(UserDamage(number))
}

fn read_user(row: &Row<'_>) -> rusqlite::Result<User> {
    let id = user_id_of(row.get(0)?, 0)?;
    let role = match row.get_ref(2)?.as_bytes()? {
        b"bank" => Role::Bank,
        b"person" => Role::Person,
        _ => return Err(damaged(id.get())),
    };
    let wallet = WalletId::new(row.get(1)?).filter(|wallet| wallet.get() == id.get());
    let wallet = wallet.filter(|wallet| (*wallet == WalletId::FIRST) == (role == Role::Bank));
    Ok(User {
        id,
        wallet: wallet.ok_or_else(|| damaged(id.get()))?,
        role,
        name: row.get(3)?,
        email: row.get(4)?,
    })
}

fn user_id_of(number: u64, column: usize) -> rusqlite::Result<UserId> {
    UserId::new(number)
        .ok_or(rusqlite::Error::IntegralValueOutOfRange(column, number.cast_signed()))
}
