//! Owns who people are: signing up, logging in and out, sessions, cookies, and the refusals that
//! keep guessers and other sites away.
//!
//! Never: money; a status code (those are [`problem`](crate::problem)'s). Bounds: each file's own.

mod caller;
mod client;
pub(crate) mod cookies;
pub(crate) mod cross_site;
pub(crate) mod form_token;
mod lines;
pub(crate) mod password;
mod secret;
mod sessions;
pub(crate) mod throttle;
mod token;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use email_address::{EmailAddress, Options};
use ledger::{
    IdempotencyKey, LedgerError, NAME_CHARS_MAX, NewUser, People, Role, SignUpRefusal, User,
};

pub(crate) use caller::Caller;
pub(crate) use client::{Client, Peer, is_by_untrusted_proxy};
pub(crate) use secret::Secret;
pub(crate) use sessions::{Expiry, Sessions};
pub(crate) use token::SessionToken;

use password::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, PasswordError, Passwords};
use throttle::Throttle;

use crate::unseen::is_seen;

/// What somebody who signs up says.
#[derive(Debug)]
pub(crate) struct SignUp {
    /// The name.
    pub(crate) name: String,
    /// The e-mail address.
    pub(crate) email: String,
    /// The password.
    pub(crate) password: Secret,
    /// The client's name for this request.
    pub(crate) key: Option<IdempotencyKey>,
}

/// Somebody who is logged in now.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    /// The user.
    pub(crate) user: User,
    /// The new session's.
    pub(crate) token: SessionToken,
    /// Whether the user had been made before, by the same request under the same key.
    pub(crate) replayed: bool,
}

/// What somebody who logs in says.
#[derive(Debug)]
pub(crate) struct LogIn {
    /// The e-mail address.
    pub(crate) email: String,
    /// The password.
    pub(crate) password: Secret,
}

/// Why somebody was not signed up or logged in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AuthError {
    /// The name is empty, too long, or holds a control character.
    #[error("the name must have 1 to 100 characters and no control characters")]
    NameMalformed,
    /// The e-mail address has not the form of one.
    #[error("this is not an e-mail address")]
    EmailMalformed,
    /// The password is shorter than 8 characters.
    #[error("the password must have at least 8 characters")]
    PasswordTooShort,
    /// The password is longer than 1 024 bytes.
    #[error("the password must have at most 1024 bytes")]
    PasswordTooLong,
    /// The e-mail address belongs to a user already.
    #[error("this e-mail address is taken")]
    EmailTaken {
        /// Whether that was said before, to the same request under the same key.
        replayed: bool,
    },
    /// The idempotency key was used before for another sign-up.
    #[error("this idempotency key was used before for another request")]
    IdempotencyKeyReused,
    /// There is no such user, or this is not the user's password: which, is not said.
    #[error("the e-mail address or the password is wrong")]
    WrongCredentials,
    /// Too many sign-ups or failed logins lately.
    #[error("too many attempts; try again later")]
    TooManyAttempts {
        /// When there is room for another.
        retry_after: Duration,
    },
    /// Too many passwords are being checked right now.
    #[error("too many people are logging in right now; try again in a moment")]
    Overloaded,
    /// The store failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Something failed that nobody outside can help.
    #[error("authentication failed: {0}")]
    Broken(String),
}

impl AuthError {
    /// The stable code, in `snake_case`.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NameMalformed => "name_malformed",
            Self::EmailMalformed => "email_malformed",
            Self::PasswordTooShort => "password_too_short",
            Self::PasswordTooLong => "password_too_long",
            Self::EmailTaken { .. } => "email_taken",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::WrongCredentials => "wrong_credentials",
            Self::TooManyAttempts { .. } => "too_many_attempts",
            Self::Overloaded => "overloaded",
            Self::Ledger(error) => error.code(),
            Self::Broken(_) => "internal",
        }
    }

    /// The field of the form that it is about, if it is about one.
    pub(crate) fn field(&self) -> Option<&'static str> {
        match self {
            Self::NameMalformed => Some("name"),
            Self::EmailMalformed | Self::EmailTaken { .. } => Some("email"),
            Self::PasswordTooShort | Self::PasswordTooLong => Some("password"),
            _ => None,
        }
    }
}

impl From<PasswordError> for AuthError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Overloaded => Self::Overloaded,
            PasswordError::Broken(reason) => Self::Broken(reason),
        }
    }
}

impl From<throttle::Wait> for AuthError {
    fn from(throttle::Wait(retry_after): throttle::Wait) -> Self {
        Self::TooManyAttempts { retry_after }
    }
}

/// A sign-up whose form is right.
struct Asked {
    name: String,
    email: String,
    email_key: String,
    password: Secret,
    key: Option<IdempotencyKey>,
}

/// Signing up, logging in and out: all that they need.
pub(crate) struct Auth {
    people: Arc<dyn People>,
    /// Hashes passwords.
    pub(crate) passwords: Passwords,
    /// Who is logged in.
    pub(crate) sessions: Sessions,
    throttle: Throttle,
}

impl Auth {
    /// Puts it together.
    pub(crate) fn new(
        people: Arc<dyn People>,
        passwords: Passwords,
        sessions: Sessions,
        throttle: Throttle,
    ) -> Self {
        Self { people, passwords, sessions, throttle }
    }

    /// Makes a user with a wallet and logs the user in. The session that the client had before, if
    /// any, is closed.
    pub(crate) async fn sign_up(
        &self,
        wanted: SignUp,
        client: IpAddr,
        replaces: Option<&SessionToken>,
    ) -> Result<LoggedIn, AuthError> {
        let name = parse_name(&wanted.name)?;
        let (email, email_key) = parse_email(&wanted.email)?;
        check_password(&wanted.password)?;
        let asked = Asked { name, email, email_key, password: wanted.password, key: wanted.key };
        let (user, replayed) = match self.replay_sign_up(&asked, client).await? {
            Some(user) => (user, true),
            None => self.make_user(&asked, client).await?,
        };
        let opened = self.sessions.open(user.clone(), replaces).await;
        let token = match opened {
            // That nothing was done is not so: the address is taken by now.
            Err(error) if !replayed => {
                let why = format!("a user was made, but no session was opened: {error}");
                return Err(LedgerError::OutcomeUnknown(why).into());
            }
            opened => opened?,
        };
        Ok(LoggedIn { user, token, replayed })
    }

    /// The user, and whether the user had been made before.
    async fn make_user(&self, asked: &Asked, client: IpAddr) -> Result<(User, bool), AuthError> {
        // Not counted before: an honest retry of a sign-up that was done is not another one.
        self.throttle.sign_up(client)?;
        // A courtesy that spares the hash where nothing is to be recorded; what decides is the
        // store's own check.
        if asked.key.is_none() && self.people.credentials(&asked.email_key).await?.is_some() {
            return Err(AuthError::EmailTaken { replayed: false });
        }
        let new = NewUser {
            role: Role::Person,
            name: asked.name.clone(),
            email: asked.email.clone(),
            email_key: asked.email_key.clone(),
            password_hash: self.passwords.hash(asked.password.clone(), client).await?,
        };
        match self.people.sign_up(new, asked.key.clone()).await? {
            Ok(user) => {
                self.throttle.know(client, &asked.email_key);
                Ok((user, false))
            }
            Err(SignUpRefusal::EmailTaken) => Err(AuthError::EmailTaken { replayed: false }),
            // Somebody was faster under the same key: most likely the client itself.
            Err(SignUpRefusal::KeyUsed) => {
                let user = self.replay_sign_up(asked, client).await?;
                Ok((user.ok_or(AuthError::IdempotencyKeyReused)?, true))
            }
        }
    }

    /// The user that the same request made before, if its key has been used. Whoever knows the key
    /// learns no more from it than from a login, and is throttled like one.
    async fn replay_sign_up(
        &self,
        asked: &Asked,
        client: IpAddr,
    ) -> Result<Option<User>, AuthError> {
        let Some(key) = &asked.key else { return Ok(None) };
        let Some(record) = self.people.sign_up_record(key.clone()).await? else { return Ok(None) };
        if record.name != asked.name || record.email != asked.email {
            return Err(AuthError::IdempotencyKeyReused);
        }
        if record.user.is_none() {
            return Err(AuthError::EmailTaken { replayed: true });
        }
        let claim = LogIn { email: asked.email.clone(), password: asked.password.clone() };
        match self.identify(claim, client).await {
            Err(AuthError::WrongCredentials) => Err(AuthError::IdempotencyKeyReused),
            identified => identified.map(Some),
        }
    }

    /// Logs a user in. The session that the client had before, if any, is closed.
    pub(crate) async fn log_in(
        &self,
        claim: LogIn,
        client: IpAddr,
        replaces: Option<&SessionToken>,
    ) -> Result<LoggedIn, AuthError> {
        let user = self.identify(claim, client).await?;
        let token = self.sessions.open(user.clone(), replaces).await?;
        Ok(LoggedIn { user, token, replayed: false })
    }

    async fn identify(&self, claim: LogIn, client: IpAddr) -> Result<User, AuthError> {
        let email_key = email_key(&claim.email);
        let attempt = self.throttle.log_in(client, &email_key)?;
        let checked = self.check_credentials(claim, &email_key, client).await;
        if checked.is_ok() {
            self.throttle.know(client, &email_key);
        }
        if !matches!(checked, Err(AuthError::WrongCredentials)) {
            attempt.give_back();
        }
        checked
    }

    /// Closes a session.
    pub(crate) async fn log_out(&self, token: &SessionToken) -> Result<(), AuthError> {
        Ok(self.sessions.close(token).await?)
    }

    /// Takes as long for an unknown e-mail address as for a wrong password.
    async fn check_credentials(
        &self,
        claim: LogIn,
        email_key: &str,
        client: IpAddr,
    ) -> Result<User, AuthError> {
        // Longer than any that was ever taken: no need to hash it, and it tells nothing.
        if claim.password.reveal().len() > PASSWORD_BYTES_MAX {
            return Err(AuthError::WrongCredentials);
        }
        let known = self.people.credentials(email_key).await?;
        let (user, hash) = known.map(|known| (known.user, known.password_hash)).unzip();
        let fits = self.passwords.verify(claim.password, hash, client).await?;
        user.filter(|_| fits).ok_or(AuthError::WrongCredentials)
    }
}

/// A name as it is kept: trimmed. One of which nothing is seen is none.
pub(crate) fn parse_name(text: &str) -> Result<String, AuthError> {
    let name = text.trim();
    let fits = name.chars().count() <= NAME_CHARS_MAX;
    if fits && is_seen(name) && !name.chars().any(char::is_control) {
        Ok(name.to_owned())
    } else {
        Err(AuthError::NameMalformed)
    }
}

/// An e-mail address as it was written, and as it is compared.
pub(crate) fn parse_email(text: &str) -> Result<(String, String), AuthError> {
    const EMAIL_BYTES_MAX: usize = 254;
    let options = Options::default().without_display_text().without_domain_literal();
    let text = text.trim();
    let email = EmailAddress::parse_with_options(text, options);
    if text.len() > EMAIL_BYTES_MAX || email.is_err() || text.chars().any(char::is_control) {
        return Err(AuthError::EmailMalformed);
    }
    Ok((text.to_owned(), email_key(text)))
}

fn email_key(text: &str) -> String {
    text.trim().to_lowercase()
}

/// Refuses passwords that are too short or too long.
pub(crate) fn check_password(password: &Secret) -> Result<(), AuthError> {
    let password = password.reveal();
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Err(AuthError::PasswordTooShort);
    }
    // In bytes: it bounds the work of the hash.
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(AuthError::PasswordTooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use ledger::{
        Credentials, Pending, Session, SignUpRecord, Timestamp, TokenHash, UserId, WalletId,
    };
    use throttle::Rate;

    use super::*;

    /// People of whom one can be made, and has no session then: the disk is full.
    struct Full;

    impl People for Full {
        fn sign_up(
            &self,
            new: NewUser,
            _: Option<IdempotencyKey>,
        ) -> Pending<Result<User, SignUpRefusal>> {
            let NewUser { role, name, email, .. } = new;
            let (id, wallet) = (UserId::FIRST, WalletId::FIRST);
            Box::pin(ready(Ok(Ok(User { id, wallet, role, name, email }))))
        }

        fn sign_up_record(&self, _: IdempotencyKey) -> Pending<Option<SignUpRecord>> {
            Box::pin(ready(Ok(None)))
        }

        fn credentials(&self, _: &str) -> Pending<Option<Credentials>> {
            Box::pin(ready(Ok(None)))
        }

        fn bank(&self) -> Pending<Option<User>> {
            Box::pin(ready(Ok(None)))
        }

        fn set_password(&self, _: UserId, _: String) -> Pending<()> {
            Box::pin(ready(Err(LedgerError::StorageFull)))
        }

        fn open_session(&self, _: Session, _: Option<TokenHash>) -> Pending<Vec<TokenHash>> {
            Box::pin(ready(Err(LedgerError::StorageFull)))
        }

        fn session(&self, _: TokenHash) -> Pending<Option<(Session, User)>> {
            Box::pin(ready(Ok(None)))
        }

        fn touch_session(&self, _: TokenHash, _: Timestamp) -> Pending<()> {
            Box::pin(ready(Err(LedgerError::StorageFull)))
        }

        fn close_session(&self, _: TokenHash) -> Pending<()> {
            Box::pin(ready(Err(LedgerError::StorageFull)))
        }

        fn forget_sessions(&self, _: Timestamp, _: Timestamp) -> Pending<()> {
            Box::pin(ready(Err(LedgerError::StorageFull)))
        }
    }

    #[tokio::test]
    async fn of_a_user_who_was_made_it_is_not_said_that_nothing_was_done() {
        let people: Arc<dyn People> = Arc::new(Full);
        let rate = Rate { burst: 9, interval: Duration::from_secs(1) };
        let expiry = Expiry { idle: Duration::from_secs(60), absolute: Duration::from_secs(60) };
        let auth = Auth::new(
            Arc::clone(&people),
            Passwords::new(1, Duration::from_secs(60)).unwrap(),
            Sessions::new(people, 1, expiry),
            Throttle::new(rate, rate, rate, rate),
        );
        let (name, email) = ("Anna".to_owned(), "a@b.ru".to_owned());
        let password = Secret::new("Pa$$w0rd".to_owned());
        let wanted = SignUp { name, email, password, key: None };
        let refused = auth.sign_up(wanted, "192.0.2.1".parse().unwrap(), None).await;
        assert_eq!(refused.unwrap_err().code(), "outcome_unknown");
    }

    #[test]
    fn names() {
        let family = "👩\u{200d}👧";
        for good in ["test1", "Ё", " Анна Каренина ", &"я".repeat(100), family, "می\u{200c}خواهم"]
        {
            assert_eq!(parse_name(good).unwrap(), good.trim());
        }
        let unseen =
            ["\u{200b}", "\u{ad}\u{ad}", "\u{feff} \u{2060}", "\u{3164}", "\u{e0020}\u{202e}"];
        for bad in ["", "  ", "a\nb", "a\u{0}", &"я".repeat(101)].into_iter().chain(unseen) {
            assert!(parse_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn emails() {
        for good in ["test1@localhost.ru", "bank@localhost", "A.B+c@Example.COM", "иван@почта.рф"]
        {
            let (email, key) = parse_email(good).unwrap();
            assert_eq!((email.as_str(), key), (good, good.to_lowercase()));
        }
        let long = format!("{}@{}.ru", "a".repeat(64), "b".repeat(200));
        for bad in
            ["", "a", "a@", "@b", "a b@c.d", "Ann <a@b.c>", "a@[127.0.0.1]", "a@b\n.c", &long]
        {
            assert!(parse_email(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn passwords() {
        let check = |text: &str| check_password(&Secret::new(text.to_owned())).is_ok();
        assert!(check("Pa$$w0rd") && check(&"x".repeat(1_024)));
        assert!(check("Ёжикёжик") && !check("Ёжик"));
        assert!(!check("Pa$$w0r") && !check("") && !check(&"x".repeat(1_025)));
    }
}
