//! A balance is shown whole, however great it is: nothing of it stands beyond the card that it is on.

use serde_json::json;

use super::driver::{Browser, Device};
use super::{ENGLISH, RUSSIAN, SUBMIT, Words};
use crate::harness::{BANK_EMAIL, BANK_PASS, Service};

#[tokio::test]
async fn a_balance_of_any_length_is_shown_whole() {
    for device in [Device::Phone, Device::Desktop] {
        for words in [ENGLISH, RUSSIAN] {
            shown_whole(device, words).await;
        }
    }
}

/// The bank's, as it grows to the greatest that there is: it has a minus, and so it is longer than anybody else's.
async fn shown_whole(device: Device, words: Words) {
    let service = Service::start();
    let (bank, person) = (service.bank().await, service.sign_up("test1").await);
    let browser = Browser::start(service.url(), device, words.language).await;
    browser.open("/login").await;
    browser.fill("#email", BANK_EMAIL).await;
    browser.fill("#password", BANK_PASS).await;
    browser.click(SUBMIT).await;
    bank.deposit(person.wallet, "0.99").await.expect_ok();
    for zeros in 0..13 {
        bank.deposit(person.wallet, &format!("9{}", "0".repeat(zeros))).await.expect_ok();
        browser.open("/").await;
        let script = "const balance = document.getElementById('balance'); \
                      return balance.scrollWidth <= balance.clientWidth";
        let fits = browser.client.execute(script, vec![]).await.unwrap();
        let balance = browser.text("#balance").await;
        assert_eq!(fits.as_bool(), Some(true), "{device:?}: {balance} stands beyond the card");
    }
    assert_eq!(browser.text("#balance").await.matches('9').count(), 15);
    browser.inspect("bank-greatest").await;
    browser.fill("#to", &person.wallet.to_string()).await;
    browser.fill("#amount", "1").await;
    browser.click(SUBMIT).await;
    let error = browser.text("#amount-error").await;
    assert!(error.contains(words.one_of_two), "it may be the bank's own: {error}");
    browser.close().await;
}

/// From a phone to a desk, and a desk's window that is not all of the screen, or whose letters are larger.
const WIDTHS: [i64; 13] = [320, 390, 560, 640, 700, 768, 900, 1023, 1024, 1080, 1120, 1200, 1280];

#[tokio::test]
async fn a_history_of_great_amounts_stays_on_its_card() {
    let service = Service::start();
    let (bank, person) = (service.bank().await, service.sign_up("test1").await);
    bank.deposit(person.wallet, "0.99").await.expect_ok();
    bank.deposit(person.wallet, "9999999999999").await.expect_ok();
    for words in [ENGLISH, RUSSIAN] {
        let browser = Browser::start(service.url(), Device::Desktop, words.language).await;
        browser.open("/login").await;
        browser.fill("#email", BANK_EMAIL).await;
        browser.fill("#password", BANK_PASS).await;
        browser.click(SUBMIT).await;
        for width in WIDTHS {
            browser.set_width(width).await;
            let script = "const card = document.getElementById('history').getBoundingClientRect(); \
                          const ends = [...document.querySelectorAll('#history table *')] \
                              .map(cell => cell.getBoundingClientRect().right); \
                          const lines = [...document.querySelectorAll('.after-money')] \
                              .map(balance => balance.getClientRects().length); \
                          return [document.documentElement.scrollWidth <= innerWidth, \
                                  Math.max(...ends) <= card.right, Math.max(...lines)]";
            let found = browser.client.execute(script, vec![]).await.unwrap();
            assert_eq!(found, json!([true, true, 1]), "{width} px, {}", words.language);
        }
        let is_table = "return getComputedStyle(document.querySelector('table')).display";
        let is_table = browser.client.execute(is_table, vec![]).await.unwrap();
        assert_eq!(is_table.as_str(), Some("table"), "there is room for one at a desk");
        browser.close().await;
    }
}
