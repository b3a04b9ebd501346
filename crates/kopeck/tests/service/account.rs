//! `POST /api/signup`, `/api/login`, `/api/logout`: who people are.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{BANK_EMAIL, PASSWORD, Service, hidden};

fn session(cookie: &str) -> &str {
    cookie.split(';').next().unwrap()
}

#[tokio::test]
async fn signing_up_logs_in() {
    let service = Service::start();
    let client = service.client();
    let wanted = json!({"name": "test1", "email": "test1@localhost.ru", "password": "Pa$$w0rd"});
    let answer = client.post("/api/signup", &wanted).await.expect_ok();
    assert_eq!(answer.text, r#"{"status":"OK","user_id":2,"wallet_id":2}"#);
    let cookie = answer.header("set-cookie");
    assert!(cookie.starts_with("kopeck_session="), "{cookie}");
    assert!(cookie.contains("; HttpOnly; SameSite=Lax") && !cookie.contains("Secure"), "{cookie}");
    client.get("/api/wallet").await.expect_ok();

    for taken in ["test1@localhost.ru", " TEST1@LocalHost.RU ", BANK_EMAIL] {
        let wanted = json!({"name": "x", "email": taken, "password": PASSWORD});
        let answer = service.client().post("/api/signup", &wanted).await;
        assert_eq!(answer.expect_problem(409, "email_taken").body["field"], "email");
    }
    // A refused sign-up used up no number.
    assert_eq!(service.sign_up("next").await.wallet, 3);
}

#[tokio::test]
async fn sign_ups_are_refused_with_the_field() {
    let service = Service::start();
    let client = service.client();
    let good = json!({"name": "a", "email": "a@b.ru", "password": PASSWORD});
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    for (field, value, code) in [
        ("name", json!(""), "name_malformed"),
        ("name", json!("  "), "name_malformed"),
        ("name", json!("\u{200b}\u{ad}"), "name_malformed"),
        ("name", json!("a\u{7}b"), "name_malformed"),
        ("name", json!("я".repeat(101)), "name_malformed"),
        ("email", json!(""), "email_malformed"),
        ("email", json!("nobody"), "email_malformed"),
        ("email", json!("Ann <a@b.ru>"), "email_malformed"),
        ("email", json!(format!("{}@b.ru", "a".repeat(300))), "email_malformed"),
        ("password", json!("Pa$$w0r"), "password_too_short"),
        ("password", json!("x".repeat(1_025)), "password_too_long"),
    ] {
        let answer = client.post("/api/signup", &with(field, value)).await;
        assert_eq!(answer.expect_problem(422, code).body["field"], field);
    }
    for field in ["name", "email", "password"] {
        let answer = client.post("/api/signup", &with(field, json!(7))).await;
        let answer = answer.expect_problem(400, "wrong_type");
        assert_eq!(answer.body["field"], field);
        assert!(!answer.text.contains('7'), "{}", answer.text);
    }
    let answer = client.post("/api/signup", &with("role", json!("bank"))).await;
    assert_eq!(answer.expect_problem(400, "unknown_field").body["field"], "role");
    let answer = client.post("/api/signup", &json!({"name": "a", "email": "a@b.ru"})).await;
    assert_eq!(answer.expect_problem(400, "missing_field").body["field"], "password");
    client.post_text("/api/signup", "").await.expect_problem(400, "malformed_json");
    client.post("/api/signup", &good).await.expect_ok();
}

/// The answer to the first try was lost, and the second has another password in it.
#[tokio::test]
async fn a_page_of_a_sign_up_that_was_sent_otherwise_before_says_so() {
    let service = Service::start();
    let first = service.client();
    let page = first.get("/signup").await.expect_ok();
    let cookie = session(page.header("set-cookie"));
    let send = async |page: &str, password: &str, language: &str| {
        let mut form = vec![("name", "anna".to_owned()), ("email", "a@b.ru".to_owned())];
        form.push(("password", password.to_owned()));
        form.extend(["form_token", "key"].map(|name| (name, hidden(page, name))));
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let client = service.client();
        let request = client.request("POST", "/signup").header("cookie", cookie);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        client.send(request.header("accept-language", language).body(body)).await
    };
    assert_eq!(send(&page.text, PASSWORD, "en").await.status, 303);
    assert_eq!(send(&page.text, PASSWORD, "en").await.status, 303, "the same again logs in");
    for (language, said, not_said) in
        [("en", "no wallet was opened now", "istory"), ("ru", "кошелёк не открыт", "стори")]
    {
        let answer = send(&page.text, "another password", language).await;
        assert_eq!(answer.status, 422, "{}", answer.text);
        assert!(answer.text.contains(said) && !answer.text.contains(not_said), "{}", answer.text);
        assert_ne!(hidden(&answer.text, "key"), hidden(&page.text, "key"), "it is settled");
    }
}

#[tokio::test]
async fn login_tells_nothing_of_who_exists() {
    let service = Service::start();
    let person = service.sign_up("anna").await;
    let client = service.client();
    let mut answers = Vec::new();
    let long = "x".repeat(2_000);
    for (email, password) in [
        (person.email.as_str(), "wrong password"),
        ("nobody@example.org", "wrong password"),
        ("not an address", "wrong password"),
        (person.email.as_str(), ""),
        (person.email.as_str(), long.as_str()),
    ] {
        let claim = json!({"email": email, "password": password});
        let answer = client.post("/api/login", &claim).await;
        assert!(answer.headers.get("set-cookie").is_none());
        answers.push(answer.expect_problem(401, "wrong_credentials").text);
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    let claim = json!({"email": person.email.to_uppercase(), "password": PASSWORD});
    client.post("/api/login", &claim).await.expect_ok();
}

#[tokio::test]
async fn a_login_rotates_the_session() {
    let service = Service::start();
    let person = service.sign_up("anna").await;
    let claim = json!({"email": person.email, "password": PASSWORD});
    let client = service.client();
    let first = client.post("/api/login", &claim).await.expect_ok();
    let first = session(first.header("set-cookie")).to_owned();
    let second = client.post("/api/login", &claim).await.expect_ok();
    let second = session(second.header("set-cookie")).to_owned();
    assert_ne!(first, second);
    let anybody = service.client();
    let with = async |cookie: &str| {
        anybody.send(anybody.request("GET", "/api/wallet").header("cookie", cookie)).await
    };
    with(&second).await.expect_ok();
    with(&first).await.expect_problem(401, "not_logged_in");
    with(&format!("{second}; {second}")).await.expect_problem(401, "not_logged_in");
    with(&second.to_uppercase()).await.expect_problem(401, "not_logged_in");
    // A sign-up rotates it too.
    let wanted = json!({"name": "b", "email": "b@example.org", "password": PASSWORD});
    client.post("/api/signup", &wanted).await.expect_ok();
    with(&second).await.expect_problem(401, "not_logged_in");
    // The session of the sign-up belongs to another client and stays.
    person.client.get("/api/wallet").await.expect_ok();
}

#[tokio::test]
async fn a_logout_revokes_the_session_for_good() {
    let service = Service::start();
    let person = service.sign_up("anna").await;
    let claim = json!({"email": person.email, "password": PASSWORD});
    let answer = service.client().post("/api/login", &claim).await.expect_ok();
    let cookie = session(answer.header("set-cookie")).to_owned();
    let anybody = service.client();
    let request = anybody.request("POST", "/api/logout").header("cookie", &cookie);
    let answer = anybody.send(request).await.expect_ok();
    assert!(answer.header("set-cookie").contains("kopeck_session=; Path=/; Max-Age=0"));
    let request = || anybody.request("GET", "/api/wallet").header("cookie", &cookie);
    anybody.send(request()).await.expect_problem(401, "not_logged_in");
    anybody.post("/api/logout", &json!({})).await.expect_problem(401, "not_logged_in");
    person.client.get("/api/wallet").await.expect_ok();

    let service = service.kill_and_start_again();
    let anybody = service.client();
    let request = anybody.request("GET", "/api/wallet").header("cookie", &cookie);
    anybody.send(request).await.expect_problem(401, "not_logged_in");
}

#[tokio::test]
async fn sessions_outlive_a_restart() {
    let service = Service::start();
    let wanted = json!({"name": "a", "email": "a@b.ru", "password": PASSWORD});
    let answer = service.client().post("/api/signup", &wanted).await.expect_ok();
    let cookie = session(answer.header("set-cookie")).to_owned();
    let service = service.kill_and_start_again();
    let anybody = service.client();
    for _ in 0..2 {
        let request = anybody.request("GET", "/api/wallet").header("cookie", &cookie);
        anybody.send(request).await.expect_ok();
    }
}

#[tokio::test]
async fn a_session_ends_by_itself() {
    // 0.00002 days are 1.7 seconds.
    let service = Service::start_with(&["--session-absolute-days", "0.00002"]);
    let begins_after = Instant::now();
    let person = service.sign_up("anna").await;
    let answer = person.client.get("/api/wallet").await;
    // On a machine that stood still meanwhile it may have ended already.
    if begins_after.elapsed() < Duration::from_millis(1_700) {
        answer.expect_ok();
    }
    tokio::time::sleep(Duration::from_millis(1_900)).await;
    // By hand: the client's own cookie has ended as well.
    person.client.get("/api/wallet").await.expect_problem(401, "not_logged_in");
}

#[tokio::test]
async fn guessing_is_throttled_before_it_is_checked() {
    let service = Service::start_with(&[
        "--failed-logins-per-email",
        "3/1000",
        "--failed-logins-per-address",
        "5/1000",
        "--sign-ups-per-address",
        "2/1000",
    ]);
    let anna = service.sign_up("anna").await;
    let boris = service.sign_up("boris").await;
    let wanted = json!({"name": "c", "email": "c@b.ru", "password": PASSWORD});
    let client = service.client();
    let answer = client.post("/api/signup", &wanted).await;
    let wait: u64 =
        answer.expect_problem(429, "too_many_attempts").header("retry-after").parse().unwrap();
    assert!((1..=1_000).contains(&wait), "{wait}");

    let right = |email: &str| json!({"email": email, "password": PASSWORD});
    let wrong = |email: &str| json!({"email": email, "password": "wrong password"});
    for _ in 0..7 {
        client.post("/api/login", &right(&anna.email)).await.expect_ok();
    }
    for _ in 0..3 {
        let answer = client.post("/api/login", &wrong(&anna.email)).await;
        answer.expect_problem(401, "wrong_credentials");
    }
    // Even the right password: it is not looked at.
    let answer = client.post("/api/login", &right(&anna.email)).await;
    answer.expect_problem(429, "too_many_attempts");
    client.post("/api/login", &right(&boris.email)).await.expect_ok();
    for _ in 0..2 {
        let answer = client.post("/api/login", &wrong(&boris.email)).await;
        answer.expect_problem(401, "wrong_credentials");
    }
    let answer = client.post("/api/login", &right(&boris.email)).await;
    answer.expect_problem(429, "too_many_attempts");
    anna.client.get("/api/wallet").await.expect_ok();
}

/// Logins that succeed are not counted, so that nothing but the line holds them up.
#[tokio::test]
async fn an_address_that_logs_in_again_and_again_keeps_nobody_else_waiting() {
    const FLOOD: usize = 60;
    let service = Service::start_with(&[
        "--trusted-proxy",
        "127.0.0.1",
        "--password-hashes-max",
        "1",
        "--failed-logins-per-email",
        "100/1",
    ]);
    let anna = service.sign_up("anna").await;
    let log_in = |address: &str| {
        let client = service.client();
        let body = json!({"email": anna.email, "password": PASSWORD});
        let request = client.request("POST", "/api/login").json(&body);
        let request = request.header("x-forwarded-for", address);
        async move { client.send(request).await.expect_ok() }
    };
    let done = AtomicUsize::new(0);
    let flood = join_all((0..FLOOD).map(async |_| {
        log_in("192.0.2.1").await;
        done.fetch_add(1, Ordering::Relaxed);
    }));
    let honest = async {
        // All of the flood waits by then.
        while done.load(Ordering::Relaxed) < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        log_in("192.0.2.2").await;
        let before = done.load(Ordering::Relaxed);
        // Of what is answered meanwhile this side may learn at once, on a machine that stood still.
        assert!(before < FLOOD - 10, "{before} of the flood went before");
    };
    tokio::join!(flood, honest);
}

#[tokio::test]
async fn guessers_from_everywhere_do_not_lock_out_the_owner() {
    let service = Service::start_with(&[
        "--trusted-proxy",
        "127.0.0.1",
        "--failed-logins-per-email-everywhere",
        "2/1000",
    ]);
    let client = service.client();
    let send = async |path: &str, body: Value, address: &str| {
        let request = client.request("POST", path).json(&body);
        client.send(request.header("x-forwarded-for", address)).await
    };
    let log_in = async |password: &str, address: &str| {
        send("/api/login", json!({"email": "a@b.ru", "password": password}), address).await
    };
    let wanted = json!({"name": "a", "email": "a@b.ru", "password": PASSWORD});
    send("/api/signup", wanted, "192.0.2.1").await.expect_ok();
    log_in(PASSWORD, "192.0.2.2").await.expect_ok();
    for guesser in ["198.51.100.1", "198.51.100.2"] {
        let answer = log_in("wrong password", guesser).await;
        answer.expect_problem(401, "wrong_credentials");
    }
    let answer = log_in(PASSWORD, "198.51.100.3").await;
    answer.expect_problem(429, "too_many_attempts");
    for known in ["192.0.2.1", "192.0.2.2"] {
        log_in(PASSWORD, known).await.expect_ok();
    }
}

/// At once, and not only when it has left the memory.
#[tokio::test]
async fn the_session_that_was_longest_not_used_ends_beyond_so_many() {
    const SESSIONS_MAX: usize = 50;
    let service = Service::start();
    let anna = service.sign_up("anna").await;
    anna.client.get("/api/wallet").await.expect_ok();
    let claim = json!({"email": anna.email, "password": PASSWORD});
    let mut others = Vec::new();
    for _ in 0..SESSIONS_MAX {
        let other = service.client();
        other.post("/api/login", &claim).await.expect_ok();
        others.push(other);
    }
    anna.client.get("/api/wallet").await.expect_problem(401, "not_logged_in");
    for other in others {
        other.get("/api/wallet").await.expect_ok();
    }
}

#[tokio::test]
async fn no_secret_is_in_the_log() {
    let service = Service::start_with(&["--log", "trace"]);
    let client = service.client();
    let wanted = json!({"name": "a", "email": "a@b.ru", "password": "a very secret password"});
    let answer = client.post("/api/signup", &wanted).await.expect_ok();
    let token = session(answer.header("set-cookie")).split('=').nth(1).unwrap().to_owned();
    client.get("/api/wallet").await.expect_ok();
    client.post("/api/login", &json!({"email": 7, "password": "a very secret password"})).await;
    let log = service.log();
    assert!(log.contains("/api/signup"), "the log is not at trace");
    assert!(!log.contains("very secret") && !log.contains(&token));
}

#[tokio::test]
async fn a_session_ends_when_it_is_not_used_and_not_while_it_is() {
    // Eight seconds.
    let mut service = Service::start_with(&["--session-idle-days", "0.0000925926"]);
    let anna = service.sign_up("anna").await;
    let boris = service.sign_up("boris").await;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        anna.client.get("/api/wallet").await.expect_ok();
    }
    boris.client.get("/api/wallet").await.expect_problem(401, "not_logged_in");
    // That it was used is in the file too, nearly to the moment.
    service.stop();
    let service = service.start_again();
    service.resume(&anna.client).get("/api/wallet").await.expect_ok();
}
