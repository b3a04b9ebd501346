//! The pages, as people use them: in a real browser, at a desk and on a phone, in both languages.
//!
//! Every page that is come by is looked over ([`Browser::inspect`]): it does not scroll sideways,
//! the console is quiet, no other host is asked. `SCREENSHOTS=folder` keeps their pictures.

mod balances;
mod driver;
mod forms;
mod letters;

use driver::{Browser, Device};

use crate::harness::{BANK_EMAIL, BANK_PASS, PASSWORD, Service};

const SUBMIT: &str = "form.fields button[type=submit]";
const KEY: &str = "form.fields input[name=key]";
const EMAIL: &str = "test1@localhost.ru";
const FRIEND: &str = "3";

/// What differs between the languages.
#[derive(Debug, Clone, Copy)]
struct Words {
    language: &'static str,
    other_language: &'static str,
    log_in: &'static str,
    send: &'static str,
    done: &'static str,
    download: &'static str,
    one_of_two: &'static str,
    point: char,
}

const ENGLISH: Words = Words {
    language: "en",
    other_language: "ru",
    log_in: "Log in",
    send: "Send",
    done: "Done: ",
    download: "Download as CSV",
    one_of_two: "one of the two wallets",
    point: '.',
};
const RUSSIAN: Words = Words {
    language: "ru",
    other_language: "en",
    log_in: "Войти",
    send: "Перевести",
    done: "Готово: ",
    download: "Скачать в CSV",
    one_of_two: "одного из двух кошельков",
    point: ',',
};

impl Words {
    /// `115.60` as the language writes it.
    fn number(self, text: &str) -> String {
        text.replace('.', &self.point.to_string())
    }

    /// `115.60` as money.
    fn money(self, text: &str) -> String {
        let number = self.number(text);
        match self.language {
            "ru" => format!("{number} ₽"),
            _ => format!("₽{number}"),
        }
    }
}

#[tokio::test]
async fn at_a_desk_in_english() {
    everyday(Device::Desktop, ENGLISH).await;
}

#[tokio::test]
async fn at_a_desk_in_russian() {
    everyday(Device::Desktop, RUSSIAN).await;
}

#[tokio::test]
async fn on_a_phone_in_english() {
    everyday(Device::Phone, ENGLISH).await;
}

#[tokio::test]
async fn on_a_phone_in_russian() {
    everyday(Device::Phone, RUSSIAN).await;
}

/// The life of a wallet, from the start page to logging in again.
async fn everyday(device: Device, words: Words) {
    let service = Service::start();
    let browser = Browser::start(service.url(), device, words.language).await;
    strangers_see_the_doors(&browser, words).await;
    sign_up(&browser, words).await;
    assert_eq!(service.sign_up("friend").await.wallet.to_string(), FRIEND);
    log_out(&browser).await;
    the_bank_pays(&browser, words).await;
    log_in(&browser, words).await;
    pay(&browser, words).await;
    refusals_keep_what_was_typed(&browser, words).await;
    twice_pays_once(&browser, words).await;
    switch_language(&browser, words).await;
    browser.open("/logout").await;
    browser.inspect("log-out").await;
    browser.click("#log-out-form button").await;
    browser.inspect("logged-out").await;
    nothing_is_left_behind(&browser).await;
    log_in(&browser, words).await;
    assert_eq!(balance(&browser).await, words.money("100.50"));
    browser.close().await;
}

/// The balance as it is shown. The driver writes no-break spaces as plain ones.
async fn balance(browser: &Browser) -> String {
    browser.text("#balance").await
}

async fn strangers_see_the_doors(browser: &Browser, words: Words) {
    browser.open("/").await;
    let width = browser.client.execute("return window.innerWidth", vec![]).await.unwrap();
    assert_eq!(
        width.as_i64(),
        Some(browser.device.width()),
        "the window has not the width it should have"
    );
    browser.inspect("start").await;
    assert_eq!(browser.find("html").await.attr("lang").await.unwrap().unwrap(), words.language);
    browser.open("/login").await;
    browser.inspect("log-in").await;
    assert_eq!(browser.text(SUBMIT).await, words.log_in);
    browser.open("/no-such-page").await;
    browser.inspect_with_status("not-found", 404).await;
    browser.open("/docs/").await;
    browser.find(".information-container").await;
    browser.inspect("docs").await;
    let script = "return [...document.querySelectorAll('.renderedMarkdown code')].map(code => \
                  code.getBoundingClientRect().height - code.getClientRects().length * 20)";
    let over = browser.client.execute(script, vec![]).await.unwrap();
    let over: Vec<f64> = serde_json::from_value(over).unwrap();
    assert!(!over.is_empty() && over.iter().all(|over| *over < 0.0), "on other lines: {over:?}");
}

async fn sign_up(browser: &Browser, words: Words) {
    browser.open("/signup").await;
    browser.inspect("sign-up").await;
    browser.fill("#name", "test1").await;
    browser.fill("#email", EMAIL).await;
    let hint = browser.find("#password").await.attr("aria-describedby").await.unwrap();
    assert_eq!(hint.as_deref(), Some("password-hint"), "the bounds are told before an error");
    assert!(browser.text("#password-hint").await.contains('8'));
    browser.fill("#password", "short").await;
    browser.click(SUBMIT).await;
    browser.inspect_with_status("sign-up-refused", 422).await;
    assert_error(browser, "password").await;
    assert_eq!(browser.value("#name").await, "test1");
    assert_eq!(browser.value("#email").await, EMAIL);
    browser.fill("#password", PASSWORD).await;
    browser.click(SUBMIT).await;
    assert_eq!(browser.text("#wallet-number").await, "2");
    assert_eq!(balance(browser).await, words.money("0.00"));
    assert_eq!(browser.text(SUBMIT).await, words.send);
    browser.inspect("wallet-new").await;
}

async fn log_out(browser: &Browser) {
    browser.click("#log-out").await;
    browser.inspect("logged-out").await;
    assert!(!browser.has("#log-out").await, "still logged in");
}

async fn the_bank_pays(browser: &Browser, words: Words) {
    browser.open("/login").await;
    browser.fill("#email", BANK_EMAIL).await;
    browser.fill("#password", BANK_PASS).await;
    browser.click(SUBMIT).await;
    browser.inspect("bank-new").await;
    browser.fill("#to", "2").await;
    browser.fill("#amount", &words.number("115.6")).await;
    browser.fill("#details", "Перевод из Тинькофф").await;
    browser.click(SUBMIT).await;
    browser.find("#flash").await;
    assert_eq!(balance(browser).await, format!("\u{2212}{}", words.money("115.60")));
    browser.inspect("bank").await;
    log_out(browser).await;
}

async fn log_in(browser: &Browser, words: Words) {
    browser.open("/login").await;
    browser.fill("#email", EMAIL).await;
    browser.fill("#password", "not it at all").await;
    browser.click(SUBMIT).await;
    browser.inspect_with_status("log-in-refused", 401).await;
    assert_eq!(browser.value("#email").await, EMAIL);
    assert_eq!(browser.value("#password").await, "", "a password is not sent back");
    browser.fill("#password", PASSWORD).await;
    browser.click(SUBMIT).await;
    assert_eq!(browser.text("#wallet-number").await, "2");
    browser.inspect("wallet").await;
    assert_eq!(browser.text(SUBMIT).await, words.send);
}

async fn pay(browser: &Browser, words: Words) {
    assert_eq!(balance(browser).await, words.money("115.60"));
    browser.fill("#to", FRIEND).await;
    browser.fill("#amount", &words.number("11.1")).await;
    // From the keyboard: the key Enter sends the form.
    browser.fill("#details", "lunch").await;
    browser.press_enter("#details").await;
    browser.find("#flash").await;
    assert_done_is_read_out(browser, words).await;
    assert_eq!(balance(browser).await, words.money("104.50"));
    assert_eq!(browser.value("#amount").await, "", "a paid form starts anew");
    assert_eq!(history(browser).await, 2);
    let newest = browser.text("#history tbody tr").await;
    assert!(newest.contains("lunch") && newest.contains(&words.number("11.10")), "{newest}");
    assert_eq!(browser.text("#download").await, words.download);
    let script = "const left = selector => {
        const words = document.createRange();
        words.selectNodeContents(document.querySelector(selector));
        return words.getBoundingClientRect().left;
    };
    return Math.round(left('#download') - left('#history .what-text'));";
    let off = browser.client.execute(script, vec![]).await.unwrap();
    assert_eq!(off.as_i64(), Some(0), "the download's words stand in line with the history's");
    browser.inspect("wallet-paid").await;
    // The address of that page pays nothing when it is loaded again.
    browser.client.refresh().await.unwrap();
    assert_eq!(balance(browser).await, words.money("104.50"));
}

/// A screen reader reads the title and what has the focus; neither moves the balance out of view.
async fn assert_done_is_read_out(browser: &Browser, words: Words) {
    let title = browser.client.title().await.unwrap();
    assert!(title.starts_with(words.done), "{title}");
    let seen = "const [balance, flash] = ['balance', 'flash']\
                    .map(id => document.getElementById(id).getBoundingClientRect()); \
                return [document.activeElement.id, balance.top >= 0, \
                        flash.bottom <= window.innerHeight]";
    let seen = browser.client.execute(seen, vec![]).await.unwrap();
    assert_eq!(seen, serde_json::json!(["flash", true, true]));
}

async fn history(browser: &Browser) -> usize {
    let rows = browser.client.find_all(fantoccini::Locator::Css("#history tbody tr"));
    rows.await.unwrap().len()
}

/// The error of a field is shown beside it, and tied to it for those who do not see the page.
async fn assert_error(browser: &Browser, field: &str) {
    let id = format!("{field}-error");
    assert!(!browser.text(&format!("#{id}")).await.is_empty(), "{id} says nothing");
    let input = browser.find(&format!("#{field}")).await;
    assert_eq!(input.attr("aria-invalid").await.unwrap().as_deref(), Some("true"));
    let told = input.attr("aria-describedby").await.unwrap().unwrap();
    assert_eq!(told.split(' ').next(), Some(id.as_str()), "the error is read out first");
}

async fn refusals_keep_what_was_typed(browser: &Browser, words: Words) {
    for (to, amount, wrong, keeps_key) in [
        (FRIEND, words.number("104.51"), "amount", false),
        (FRIEND, words.number("0.001"), "amount", true),
        (FRIEND, "-1".to_owned(), "amount", true),
        (FRIEND, "abc".to_owned(), "amount", true),
        ("2", "1".to_owned(), "to", false),
        ("77", "1".to_owned(), "to", false),
    ] {
        browser.open("/").await;
        let key = browser.value(KEY).await;
        browser.fill("#to", to).await;
        browser.fill("#amount", &amount).await;
        browser.fill("#details", "for \"you\" & <me>").await;
        browser.click(SUBMIT).await;
        assert_error(browser, wrong).await;
        assert_eq!(browser.value("#to").await, to);
        assert_eq!(browser.value("#amount").await, amount);
        assert_eq!(browser.value("#details").await, "for \"you\" & <me>");
        assert_eq!(browser.value(KEY).await == key, keeps_key, "{to} {amount}");
        assert_eq!(balance(browser).await, words.money("104.50"));
        browser.inspect_with_status("wallet-refused", 422).await;
    }
}

async fn fill_in_a_payment(browser: &Browser, amount: &str) {
    browser.open("/").await;
    browser.fill("#to", FRIEND).await;
    browser.fill("#amount", amount).await;
    browser.forget_logs().await;
}

async fn payments_sent(browser: &Browser) -> usize {
    let requests = browser.requests().await;
    requests.iter().filter(|(method, path)| method == "POST" && path.ends_with("/send")).count()
}

/// An impatient double click, and the same form sent twice at the same time.
async fn twice_pays_once(browser: &Browser, words: Words) {
    fill_in_a_payment(browser, "1").await;
    browser.double_click(SUBMIT).await;
    browser.find("#flash").await;
    assert!(payments_sent(browser).await >= 1, "the double click sent nothing");
    assert_eq!(balance(browser).await, words.money("103.50"));
    assert_eq!(history(browser).await, 3);

    fill_in_a_payment(browser, "3").await;
    let (one, two) = tokio::join!(submit(browser), submit(browser));
    assert!(one.is_redirection() && two.is_redirection(), "{one} {two}");
    browser.open("/").await;
    assert_eq!(balance(browser).await, words.money("100.50"));
    assert_eq!(history(browser).await, 4);
    browser.forget_logs().await;
}

/// Sends the form as it stands, with the browser's cookies, and without waiting for the browser,
/// which would break off the first of two.
async fn submit(browser: &Browser) -> reqwest::StatusCode {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    for field in ["form_token", "key", "to", "amount", "details"] {
        let input = format!("form.fields [name={field}]");
        body.append_pair(field, &browser.value(&input).await);
    }
    let cookies = browser.client.get_all_cookies().await.unwrap();
    let cookies: Vec<String> =
        cookies.iter().map(|cookie| format!("{}={}", cookie.name(), cookie.value())).collect();
    let no_redirect = reqwest::redirect::Policy::none();
    let client = reqwest::Client::builder().redirect(no_redirect).no_proxy().build().unwrap();
    let request = client
        .post(browser.client.current_url().await.unwrap().join("/send").unwrap())
        .header("cookie", cookies.join("; "))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("sec-fetch-site", "same-origin")
        .body(body.finish());
    request.send().await.unwrap().status()
}

async fn switch_language(browser: &Browser, words: Words) {
    let other = if words.language == "en" { RUSSIAN } else { ENGLISH };
    browser.click(&format!("a[hreflang={}]", words.other_language)).await;
    assert_eq!(balance(browser).await, other.money("100.50"));
    assert_eq!(browser.text(SUBMIT).await, other.send);
    browser.inspect("wallet-switched").await;
    browser.open("/").await;
    assert_eq!(balance(browser).await, other.money("100.50"), "the choice was not remembered");
    browser.click(&format!("a[hreflang={}]", words.language)).await;
    assert_eq!(balance(browser).await, words.money("100.50"));
}

/// Who sits down at the same machine after a log-out sees nothing by going back.
async fn nothing_is_left_behind(browser: &Browser) {
    browser.client.back().await.unwrap();
    assert!(!browser.has("#balance").await, "the wallet can still be seen by going back");
    browser.open("/").await;
    assert!(!browser.has("#balance").await);
    browser.forget_logs().await;
}

/// A link and a form on another site: the browser sends them with the cookie, or without; either
/// way nobody is logged out.
#[tokio::test]
async fn another_site_logs_nobody_out() {
    let service = Service::start();
    let browser = Browser::start(service.url(), Device::Desktop, "en").await;
    sign_up(&browser, ENGLISH).await;
    let logout = format!("{}/logout", service.url());
    let site = format!(
        "data:text/html,<a href='{logout}'>prize</a>\
         <form method=post action='{logout}'><button>prize</button></form>"
    );
    for trap in ["a", "button"] {
        browser.client.goto(&site).await.unwrap();
        browser.click(trap).await;
        let url = browser.client.current_url().await.unwrap();
        assert!(url.as_str().starts_with(service.url()), "the trap led to {url}");
        browser.open("/").await;
        assert_eq!(browser.text("#wallet-number").await, "2", "{trap} logged somebody out");
    }
    browser.close().await;
}
