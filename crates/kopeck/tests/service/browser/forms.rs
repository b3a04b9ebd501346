//! What forms do when something is not as they left it, and the way through a long history.

use super::driver::{Browser, Device};
use super::{ENGLISH, KEY, PASSWORD, SUBMIT, balance, fill_in_a_payment, history, submit};
use crate::harness::{Person, Service};

async fn log_in(browser: &Browser, person: &Person) {
    browser.open("/login").await;
    browser.fill("#email", &person.email).await;
    browser.fill("#password", PASSWORD).await;
    browser.click(SUBMIT).await;
}

/// Anna, with money, and Boris, whose wallet is number 3.
async fn two_people(service: &Service, amount: &str) -> (Person, Person) {
    let anna = service.sign_up_with("anna", amount).await;
    (anna, service.sign_up("boris").await)
}

/// A payment went through, but the answer was lost. Its page is sent again after another log-in.
#[tokio::test]
async fn a_page_from_before_the_log_in_pays_once() {
    let service = Service::start();
    let (anna, _boris) = two_people(&service, "100").await;
    let browser = Browser::start(service.url(), Device::Desktop, "en").await;
    log_in(&browser, &anna).await;
    fill_in_a_payment(&browser, "7").await;
    let key = browser.value(KEY).await;
    assert!(submit(&browser).await.is_redirection());

    // What another log-in does to the page that is still open.
    let stale = "document.querySelector('form.fields [name=form_token]').value = 'stale'";
    browser.client.execute(stale, vec![]).await.unwrap();
    browser.click(SUBMIT).await;
    let words = browser.text("#problems").await;
    assert!(words.contains("paid once") && !words.contains("othing was sent"), "{words}");
    assert_eq!(browser.value(KEY).await, key);
    assert_eq!(browser.value("#amount").await, "7");
    browser.inspect_with_status("wallet-stale", 403).await;

    browser.click(SUBMIT).await;
    browser.find("#flash").await;
    assert_eq!(balance(&browser).await, ENGLISH.money("93.00"));
    assert_eq!(history(&browser).await, 2);
    browser.close().await;
}

/// A number is understood as people write it; a body that no form of ours has is answered in words.
#[tokio::test]
async fn what_is_typed_may_be_odd() {
    let service = Service::start();
    let (anna, _boris) = two_people(&service, "100").await;
    let browser = Browser::start(service.url(), Device::Phone, "en").await;
    log_in(&browser, &anna).await;
    browser.open("/").await;
    browser.fill("#to", "\u{2116} 003").await;
    browser.fill("#amount", "1").await;
    browser.click(SUBMIT).await;
    browser.find("#flash").await;
    assert_eq!(balance(&browser).await, ENGLISH.money("99.00"));
    browser.forget_logs().await;

    browser.fill("#to", "3").await;
    browser.fill("#amount", "1").await;
    let long = "document.querySelector('#details').value = 'x'.repeat(100000)";
    browser.client.execute(long, vec![]).await.unwrap();
    browser.click(SUBMIT).await;
    assert_eq!(browser.text("h1").await, "That is too large");
    browser.inspect_with_status("too-large", 413).await;
    browser.close().await;
}

#[tokio::test]
async fn a_long_history_has_pages() {
    let service = Service::start();
    let (anna, boris) = two_people(&service, "100").await;
    for _ in 0..45 {
        anna.client.transfer(boris.wallet, "1").await.expect_ok();
    }
    let browser = Browser::start(service.url(), Device::Phone, "en").await;
    log_in(&browser, &anna).await;
    let mut newest_of_pages = Vec::new();
    for (entries, has_newer, has_older) in [(20, false, true), (20, true, true), (6, true, false)] {
        assert_eq!(history(&browser).await, entries);
        assert_eq!(browser.has("#newer").await, has_newer);
        assert_eq!(browser.has("#older").await, has_older);
        newest_of_pages.push(newest(&browser).await);
        browser.inspect("wallet-paged").await;
        if has_older {
            browser.click("#older").await;
        }
    }
    assert!(newest_of_pages.is_sorted_by(|newer, older| newer > older), "{newest_of_pages:?}");
    browser.click("#newer").await;
    assert_eq!(newest(&browser).await, newest_of_pages[1]);
    browser.click("#newer").await;
    assert_eq!(newest(&browser).await, newest_of_pages[0]);
    browser.click("#older").await;
    browser.click("#newest").await;
    assert_eq!(newest(&browser).await, newest_of_pages[0]);
    browser.close().await;
}

/// The operation of the first entry that is shown.
async fn newest(browser: &Browser) -> u64 {
    let id = browser.find("#history tbody tr").await.attr("id").await.unwrap().unwrap();
    id.strip_prefix("operation-").unwrap().parse().unwrap()
}
