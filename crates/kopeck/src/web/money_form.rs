//! Owns how the form that moves money looks: what was typed, what is wrong with it, and its key.
//!
//! Never: what happens when it is sent (that is `money_forms`). Bounds: one form a page.
//!
//! A form that comes back keeps the key it came with, unless the ledger has refused what it asks
//! for: an earlier try of the same form may have been done without anybody being told, and with a
//! fresh key it would be paid twice. Keys are the payer's own, so keeping one harms nobody else.
//!
//! A key is not remembered for ever. A form that is as old comes back with a fresh one, and is said to have been sent
//! before, perhaps.
//!
//! A form says whose wallet it was made for. Who logs in to another one in another tab has a key of
//! their own under the same name, so it would be paid twice, and from a wallet that nobody meant.
//!
//! A form says which language its page is in, for `1,500` is not the same amount in each, and the
//! language may have been switched in another tab since. Shown again on a page in another language,
//! the amount is written as that one has it.

use ledger::{
    Amount, Balance, Currency, DETAILS_CHARS_MAX, IdempotencyKey, MINOR_UNITS_MAX, Rejection,
    WalletId,
};
use serde::Deserialize;

use super::amount_field;
use super::form_key;
use super::format;
use super::forms::{Field, Form};
use super::language::Language;
use super::text::Value;
use super::wallet_words::WalletWords;

/// What a form that moves money sends. A field that is missing is an empty one.
#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub(crate) struct MoneyInput {
    pub(crate) form_token: String,
    key: String,
    wallet: String,
    language: String,
    pub(crate) to: String,
    pub(crate) amount: String,
    pub(crate) details: String,
}

impl MoneyInput {
    /// The key that came with it, if a form of ours gave it.
    pub(crate) fn key(&self) -> Option<IdempotencyKey> {
        form_key::read(&self.key)
    }

    /// Whether it was made for another wallet, if the form says for which.
    pub(crate) fn is_of_another(&self, wallet: WalletId) -> bool {
        !self.wallet.is_empty() && self.wallet != wallet.to_string()
    }

    /// The language of the page that it was typed on, if the form says one that there is.
    pub(crate) fn language(&self) -> Option<Language> {
        Language::ALL.into_iter().find(|language| language.tag() == self.language)
    }

    /// The amount as it is to stand on a page in this language. What can be read there only, and not
    /// where it was typed, is left out: nobody has meant it.
    fn amount_on_page(&self, language: Language, currency: Currency) -> String {
        let as_typed = self.amount.clone();
        let Some(other) = self.language().filter(|other| *other != language) else {
            return as_typed;
        };
        match amount_field::parse(&self.amount, other, currency) {
            Ok(amount) => format::typed(amount, language, currency),
            Err(_) if amount_field::parse(&self.amount, language, currency).is_ok() => {
                String::new()
            }
            Err(_) => as_typed,
        }
    }
}

/// A refusal: the field it is about, if any, and the code.
pub(crate) type Refusal = (Option<&'static str>, &'static str);

/// The form as it is to be shown: what was typed, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct MoneyForm {
    typed: MoneyInput,
    refusals: Vec<Refusal>,
    keeps_key: bool,
}

impl MoneyForm {
    /// It was not done, or nobody knows: sending it again is the same request.
    pub(super) fn again(typed: MoneyInput, refusals: Vec<Refusal>) -> Self {
        let keeps_key = typed.key().is_some();
        Self { typed, refusals, keeps_key }
    }

    /// It was made for another wallet: what was typed is not this one's, and neither is the key.
    pub(super) fn of_another() -> Self {
        Self::anew(MoneyInput::default(), vec![(None, "other_wallet")])
    }

    /// The ledger refused it: sending it again is a new request.
    pub(super) fn anew(typed: MoneyInput, refusals: Vec<Refusal>) -> Self {
        Self { typed, refusals, keeps_key: false }
    }

    /// Whether its key would be lost if it were not shown.
    pub(super) fn keeps_key(&self) -> bool {
        self.keeps_key
    }
}

/// The form for a wallet's page: the bank's pays in, everybody else's sends. `None`: the system gave
/// no randomness for the key. The balance is `None` where it cannot be read.
pub(super) fn form(
    form: MoneyForm,
    words: &WalletWords<'_>,
    balance: Option<Balance>,
    form_token: &str,
) -> Option<Form> {
    let MoneyForm { typed, refusals, keeps_key } = form;
    let language = words.language;
    let (id, action, to, submit) = if words.is_bank() {
        (
            "deposit-form",
            "/deposit",
            language.say("field-to-deposit"),
            language.say("deposit-submit"),
        )
    } else {
        ("send-form", "/send", language.say("field-to"), language.say("send-submit"))
    };
    let typed_amount = typed.amount_on_page(language, words.currency);
    let amount = language.say_one("field-amount", "currency", &words.currency.symbol());
    let fields = vec![
        Field::text("to", to, &typed.to).typed_on("numeric"),
        Field::text("amount", amount, &typed_amount).typed_on("decimal"),
        Field::text("details", language.say("field-details"), &typed.details).optional(),
    ];
    let key = if keeps_key { typed.key } else { form_key::fresh()? };
    let form_token = form_token.to_owned();
    let (key, language) = (Some(key), Some(language.tag()));
    let wallet = Some(words.user.wallet.to_string());
    let mut form =
        Form { id, action, submit, fields, form_token, key, wallet, language, problem: None };
    for (field, code) in refusals {
        form.refuse(field, explain(words, balance, code));
    }
    Some(form)
}

/// The words for a code.
fn explain(words: &WalletWords<'_>, balance: Option<Balance>, code: &str) -> String {
    let (language, currency) = (words.language, words.currency);
    if code == Rejection::DetailsTooLong.code() {
        let max = [("max", Value::Count(DETAILS_CHARS_MAX))];
        return language.say_with("error-details_too_long", &max);
    }
    let balance = balance.map_or_else(String::new, |balance| words.balance(balance));
    let example = format::example(language, currency);
    let max = Amount::from_minor(MINOR_UNITS_MAX)
        .map_or_else(|_| String::new(), |amount| format::amount(amount, language, currency));
    let values = [
        ("balance", Value::Text(&balance)),
        ("currency", Value::Text(currency.code())),
        ("digits", Value::Count(currency.exponent())),
        ("example", Value::Text(&example)),
        ("max", Value::Text(&max)),
    ];
    language.say_with(&format!("error-{code}"), &values)
}

#[cfg(test)]
mod tests {
    use super::{Currency, Language, MoneyForm, MoneyInput, Rejection};

    #[test]
    fn a_form_that_is_not_refused_for_good_keeps_a_good_key() {
        let typed = |key: &str| MoneyInput { key: key.to_owned(), ..MoneyInput::default() };
        assert!(MoneyForm::again(typed("form-1"), Vec::new()).keeps_key());
        assert!(!MoneyForm::again(typed(""), Vec::new()).keeps_key());
        assert!(!MoneyForm::again(typed("theirs"), Vec::new()).keeps_key());
        assert!(!MoneyForm::anew(typed("form-1"), Vec::new()).keeps_key());
    }

    #[test]
    fn an_amount_means_the_same_on_a_page_in_another_language() {
        let check = |language: &str, amount: &str, english: &str, russian: &str| {
            let typed = MoneyInput {
                language: language.to_owned(),
                amount: amount.to_owned(),
                ..MoneyInput::default()
            };
            let dinar = Currency::parse("KWD").unwrap();
            let shown = Language::ALL.map(|language| typed.amount_on_page(language, dinar));
            assert_eq!(shown, [english, russian], "{amount} typed in {language:?}");
        };
        check("ru", "1,500", "1.500", "1,500");
        check("en", "1,500", "1,500", "1\u{a0}500,000");
        check("ru", "1500", "1,500.000", "1500");
        check("ru", "1,234,567", "", "1,234,567");
        check("en", "1,5", "1,5", "");
        check("ru", "-5", "-5", "-5");
        check("ru", "five", "five", "five");
        check("ru", "", "", "");
        for unknown in ["", "de", "ru-RU", "RU"] {
            check(unknown, "1,500", "1,500", "1,500");
        }
    }

    #[test]
    fn every_word_of_a_refusal_exists() {
        let own = [
            "wallet_missing",
            "wallet_malformed",
            "amount_missing",
            "stale_form",
            "stale_payment",
            "old_form",
            "other_wallet",
            "refused_before",
        ];
        for code in Rejection::ALL.iter().map(|rejection| rejection.code()).chain(own) {
            for language in Language::ALL {
                assert!(language.knows(&format!("error-{code}")), "{code}");
            }
        }
    }
}
