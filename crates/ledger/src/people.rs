//! Owns the second, smaller contract: users, their credentials, and their sessions.
//!
//! Never: a password or a session token in the clear (engines see hashes only), or how either is
//! made. Bounds: a name has at most [`NAME_CHARS_MAX`] characters, an e-mail address at most 254; a user has
//! at most [`SESSIONS_PER_USER_MAX`] sessions.

use crate::{IdempotencyKey, Pending, Timestamp, UserId, WalletId};

/// The greatest length of a user's name, in characters.
pub const NAME_CHARS_MAX: usize = 100;

/// The most sessions that a user has at a time.
pub const SESSIONS_PER_USER_MAX: usize = 50;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Has the right to deposit; its wallet is a system wallet and may go negative.
    Bank,
    /// Everybody else.
    Person,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub id: UserId,
    /// The user's wallet.
    pub wallet: WalletId,
    /// What the user may do.
    pub role: Role,
    /// The name as the user wrote it.
    pub name: String,
    /// The e-mail address as the user wrote it.
    pub email: String,
}

/// A user together with the password's hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user.
    pub user: User,
    /// The password's hash, as a PHC string.
    pub password_hash: String,
}

/// Somebody who signs up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// What the user will be allowed to do.
    pub role: Role,
    /// The name as the user wrote it.
    pub name: String,
    /// The e-mail address as the user wrote it.
    pub email: String,
    /// The address in the one form that is compared: two users never share it.
    pub email_key: String,
    /// The password's hash, as a PHC string.
    pub password_hash: String,
}

/// The hash of a session's token. The token itself is never kept.
pub type TokenHash = [u8; 32];

/// A session, as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// The hash of its token.
    pub token_hash: TokenHash,
    /// Whose it is.
    pub user: UserId,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it was last known to be used.
    pub seen: Timestamp,
}

/// Why a sign-up was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignUpRefusal {
    /// The idempotency key was used before; [`People::sign_up_record`] says for what.
    #[error("this idempotency key was used before")]
    KeyUsed,
    /// The address belongs to a user already.
    #[error("this e-mail address is taken")]
    EmailTaken,
}

/// What is recorded of a sign-up under an idempotency key. The password is not: whether it is the
/// same, the user's credentials tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignUpRecord {
    /// The name, as it was asked for.
    pub name: String,
    /// The e-mail address, as it was asked for.
    pub email: String,
    /// The user that was made; `None` when the address was taken.
    pub user: Option<User>,
}

/// Users, their credentials and sessions. Every write is on stable storage when it is answered.
pub trait People: Send + Sync {
    /// Makes a user and the user's wallet, both or neither. Under a key, the outcome is recorded in
    /// the same commit, a refusal for a taken address too.
    fn sign_up(
        &self,
        user: NewUser,
        key: Option<IdempotencyKey>,
    ) -> Pending<Result<User, SignUpRefusal>>;

    /// What was recorded under a key of a sign-up.
    fn sign_up_record(&self, key: IdempotencyKey) -> Pending<Option<SignUpRecord>>;

    /// Finds a user by the compared form of the e-mail address.
    fn credentials(&self, email_key: &str) -> Pending<Option<Credentials>>;

    /// The bank, if it was made already.
    fn bank(&self) -> Pending<Option<User>>;

    /// Replaces a user's password hash and closes all of the user's sessions.
    fn set_password(&self, user: UserId, password_hash: String) -> Pending<()>;

    /// Opens a session, and closes the one that it replaces, if any, whoever's that is: both or neither. Of
    /// the user's others, those that were longest not used are closed where there are more than
    /// [`SESSIONS_PER_USER_MAX`], first those that were never noted as used; the answer says which.
    fn open_session(
        &self,
        session: Session,
        replaces: Option<TokenHash>,
    ) -> Pending<Vec<TokenHash>>;

    /// Finds a session and its user.
    fn session(&self, token_hash: TokenHash) -> Pending<Option<(Session, User)>>;

    /// Notes that a session was used. One that was closed stays closed.
    fn touch_session(&self, token_hash: TokenHash, seen: Timestamp) -> Pending<()>;

    /// Closes a session. Closing one that is not open is no error.
    fn close_session(&self, token_hash: TokenHash) -> Pending<()>;

    /// Forgets every session opened or last seen before the given moments, a part after another.
    fn forget_sessions(&self, opened_before: Timestamp, seen_before: Timestamp) -> Pending<()>;
}
