//! Owns the bank's making at first start, and the change of its password.
//!
//! Never: a password kept, or taken from the command line; a bank changed because the environment
//! did. Bounds: one bank, user 1 with wallet 1.

use std::io::{BufRead, IsTerminal};
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, bail};
use ledger::{NewUser, People, Role, User};

use crate::auth::password::{Passwords, hash_now};
use crate::auth::{Secret, check_password, parse_email};
use crate::environment::BankEnvironment;

/// The bank's e-mail address when BANK_EMAIL does not give one.
const EMAIL_DEFAULT: &str = "bank@localhost";
const NAME: &str = "Bank";
/// Who asks for its hashes: the service itself.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const HOW_TO_CHANGE: &str = "stop the service and run `kopeck bank set-password` to change it";

/// A bank that was just made with a password of our own making, to be shown once.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) email: String,
    pub(crate) password: Secret,
}

/// Makes the bank if there is none, else says where the environment differs from it.
pub(crate) async fn ensure(
    people: &dyn People,
    passwords: &Passwords,
    environment: BankEnvironment,
) -> anyhow::Result<Option<Made>> {
    match people.bank().await? {
        Some(bank) => {
            compare(people, passwords, &bank, environment).await?;
            Ok(None)
        }
        None => make(people, passwords, environment).await,
    }
}

/// Whether a bank can be made of this: its address, as it is kept and as it is compared.
pub(crate) fn check(environment: &BankEnvironment) -> anyhow::Result<(String, String)> {
    let email = environment.email.as_deref().unwrap_or(EMAIL_DEFAULT);
    let email = parse_email(email).context("BANK_EMAIL")?;
    if let Some(password) = &environment.password {
        check_password(password).context("BANK_PASS")?;
    }
    Ok(email)
}

async fn make(
    people: &dyn People,
    passwords: &Passwords,
    environment: BankEnvironment,
) -> anyhow::Result<Option<Made>> {
    let (email, email_key) = check(&environment)?;
    let given = environment.password;
    let made = given.is_none();
    let password = given.map_or_else(generate, Ok)?;
    let password_hash = passwords.hash(password.clone(), HERE).await?;
    let name = NAME.to_owned();
    let new = NewUser { role: Role::Bank, name, email: email.clone(), email_key, password_hash };
    people.sign_up(new, None).await??;
    Ok(made.then_some(Made { email, password }))
}

/// Environment variables that changed change nothing: whoever can set them could otherwise take
/// over the bank by a restart. They are not passed over in silence either.
async fn compare(
    people: &dyn People,
    passwords: &Passwords,
    bank: &User,
    environment: BankEnvironment,
) -> anyhow::Result<()> {
    let (_, email_key) = parse_email(&bank.email).context("the bank's kept e-mail address")?;
    if let Some(email) = environment.email
        && email.trim().to_lowercase() != email_key
    {
        tracing::warn!(
            kept = bank.email,
            "BANK_EMAIL is not the bank's e-mail address and was ignored: the bank was made at the \
             first start and keeps its address"
        );
    }
    let Some(password) = environment.password else { return Ok(()) };
    let kept = people.credentials(&email_key).await?.map(|known| known.password_hash);
    if !passwords.verify(password, kept, HERE).await? {
        tracing::warn!(
            "BANK_PASS is not the bank's password and was ignored: the password was set before; \
             {HOW_TO_CHANGE}"
        );
    }
    Ok(())
}

/// `kopeck bank set-password`: the bank's new password, its sessions closed.
pub(crate) async fn set_password(people: &dyn People) -> anyhow::Result<User> {
    let bank = people.bank().await?;
    let Some(bank) = bank else {
        bail!("there is no bank yet: it is made when the service starts for the first time");
    };
    let password = read_password()?;
    check_password(&password)?;
    people.set_password(bank.id, hash_now(&password)?).await?;
    Ok(bank)
}

/// Asks twice on a terminal; elsewhere takes one line of standard input.
fn read_password() -> anyhow::Result<Secret> {
    if !std::io::stdin().is_terminal() {
        let mut line = String::new();
        std::io::stdin().lock().read_line(&mut line).context("standard input")?;
        return Ok(Secret::new(line.trim_end_matches(['\r', '\n']).to_owned()));
    }
    let ask = |prompt| rpassword::prompt_password(prompt).map(Secret::new);
    let password = ask("The bank's new password: ")?;
    check_password(&password)?;
    let again = ask("Once more: ")?;
    if password.reveal() != again.reveal() {
        bail!("the two are not the same; nothing was changed");
    }
    Ok(password)
}

/// 125 bits from the operating system, in five groups that can be read aloud.
fn generate() -> anyhow::Result<Secret> {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
    let mut bytes = [0_u8; 25];
    getrandom::fill(&mut bytes)?;
    let letter = |byte: &u8| LETTERS.get(usize::from(byte % 32)).map(|letter| char::from(*letter));
    let groups: Vec<String> =
        bytes.chunks(5).map(|group| group.iter().filter_map(letter).collect()).collect();
    Ok(Secret::new(groups.join("-")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_passwords_are_strong() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_eq!(one.reveal().len(), 29);
        assert_ne!(one.reveal(), other.reveal());
        check_password(&one).unwrap();
    }
}
