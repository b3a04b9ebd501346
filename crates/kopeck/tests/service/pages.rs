//! The pages' forms, as a program sends them: what a browser would not do.

use serde_json::json;

use crate::harness::{Answer, BANK_EMAIL, BANK_PASS, Client, PASSWORD, Service, hidden};

/// Sends a form with what is typed, and the hidden fields of the page that it came with.
async fn send(client: &Client, path: &str, page: &str, typed: &[(&str, &str)]) -> Answer {
    let typed = typed.iter().map(|(name, value)| (*name, (*value).to_owned()));
    let names = ["form_token", "key", "wallet", "language"];
    let names = names.into_iter().filter(|name| page.contains(&format!("name=\"{name}\"")));
    let form = typed.chain(names.map(|name| (name, hidden(page, name))));
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let request = client.request("POST", path).header("accept-language", "en");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    client.send(request.body(body)).await
}

async fn page(client: &Client, path: &str) -> String {
    client.get(path).await.expect_ok().text
}

/// Only who has seen the page knows its token: without it, another site's form would do as well.
#[tokio::test]
async fn a_form_without_its_token_does_nothing() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let stranger = service.client();
    let log_in = [("email", anna.email.as_str()), ("password", PASSWORD)];
    let sign_up = [("name", "b"), ("email", "b@example.org"), ("password", PASSWORD)];
    let pay = [("to", "1"), ("amount", "7")];
    for (client, path, from, typed) in [
        (&stranger, "/login", "/login", &log_in[..]),
        (&stranger, "/signup", "/signup", &sign_up),
        (&anna.client, "/send", "/", &pay),
        (&anna.client, "/logout", "/logout", &[]),
    ] {
        let page = page(client, from).await;
        let (token, balance) = (hidden(&page, "form_token"), anna.client.balance().await);
        for other in [String::new(), "0".repeat(token.len())] {
            let forged = page.replace(&token, &other);
            let answer = send(client, path, &forged, typed).await;
            assert_eq!(answer.status, 403, "{path}: {}", answer.text);
            assert_eq!(answer.header("set-cookie"), "", "{path}");
        }
        stranger.get("/api/wallet").await.expect_problem(401, "not_logged_in");
        assert_eq!(anna.client.balance().await, balance, "{path}");
        assert_eq!(send(client, path, &page, typed).await.status, 303, "{path}");
        if stranger.get("/api/wallet").await.status == 200 {
            stranger.send(stranger.request("POST", "/api/logout")).await.expect_ok();
        }
    }
}

#[tokio::test]
async fn a_log_in_by_a_page_takes_the_place_of_the_session_that_was() {
    let service = Service::start();
    let anna = service.sign_up("anna").await;
    let claim = json!({"email": anna.email, "password": PASSWORD});
    let client = service.client();
    let former = client.post("/api/login", &claim).await.expect_ok();
    let former = former.header("set-cookie").split(';').next().unwrap().to_owned();
    let home = page(&client, "/").await;
    let typed = [("email", BANK_EMAIL), ("password", BANK_PASS)];
    assert_eq!(send(&client, "/login", &home, &typed).await.status, 303);
    assert_eq!(client.get("/api/wallet").await.expect_ok().body["wallet_id"], 1);
    let anybody = service.client();
    let request = anybody.request("GET", "/api/wallet").header("cookie", former);
    anybody.send(request).await.expect_problem(401, "not_logged_in");
}

/// A browser without cookies is not told for ever that its page was open for too long.
#[tokio::test]
async fn who_keeps_no_cookies_is_told_so() {
    let service = Service::start();
    let anna = service.sign_up("anna").await;
    let log_in = [("email", anna.email.as_str()), ("password", PASSWORD)];
    let sign_up = [("name", "b"), ("email", "b@example.org"), ("password", PASSWORD)];
    for (path, typed) in [("/login", &log_in[..]), ("/signup", &sign_up)] {
        let mut page = page(&service.client(), path).await;
        for _ in 0..2 {
            let answer = send(&service.client(), path, &page, typed).await;
            assert_eq!(answer.status, 403, "{path}");
            assert!(answer.text.contains("allow cookies"), "{path}: {}", answer.text);
            page = answer.text;
        }
        let client = service.client();
        let page = self::page(&client, path).await;
        let stale = page.replace(&hidden(&page, "form_token"), "0");
        let answer = send(&client, path, &stale, typed).await;
        assert!(!answer.text.contains("allow cookies"), "{path}: {}", answer.text);
    }
}

/// What is sent again under another key is paid again: nobody knows what became of the first try.
#[tokio::test]
async fn a_form_that_the_service_could_not_take_keeps_its_key() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let home = page(&anna.client, "/").await;
    let typed = [("to", "1"), ("amount", "7"), ("details", "tea")];
    let shell = rusqlite::Connection::open(service.data().join("kopeck.db")).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = send(&anna.client, "/send", &home, &typed).await;
    shell.execute_batch("ROLLBACK").unwrap();
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert_ne!(answer.header("retry-after"), "");
    assert_eq!(hidden(&answer.text, "key"), hidden(&home, "key"));
    let switch = "hreflang=";
    assert!(home.contains(switch) && !answer.text.contains(switch), "it would lose the key");
    for (name, value) in typed {
        assert!(answer.text.contains(&format!("name=\"{name}\" type=\"text\" value=\"{value}\"")));
    }
    for _ in 0..2 {
        assert_eq!(send(&anna.client, "/send", &answer.text, &typed).await.status, 303);
        assert_eq!(anna.client.balance().await, "93.00");
    }
}

/// Under a key that is forgotten, it would be paid again.
#[tokio::test]
async fn a_form_that_is_older_than_keys_are_remembered_is_not_sent() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let home = page(&anna.client, "/").await;
    let key = hidden(&home, "key");
    let (made, random) = key.strip_prefix("form-").unwrap().split_once('-').unwrap();
    let made: u64 = made.parse().unwrap();
    let of_age = |seconds: u64| home.replace(&key, &format!("form-{}-{random}", made - seconds));
    let typed = [("to", "1"), ("amount", "7"), ("details", "tea")];
    let (day, hour) = (24 * 60 * 60, 60 * 60);
    let old = of_age(day);
    let without_token = old.replace(&hidden(&home, "form_token"), "0");
    for page in [&old, &without_token, &home.replace(&key, &format!("form-{random}"))] {
        let answer = send(&anna.client, "/send", page, &typed).await;
        assert_eq!(answer.status, 403, "{}", answer.text);
        assert!(answer.text.contains("look at the history"), "{}", answer.text);
        assert!(answer.text.contains("value=\"tea\"") && !answer.text.contains("paid once"));
        assert_eq!(anna.client.balance().await, "100.00");
        assert!(!answer.text.contains(random), "another key");
    }
    let answer = send(&anna.client, "/send", &old, &typed).await;
    for page in [&answer.text, &answer.text, &of_age(day - hour)] {
        assert_eq!(send(&anna.client, "/send", page, &typed).await.status, 303);
    }
    assert_eq!(anna.client.balance().await, "86.00");
}

/// Sent again under its key, a sign-up whose answer was lost logs in; one that is refused for good is asked for anew.
#[tokio::test]
async fn a_sign_up_that_is_not_settled_keeps_its_key() {
    let service = Service::start();
    service.sign_up("anna").await;
    let client = service.client();
    let first = page(&client, "/signup").await;
    let key = hidden(&first, "key");
    let typed = |email, password| [("name", "b"), ("email", email), ("password", password)];
    let short = send(&client, "/signup", &first, &typed("b@example.org", "short")).await;
    let stale = first.replace(&hidden(&first, "form_token"), "0");
    let stale = send(&client, "/signup", &stale, &typed("b@example.org", PASSWORD)).await;
    assert_eq!((short.status, stale.status), (422, 403));
    for answer in [short, stale] {
        assert_eq!(hidden(&answer.text, "key"), key);
    }
    let taken = send(&client, "/signup", &first, &typed("anna@example.org", PASSWORD)).await;
    assert_eq!(taken.status, 409, "{}", taken.text);
    assert_ne!(hidden(&taken.text, "key"), key);
    let done = send(&client, "/signup", &taken.text, &typed("b@example.org", PASSWORD)).await;
    assert_eq!(done.status, 303, "{}", done.text);
}

/// The form is gone, and with it its key: who fills in another one must know that the first try may have been done.
#[tokio::test]
async fn who_is_logged_out_is_sent_to_the_history() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let home = page(&anna.client, "/").await;
    let typed = [("to", "1"), ("amount", "7")];
    assert_eq!(send(&anna.client, "/send", &home, &typed).await.status, 303);
    anna.client.send(anna.client.request("POST", "/api/logout")).await.expect_ok();
    let answer = send(&anna.client, "/send", &home, &typed).await;
    assert_eq!(answer.status, 401, "{}", answer.text);
    assert!(answer.text.contains("your history will show"), "{}", answer.text);
    anna.client.log_in(&anna.email).await;
    assert_eq!(anna.client.balance().await, "93.00");
}

#[tokio::test]
async fn only_the_bank_pays_in_by_a_page() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let boris = service.sign_up("boris").await;
    let typed = [("to", boris.wallet.to_string()), ("amount", "7".to_owned())];
    let typed: Vec<_> = typed.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let home = page(&anna.client, "/").await;
    let answer = send(&anna.client, "/deposit", &home, &typed).await;
    assert_eq!(answer.status, 403);
    assert!(answer.text.contains("Only the bank can pay into a wallet."), "{}", answer.text);
    let bank = service.bank().await;
    let answer = send(&bank, "/send", &page(&bank, "/").await, &typed).await;
    assert_eq!(answer.status, 422);
    assert!(answer.text.contains("The bank does not send money"), "{}", answer.text);
    assert_eq!(anna.client.balance().await, "100.00");
    assert_eq!(boris.client.balance().await, "0.00");
    assert_eq!(send(&bank, "/deposit", &page(&bank, "/").await, &typed).await.status, 303);
    assert_eq!(boris.client.balance().await, "7.00");
}

/// An address says nothing: whoever made it up could make somebody believe that money was sent.
#[tokio::test]
async fn only_what_was_sent_from_this_wallet_is_said_to_be_done() {
    let service = Service::start();
    let (anna, boris) =
        (service.sign_up_with("anna", "100").await, service.sign_up_with("boris", "100").await);
    anna.client.transfer(boris.wallet, "7").await.expect_ok();
    let says = async |client: &Client, done: &str| {
        let page = page(client, &format!("/?done={done}")).await;
        page.contains("id=\"flash\"")
    };
    assert!(says(&anna.client, "3").await, "anna's payment");
    for (client, done) in [
        (&anna.client, "1"),
        (&anna.client, "2"),
        (&boris.client, "3"),
        (&anna.client, "99"),
        (&anna.client, "x"),
    ] {
        assert!(!says(client, done).await, "{done}");
        assert!(!says(client, &format!("{done}&once")).await, "{done}");
    }
}

/// Who goes back after a payment and presses the button again has not paid again, and must not be told so.
#[tokio::test]
async fn a_form_that_is_sent_again_says_that_it_was_done_once() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "100").await;
    let bank = service.bank().await;
    let to_anna = anna.wallet.to_string();
    let sent = [
        ("en", "Sent ₽7.00 to wallet 1. ", "Sent ₽7.00 to wallet 1 on "),
        ("ru", "Переведено 7,00", "Перевод 7,00\u{a0}₽ на кошелёк 1 прошёл один раз"),
    ];
    let paid_in = [
        ("en", "Paid ₽7.00 into wallet 2.", "Paid ₽7.00 into wallet 2 on "),
        (
            "ru",
            "Кошелёк 2 пополнен на 7,00",
            "Пополнение кошелька 2 на 7,00\u{a0}₽ прошло один раз",
        ),
    ];
    for (client, path, to, words) in
        [(&anna.client, "/send", "1", sent), (&bank, "/deposit", to_anna.as_str(), paid_in)]
    {
        let home = page(client, "/").await;
        let typed = [("to", to), ("amount", "7")];
        let first = send(client, path, &home, &typed).await.header("location").to_owned();
        let again = send(client, path, &home, &typed).await.header("location").to_owned();
        assert_eq!(again, format!("{first}&once"));
        for (language, done, once) in words {
            for (address, expected) in [(&first, done), (&again, once)] {
                let request = client.request("GET", address).header("accept-language", language);
                let page = client.send(request).await.expect_ok().text;
                let said = page.split_once("id=\"flash\"").unwrap().1.split_once("</p>").unwrap().0;
                assert!(said.contains(expected), "{said}");
            }
        }
    }
    assert_eq!(anna.client.balance().await, "100.00");
}

/// Who has got the money meanwhile and loads the refused page again is not told to have too little of it, and no more.
#[tokio::test]
async fn a_refused_form_that_is_sent_again_says_that_it_was_refused_before() {
    let service = Service::start();
    let anna = service.sign_up_with("anna", "5").await;
    let home = page(&anna.client, "/").await;
    let typed = [("to", "1"), ("amount", "7")];
    let before = "was refused then";
    let first = send(&anna.client, "/send", &home, &typed).await;
    assert!(first.status == 422 && !first.text.contains(before), "{}", first.text);
    service.bank().await.deposit(anna.wallet, "10").await.expect_ok();
    let again = send(&anna.client, "/send", &home, &typed).await;
    assert!(again.status == 422 && again.text.contains(before), "{}", again.text);
    assert_eq!(anna.client.balance().await, "15.00");
    assert_eq!(send(&anna.client, "/send", &again.text, &typed).await.status, 303);
    assert_eq!(anna.client.balance().await, "8.00");
}
