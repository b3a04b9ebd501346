//! The bank: made at first start, changed by its own command only.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{Answer, BANK_EMAIL, BANK_PASS, Service, kopeck};

async fn log_in(service: &Service, email: &str, password: &str) -> Answer {
    let claim = json!({"email": email, "password": password});
    service.client().post("/api/login", &claim).await
}

fn set_password(service: &Service, line: &str) -> Output {
    let mut command = kopeck(service.data().parent().unwrap());
    command.args(["bank", "set-password"]).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test]
async fn it_is_user_1_with_wallet_1() {
    let service = Service::start();
    let answer = log_in(&service, BANK_EMAIL, BANK_PASS).await.expect_ok();
    assert_eq!(answer.text, r#"{"status":"OK","user_id":1,"wallet_id":1}"#);
    assert!(!service.greeting.contains(BANK_PASS));
}

#[tokio::test]
async fn without_a_password_one_is_made_and_shown_once() {
    let mut service = Service::start_in_environment(&[]);
    let greeting = service.greeting.clone();
    let (_, rest) = greeting.split_once("password  ").unwrap();
    let password = rest.lines().next().unwrap();
    assert!(greeting.contains("bank@localhost"), "{greeting}");
    assert!(password.len() >= 20, "{password}");
    log_in(&service, "bank@localhost", password).await.expect_ok();
    assert!(!service.log().contains(password));
    assert!(service.stop().success());
    for entry in std::fs::read_dir(service.data()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let found = bytes.windows(password.len()).any(|window| window == password.as_bytes());
        assert!(!found, "the password is kept");
    }
    let service = service.start_again_in_environment(&[]);
    assert!(!service.greeting.contains("password"), "{}", service.greeting);
    log_in(&service, "bank@localhost", password).await.expect_ok();
}

#[test]
fn a_password_that_is_no_text_is_not_passed_over() {
    let home = tempfile::tempdir().unwrap();
    let mut command = kopeck(home.path());
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    // What KOI8-R has for a word.
    command.env("BANK_PASS", OsStr::from_bytes(b"\xd0\xc1\xd2\xcf\xcc\xd8 12345"));
    let output = command.output().unwrap();
    assert!(!output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "kopeck: BANK_PASS is not UTF-8\n");
    assert!(output.stdout.is_empty(), "no other one is made");
    assert!(!home.path().join("data").exists(), "nothing is left behind");
}

#[tokio::test]
async fn another_environment_changes_nothing_and_is_told() {
    let mut service = Service::start();
    assert!(service.stop().success());
    assert!(!service.log().contains("WARN"), "{}", service.log());
    let environment = [("BANK_EMAIL", "thief@example.org"), ("BANK_PASS", "another password")];
    let service = service.start_again_in_environment(&environment);
    log_in(&service, BANK_EMAIL, BANK_PASS).await.expect_ok();
    for (email, password) in
        [("thief@example.org", "another password"), (BANK_EMAIL, "another password")]
    {
        log_in(&service, email, password).await.expect_problem(401, "wrong_credentials");
    }
    let log = service.log();
    assert!(log.contains("BANK_EMAIL is not the bank's"), "{log}");
    assert!(log.contains("BANK_PASS is not the bank's") && log.contains("set-password"), "{log}");
    assert!(!log.contains("another password"));
}

#[tokio::test]
async fn set_password_closes_its_sessions() {
    let mut service = Service::start();
    let answer = log_in(&service, BANK_EMAIL, BANK_PASS).await.expect_ok();
    let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
    assert!(service.stop().success());

    let short = set_password(&service, "short\n");
    assert!(!short.status.success());
    assert!(String::from_utf8_lossy(&short.stderr).contains("at least 8 characters"));
    let set = set_password(&service, "a new password\n");
    assert!(set.status.success(), "{set:?}");
    assert!(!String::from_utf8_lossy(&set.stdout).contains("a new password"));

    let service = service.start_again();
    log_in(&service, BANK_EMAIL, "a new password").await.expect_ok();
    log_in(&service, BANK_EMAIL, BANK_PASS).await.expect_problem(401, "wrong_credentials");
    let client = service.client();
    let request = client.request("GET", "/api/wallet").header("cookie", cookie);
    client.send(request).await.expect_problem(401, "not_logged_in");
}

#[test]
fn a_value_that_the_environment_has_is_said_to_be_there() {
    let home = tempfile::tempdir().unwrap();
    for (name, value, command) in [
        ("KOPECK_HTTP_THREADS", "many", "serve"),
        ("KOPECK_TRUSTED_PROXY", "10.0.0.1,", "check"),
        ("KOPECK_LOG_FORMAT", "xml", "serve"),
        ("KOPECK_LISTEN", "localhost", "health"),
    ] {
        let mut refused = kopeck(home.path());
        let output = refused.arg(command).env(name, value).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(&format!("the environment has {name}={value}\n")), "{error}");
    }
    let typed = kopeck(home.path()).args(["--http-threads", "many"]).output().unwrap();
    assert!(!String::from_utf8(typed.stderr).unwrap().contains("environment"));
}

/// As a `KOPECK_LOG=${LOG:-}` leaves it where there is no `LOG`.
#[tokio::test]
async fn a_variable_that_is_set_to_nothing_is_not_set() {
    let help = kopeck(tempfile::tempdir().unwrap().path()).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let names = help.match_indices("KOPECK_").map(|(at, _)| {
        help[at..].split(|char: char| char != '_' && !char.is_ascii_uppercase()).next().unwrap()
    });
    let environment: Vec<_> =
        names.filter(|name| *name != "KOPECK_DATA").map(|name| (name, "")).collect();
    assert!(environment.len() > 20, "{help}");
    let service = Service::start_in_environment(&environment);
    assert!(service.greeting.contains("\"currency\":\"RUB\""), "{}", service.greeting);
    // A new book is not begun in another place than the one that somebody wanted to name.
    let home = tempfile::tempdir().unwrap();
    for command in ["serve", "check"] {
        let refused = kopeck(home.path()).arg(command).env("KOPECK_DATA", "").output().unwrap();
        let error = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(2) && error.contains("--data"), "{error}");
    }
    assert!(std::fs::read_dir(home.path()).unwrap().next().is_none());
}

#[test]
fn a_bad_environment_stops_the_first_start() {
    let home = tempfile::tempdir().unwrap();
    for (name, value) in [("BANK_PASS", "short"), ("BANK_EMAIL", "nobody")] {
        let mut command = kopeck(home.path());
        let output = command.args(["--listen", "127.0.0.1:0"]).env(name, value).output().unwrap();
        assert!(!output.status.success());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains(name) && !error.contains("short\""), "{error}");
        assert!(
            !home.path().join("data").exists(),
            "no data are left behind, which would be of one currency for ever"
        );
    }
}

#[tokio::test]
async fn a_start_that_fails_makes_no_bank_whose_password_nobody_saw() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let home = tempfile::tempdir().unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let fail = || {
        let failed = kopeck(home.path()).args(["--listen", &address]).output().unwrap();
        assert!(!failed.status.success());
        let error = String::from_utf8_lossy(&failed.stderr).into_owned();
        assert!(error.contains("cannot listen on"), "{error}");
        assert!(!String::from_utf8_lossy(&failed.stdout).contains("password"));
    };
    fail();
    assert!(
        !home.path().join("data").exists(),
        "nor data, which would be of one currency for ever"
    );
    // One that was cut off leaves data without a bank.
    std::fs::create_dir(home.path().join("data")).unwrap();
    std::fs::write(home.path().join("data/kopeck.db"), "").unwrap();
    let mut bad = kopeck(home.path());
    bad.args(["--listen", "127.0.0.1:0"]).env("BANK_PASS", "short").output().unwrap();
    assert!(std::fs::metadata(home.path().join("data/kopeck.db")).unwrap().len() > 0);
    fail();
    let mut command = kopeck(home.path());
    command.args(["bank", "set-password"]).stdin(Stdio::null());
    let error = command.output().unwrap().stderr;
    assert!(String::from_utf8_lossy(&error).contains("there is no bank yet"));
}

#[test]
fn standard_output_that_takes_nothing_costs_a_made_password_and_no_start() {
    let home = tempfile::tempdir().unwrap();
    let start = || {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut command = kopeck(home.path());
        command.args(["--listen", "127.0.0.1:0", "--log-format", "json"]);
        command.stdout(full).stderr(Stdio::piped()).spawn().unwrap()
    };
    // Nobody has seen the password, and nobody ever could.
    let first = start().wait_with_output().unwrap();
    let said = String::from_utf8(first.stderr).unwrap();
    assert_eq!(first.status.code(), Some(1), "{said}");
    assert!(said.contains("kopeck: standard output: ") && said.contains("set-password"), "{said}");
    // There is nothing of that kind to say any more.
    let mut again = start();
    let log = BufReader::new(again.stderr.take().unwrap());
    let warning = log.lines().map_while(Result::ok).find(|line| line.contains("standard output"));
    assert!(again.try_wait().unwrap().is_none(), "{warning:?}");
    let warning: Value = serde_json::from_str(&warning.unwrap()).unwrap();
    let address = warning["address"].as_str().unwrap();
    let asked = kopeck(home.path()).args(["health", "--listen", address]).status().unwrap();
    again.kill().unwrap();
    again.wait().unwrap();
    assert!(asked.success());
}

#[test]
fn a_password_is_set_only_where_there_are_data_in_whatever_currency() {
    let home = tempfile::tempdir().unwrap();
    let mut command = kopeck(home.path());
    let nowhere = command.args(["bank", "set-password"]).stdin(Stdio::null()).output().unwrap();
    assert!(!nowhere.status.success());
    assert!(String::from_utf8_lossy(&nowhere.stderr).contains("there is no data file"));
    assert!(!home.path().join("data").exists(), "nothing is made by mistake");

    let mut service = Service::start_with(&["--currency", "JPY"]);
    service.stop();
    let set = set_password(&service, "another good password\n");
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
}
