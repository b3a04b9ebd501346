//! Owns the door to the JSON bodies.
//!
//! Never: a request's session, or what a body leads to. Bounds: linear but for the small number of
//! fields.

use std::collections::VecDeque;
use std::fmt;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use futures_util::FutureExt;
use ledger::{Currency, Details, ExternalId, Rejection, WalletId};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{amount, check_refusal, currency};
use crate::api::json::JsonBody;
use crate::api::wire::{DepositBody, LogInBody, MoneyRefused, SignUpBody, TransferBody};
use crate::auth::{Secret, check_password, parse_email, parse_name};
use crate::money::Order;
use crate::problem::Problem;
use crate::unseen::is_seen;

const DEPOSIT: [&str; 4] = ["wallet_id", "amount", "details", "external_id"];
const TRANSFER: [&str; 3] = ["wallet_id", "amount", "details"];

/// The first byte chooses what the body is for, the rest is the body.
pub fn json(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else { return };
    let request = Request::post("/").header(header::CONTENT_TYPE, "application/json");
    let request = request.body(Body::from(body.to_vec())).unwrap();
    let received = JsonBody::from_request(request, &()).now_or_never().unwrap();
    let received = match received {
        Ok(received) => received,
        Err(problem) => {
            assert!(body.is_empty(), "it says that it is JSON");
            return check_refusal(problem);
        }
    };
    let fields = Fields::of(body);
    match choice % 4 {
        0 => sign_up(received.read(), fields.as_ref()),
        1 => log_in(received.read(), fields.as_ref()),
        2 => {
            let read = received.read().map_err(MoneyRefused::Form);
            let read = read.and_then(|body: DepositBody<'_>| body.parse(currency(choice >> 2)));
            money(read, fields.as_ref(), currency(choice >> 2), &DEPOSIT);
        }
        _ => {
            let read = received.read().map_err(MoneyRefused::Form);
            let read = read.and_then(|body: TransferBody<'_>| body.parse(currency(choice >> 2)));
            money(read, fields.as_ref(), currency(choice >> 2), &TRANSFER);
        }
    }
}

fn sign_up(read: Result<SignUpBody, Problem>, fields: Option<&Fields>) {
    let expected = fields.and_then(|fields| fields.texts(["name", "email", "password"]));
    let found = read.map(|body| {
        check_account(&body.name, &body.email, &body.password);
        [body.name, body.email, body.password.reveal().to_owned()]
    });
    compare(found, expected);
}

fn log_in(read: Result<LogInBody, Problem>, fields: Option<&Fields>) {
    let expected = fields.and_then(|fields| fields.texts(["email", "password"]));
    compare(read.map(|body| [body.email, body.password.reveal().to_owned()]), expected);
}

fn money(
    read: Result<Order, MoneyRefused>,
    fields: Option<&Fields>,
    currency: Currency,
    names: &[&str],
) {
    match (read, fields.and_then(|fields| naive_money(fields, currency, names))) {
        (Ok(order), Some(Ok(expected))) => assert_eq!(order, expected),
        (Err(MoneyRefused::Rule(refusal)), Some(Err(expected))) => assert_eq!(refusal, expected),
        (Err(MoneyRefused::Form(problem)), None) => check_refusal(problem),
        (read, expected) => panic!("{read:?} instead of {expected:?}"),
    }
}

/// An order, or the rule that refuses it; `None` when the form is wrong.
pub(super) fn naive_money(
    fields: &Fields,
    currency: Currency,
    names: &[&str],
) -> Option<Result<Order, Rejection>> {
    fields.has_only(names)?;
    let amount = fields.raw("amount")?;
    let amount = match serde_json::from_str::<String>(amount) {
        Ok(text) => text,
        Err(_) if amount.starts_with(|first: char| "-0123456789".contains(first)) => {
            amount.to_owned()
        }
        Err(_) => return None,
    };
    let wallet = naive_integer(fields.raw("wallet_id")?)?;
    let details = fields.text_or_null("details")?;
    let external_id = fields.text_or_null("external_id")?;
    let details = details.map(|details| details.trim().to_owned());
    let naive = || {
        let amount = amount::naive(&amount, currency)?;
        let details = match details {
            Some(details) if details.chars().count() > 200 => {
                return Err(Rejection::DetailsTooLong);
            }
            Some(details) if details.chars().any(char::is_control) => {
                return Err(Rejection::DetailsMalformed);
            }
            Some(details) if is_seen(&details) => Details::parse(&details)?,
            _ => None,
        };
        let external_id = match external_id {
            Some(id) if id.is_empty() || id.len() > 255 || !id.bytes().all(is_visible) => {
                return Err(Rejection::ExternalIdMalformed);
            }
            Some(id) => Some(ExternalId::parse(&id).unwrap()),
            None => None,
        };
        let to = wallet.parse().ok().and_then(WalletId::new).ok_or(Rejection::WalletNotFound)?;
        Ok(Order { to, amount, details, external_id })
    };
    Some(naive())
}

/// An integer written out, without zeros before it; `None` when it is none. The point is moved a digit at
/// a time, and no further than beyond whatever a fuzzer writes.
fn naive_integer(number: &str) -> Option<String> {
    const MOVES_MAX: i64 = 200_000;
    if !number.starts_with(|first: char| "-0123456789".contains(first)) {
        return None;
    }
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |whole| ("-", whole));
    let mut before: VecDeque<char> = whole.chars().collect();
    let mut after: VecDeque<char> = fraction.chars().collect();
    let beyond = if exponent.starts_with('-') { -MOVES_MAX } else { MOVES_MAX };
    let exponent = exponent.parse().unwrap_or(beyond).clamp(-MOVES_MAX, MOVES_MAX);
    for _ in 0..exponent {
        before.push_back(after.pop_front().unwrap_or('0'));
    }
    for _ in exponent..0 {
        after.push_front(before.pop_back().unwrap_or('0'));
    }
    let digits: String = before.into_iter().skip_while(|digit| *digit == '0').collect();
    after.iter().all(|digit| *digit == '0').then(|| format!("{sign}{digits}"))
}

fn is_visible(byte: u8) -> bool {
    (b'!'..=b'~').contains(&byte)
}

/// What is looked at when somebody signs up, by a page or by JSON.
pub(super) fn check_account(name: &str, email: &str, password: &Secret) {
    if let Ok(kept) = parse_name(name) {
        assert_eq!(kept, name.trim());
        assert!(!kept.is_empty() && kept.chars().count() <= 100, "{kept:?}");
        assert_eq!(parse_name(&kept).ok(), Some(kept));
    }
    if let Ok((kept, key)) = parse_email(email) {
        assert_eq!(kept, email.trim());
        assert!(kept.len() <= 254 && kept.contains('@'), "{kept:?}");
        // Whoever writes the address as it is kept, or as it is compared, is the same person.
        assert_eq!(parse_email(&kept).ok(), Some((kept, key.clone())));
        assert_eq!(key.trim().to_lowercase(), key);
    }
    let letters = password.reveal().chars().count();
    let fits = letters >= 8 && password.reveal().len() <= 1_024;
    assert_eq!(check_password(password).is_ok(), fits);
}

fn compare<const COUNT: usize>(
    read: Result<[String; COUNT], Problem>,
    expected: Option<[String; COUNT]>,
) {
    match read {
        Ok(found) => assert_eq!(Some(found), expected),
        Err(problem) => {
            assert_eq!(expected, None, "refused: {problem:?}");
            check_refusal(problem);
        }
    }
}

/// The fields of an object as they stand there, one after the other.
pub(super) struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    pub(super) fn of(body: &[u8]) -> Option<Self> {
        serde_json::from_str(std::str::from_utf8(body).ok()?).ok()
    }

    /// `None` when there is another one, or one of them twice.
    pub(super) fn has_only(&self, names: &[&str]) -> Option<()> {
        let mut left = names.to_vec();
        for (name, _) in &self.0 {
            let place = left.iter().position(|candidate| candidate == name)?;
            left.remove(place);
        }
        Some(())
    }

    pub(super) fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, raw)| raw.get())
    }

    /// The text of a field that need not be there; `None` when it is something else than text.
    pub(super) fn text_or_null(&self, name: &str) -> Option<Option<String>> {
        self.raw(name).map_or(Some(None), |raw| serde_json::from_str(raw).ok())
    }

    /// The texts of exactly these fields.
    fn texts<const COUNT: usize>(&self, names: [&str; COUNT]) -> Option<[String; COUNT]> {
        self.has_only(&names)?;
        let texts = names.map(|name| serde_json::from_str(self.raw(name)?).ok());
        texts.iter().all(Option::is_some).then(|| texts.map(Option::unwrap_or_default))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Each)
    }
}
