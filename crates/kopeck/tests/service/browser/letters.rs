//! Letters of twice the size: everything is still within the width of a phone, the way out too.

use super::driver::{Browser, Device};
use super::{ENGLISH, RUSSIAN, SUBMIT};
use crate::harness::{PASSWORD, Service};

#[tokio::test]
async fn pages_of_large_letters_do_not_scroll_sideways() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "1000000").await;
    service.sign_up("test1").await;
    for amount in ["1000", "0.01"] {
        anna.client.transfer(1, amount).await.expect_ok();
    }
    for words in [ENGLISH, RUSSIAN] {
        let browser =
            Browser::start(service.url(), Device::PhoneOfLargeLetters, words.language).await;
        browser.open("/").await;
        let size = "return getComputedStyle(document.documentElement).fontSize";
        let size = browser.client.execute(size, vec![]).await.unwrap();
        assert_eq!(size.as_str(), Some("32px"), "or this tests nothing");
        browser.inspect("large-landing").await;
        browser.open("/nothing").await;
        browser.inspect_with_status("large-missing", 404).await;
        browser.open("/signup").await;
        browser.click(SUBMIT).await;
        browser.inspect_with_status("large-sign-up-refused", 422).await;
        browser.open("/login").await;
        browser.fill("#email", "anna@example.org").await;
        browser.fill("#password", PASSWORD).await;
        browser.click(SUBMIT).await;
        browser.inspect("large-wallet").await;
        browser.click("#log-out").await;
        browser.inspect("large-logged-out").await;
        browser.close().await;
    }
}
