//! Owns what the environment says: which of its variables count, which of them is refused, and the bank's credentials,
//! which no option gives.
//!
//! Never: what a value means (that is `config`). Bounds: the variables that are known.

use std::env::VarError;

use anyhow::bail;
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command};

use crate::auth::Secret;

/// The command, which takes a variable that is set to nothing for one that is not set, as a `${NAME:-}` makes it; but
/// where the data are is not guessed: an image may say another place than the default, and a new book would be begun.
pub(crate) fn without_empty(command: Command) -> Command {
    let counts = |argument: &Arg| {
        let set = argument.get_env().and_then(std::env::var_os);
        argument.get_id() == "data" || set.is_none_or(|value| !value.is_empty())
    };
    let command = command.mut_args(|argument| match counts(&argument) {
        true => argument,
        false => argument.env(None::<&str>),
    });
    command.mut_subcommands(without_empty)
}

/// The variable that has the value which an error is about.
pub(crate) fn variable_of(error: &clap::Error, mut command: Command) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let (option, value) = (text(ContextKind::InvalidArg)?, text(ContextKind::InvalidValue)?);
    // An option is written out only then.
    command.build();
    let about = command.get_arguments().find(|argument| argument.to_string() == option)?;
    let name = about.get_env()?.to_str()?;
    let set = std::env::var(name).ok()?;
    set.split(',').any(|part| part == value).then(|| format!("{name}={set}"))
}

/// The bank's credentials, as the environment gives them.
#[derive(Debug)]
pub(crate) struct BankEnvironment {
    /// BANK_EMAIL.
    pub(crate) email: Option<String>,
    /// BANK_PASS.
    pub(crate) password: Option<Secret>,
}

impl BankEnvironment {
    /// Reads the environment. What is set to nothing is not set; what is set to something else than text is not
    /// passed over, for a password would be made in its place.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let set = |name| match std::env::var(name) {
            Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
            Err(VarError::NotPresent) => Ok(None),
            Err(VarError::NotUnicode(_)) => bail!("{name} is not UTF-8"),
        };
        Ok(Self { email: set("BANK_EMAIL")?, password: set("BANK_PASS")?.map(Secret::new) })
    }
}
