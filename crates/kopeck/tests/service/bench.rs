//! `kopeck bench`: the real binary measures itself for a moment, and checks what it did.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{BANK_EMAIL, BANK_PASS, Service, in_home, kopeck};

/// Measures over HTTP for a moment; it must end well and say what it found as JSON.
fn bench(command: Command, arguments: &[&str]) -> Value {
    let short = ["--rounds", "1", "--seconds", "1", "--warm-up-seconds", "0.1"];
    run(command, &[&short, arguments].concat())
}

/// Runs it; it must end well and say what it found as JSON.
fn run(mut command: Command, arguments: &[&str]) -> Value {
    let output = command.arg("bench").args(arguments).arg("--json").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().next().is_none()
}

#[track_caller]
fn check(document: &Value, expected: &[(&str, &str)]) {
    assert_eq!(document["version"], 1);
    assert_eq!(document["checks_hold"], true, "{document}");
    let runs = document["runs"].as_array().unwrap();
    let names: Vec<_> = runs
        .iter()
        .map(|run| (run["on"].as_str().unwrap(), run["scenario"].as_str().unwrap()))
        .collect();
    assert_eq!(names, expected);
    for run in runs {
        assert!(run["operations_acknowledged"].as_u64().unwrap() > 0, "{run}");
        assert_eq!(run["errors_total"], 0, "{run}");
    }
}

#[test]
fn a_private_service_is_measured_beside_others_and_nothing_is_left_behind() {
    let home = tempfile::tempdir().unwrap();
    let report = home.path().join("report.html");
    let work = home.path().join("work");
    let arguments = ["--wallets", "50", "--sessions", "10", "--stored-operations", "500"];
    let more = ["--scenario", "hot-both,bank-to-many", "--connections", "8"];
    let beside = ["--beside", "null,bare", "--work-dir", "work", "--report", "report.html"];
    let place = ["--http-processors", "any", "--client-processors", "any"];
    let all: Vec<_> = arguments.into_iter().chain(more).chain(beside).chain(place).collect();
    let document = bench(kopeck(home.path()), &all);
    for whose in ["HTTP thread", "writer", "client"] {
        let place = serde_json::json!({"name": whose, "value": "on any processor"});
        assert!(document["settings"].as_array().unwrap().contains(&place), "{document}");
    }
    check(
        &document,
        &[
            ("kopeck", "hot-both"),
            ("null", "hot-both"),
            ("bare", "hot-both"),
            ("kopeck", "bank-to-many"),
            ("null", "bank-to-many"),
        ],
    );
    let first = &document["runs"][0];
    assert!(first["fsyncs_per_operation"].as_f64().unwrap() > 0.0, "{first}");
    if cfg!(target_os = "linux") {
        for taken in ["share_taken_by_others", "share_taken_by_host"] {
            assert!((0.0..=1.0).contains(&first[taken].as_f64().unwrap()), "{first}");
        }
    }
    let detail = sent_again(&document)["detail"].as_str().unwrap();
    assert!(!detail.starts_with("0 "), "{detail}");
    assert!(is_empty(&work), "the data are removed");
    assert!(std::fs::read_to_string(report).unwrap().contains("</html>"));
}

/// How many operations each book had before.
fn grown(document: &Value) -> Vec<u64> {
    let details = document["checks"].as_array().unwrap().iter().map(|check| &check["detail"]);
    let from = |detail: &Value| {
        let (_, rest) = detail.as_str()?.split_once("the book grew from ")?;
        rest.split(' ').next()?.parse().ok()
    };
    details.filter_map(from).collect()
}

#[test]
fn all_targets_are_measured_and_the_large_book_is_compared_with_one_that_is_still_small() {
    let home = tempfile::tempdir().unwrap();
    let few = ["--rows", "1000", "--wallets", "100", "--many-wallets", "100", "--history", "100"];
    let short = ["--rounds", "1", "--seconds", "0.2", "--pause-seconds", "0.2"];
    let document = run(kopeck(home.path()), &[&["targets"], &few[..], &short[..]].concat());
    assert_eq!(document["checks_hold"], true, "{document}");
    let targets = document["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 16);
    assert!(targets.iter().all(|target| target["value"].is_f64()), "{document}");
    let note = targets.iter().find_map(|target| {
        target["note"]
            .as_str()?
            .split_once("a null engine at the same rate: ")?
            .1
            .strip_suffix(" ms")
    });
    assert!(note.unwrap().parse::<f64>().unwrap() > 0.0, "{document}");
    let small = grown(&document).into_iter().filter(|before| *before == 2_000).count();
    assert_eq!(small, 2, "{document}");
    assert!(is_empty(home.path()), "the data are removed");
}

/// What became of the check that payments sent again are answered as before.
fn sent_again(document: &Value) -> &Value {
    let checks = document["checks"].as_array().unwrap();
    checks.iter().find(|check| check["what"].as_str().unwrap().contains("sent again")).unwrap()
}

#[test]
fn batches_of_one_payer_are_not_refused_and_are_sent_again_by_their_keys() {
    let home = tempfile::tempdir().unwrap();
    let few = ["--wallets", "10", "--batch", "20", "--connections", "4,64,99"];
    let all = [&few[..], &["--scenario", "hot-out,bank-to-many"]].concat();
    let document = bench(kopeck(home.path()), &all);
    let (out, bank) = (("kopeck", "hot-out"), ("kopeck", "bank-to-many"));
    check(&document, &[out, out, bank, bank]);
    assert_eq!(document["runs"][1]["connections"], 16);
    assert_eq!(document["notes"].as_array().unwrap().len(), 2, "{document}");
    let warnings = document["warnings"].as_array().unwrap().iter();
    // Other tests take processors meanwhile.
    let of_load = |warning: &&Value| !warning.as_str().unwrap().contains("% of all processors");
    assert_eq!(warnings.filter(of_load).count(), 0, "{document}");
    let again = sent_again(&document);
    assert_eq!(again["holds"], true, "{again}");
    assert!(!again["detail"].as_str().unwrap().starts_with("0 "), "{again}");
}

#[test]
fn what_was_not_checked_is_not_said_to_hold() {
    let home = tempfile::tempdir().unwrap();
    let document = bench(kopeck(home.path()), &["--wallets", "10", "--no-keys"]);
    check(&document, &[("kopeck", "uniform")]);
    assert_eq!(sent_again(&document)["holds"], Value::Null);
}

#[cfg(target_os = "linux")]
#[test]
fn the_thread_for_http_of_a_private_service_stays_where_it_is_put_and_the_writer_beside_it() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let all =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let first = all.split([',', '-']).next().unwrap();
    let home = tempfile::tempdir().unwrap();
    let few = ["--wallets", "10", "--connections", "2", "--http-processors", first];
    let document = bench(kopeck(home.path()), &few);
    check(&document, &[("kopeck", "uniform")]);
    let settings = document["settings"].as_array().unwrap();
    let place = |whose| {
        settings.iter().find(|setting| setting["name"] == whose).unwrap()["value"].as_str().unwrap()
    };
    if all == first {
        // There is only one.
        assert_eq!([place("HTTP thread"), place("writer")], ["on any processor"; 2]);
        return;
    }
    assert_eq!(place("HTTP thread"), format!("kept to processor {first}"));
    let others = place("writer").strip_prefix("kept to processor ").unwrap();
    assert!(others != all && others.split([',', '-']).all(|other| other != first), "{others}");
}

#[test]
fn the_engine_is_measured_alone_and_kept_data_are_used_again() {
    let home = tempfile::tempdir().unwrap();
    let arguments = ["--engine", "--operations", "1900", "--batch", "500", "--wallets", "50"];
    let kept = ["--work-dir", "work", "--keep", "--scenario", "zipf", "--rounds", "1"];
    let all: Vec<_> = arguments.into_iter().chain(kept).collect();
    for before in [50, 2_050] {
        let document = run(kopeck(home.path()), &all);
        check(&document, &[("engine", "zipf"), ("log", "zipf"), ("raw", "append and fsync")]);
        assert_eq!(document["runs"][0]["operations_acknowledged"], 2_000);
        for not_known in ["longest_pause_ms", "latency_ms/p99", "server_processors_busy"] {
            for run in [1, 2] {
                let pointer = format!("/runs/{run}/{not_known}");
                assert_eq!(document.pointer(&pointer), Some(&Value::Null), "{pointer}");
            }
        }
        assert!(grown(&document).contains(&before), "{document}");
        // It is said that there is more in it than was asked for.
        assert_eq!(document["notes"].as_array().unwrap().len(), usize::from(before > 50));
    }
    // Another size is not what is there.
    let output = kopeck(home.path())
        .args(["bench", "--engine", "--work-dir", "work", "--keep", "--wallets", "51"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("other sizes"));
}

/// Measures, until somebody ends it, with a server on data that are kept or not. A SIGHUP ends it, also where
/// whoever runs the tests ignores it, as `nohup` does.
fn long_bench(home: &Path, keep: &[&str]) -> Child {
    let few =
        ["bench", "--rounds", "1", "--seconds", "120", "--wallets", "10", "--connections", "1"];
    let mut command = in_home(Command::new("env"), home);
    command.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_kopeck")]);
    command.args(few).args(["--work-dir", "work"]).args(keep);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    let kill = Command::new("sh").args(["-c", "kill -$1 $2", "sh", name, &pid]).status();
    assert!(kill.unwrap().success());
}

#[test]
fn nothing_is_left_behind_when_the_terminal_goes() {
    let home = tempfile::tempdir().unwrap();
    let work = home.path().join("work");
    let mut bench = long_bench(home.path(), &[]);
    until("a server is started", || {
        let dirs = std::fs::read_dir(&work).into_iter().flatten().flatten();
        dirs.into_iter().any(|dir| dir.path().join("book/kopeck.log").exists())
    });
    signal(&bench, "HUP");
    until("it ends", || bench.try_wait().unwrap().is_some());
    assert!(is_empty(&work));
}

#[cfg(target_os = "linux")]
#[test]
fn a_private_server_that_has_ended_is_named_with_how() {
    let home = tempfile::tempdir().unwrap();
    let few = ["bench", "--rounds", "1", "--seconds", "120", "--wallets", "10"];
    let mut command = kopeck(home.path());
    command.args(few).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut bench = command.spawn().unwrap();
    let kill = "set -- $(cat /proc/$1/task/*/children); test $# = 1 && sleep 3 && kill -9 $1";
    let id = bench.id().to_string();
    until("the server is started and killed", || {
        Command::new("sh").args(["-c", kill, "sh", &id]).status().unwrap().success()
    });
    until("it ends", || bench.try_wait().unwrap().is_some());
    let output = bench.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(") has ended with signal 9"), "{said}");
    assert!(said.contains("cannot connect") || said.contains("cannot be asked"), "{said}");
}

#[test]
fn the_engine_alone_is_stopped_in_the_middle_of_its_round() {
    let home = tempfile::tempdir().unwrap();
    let work = home.path().join("work");
    let few = ["bench", "--engine", "--operations", "20000000", "--rounds", "1", "--wallets", "10"];
    let mut command = kopeck(home.path());
    command.args(few).args(["--work-dir", "work"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut bench = command.spawn().unwrap();
    until("the book is made", || {
        let dirs = std::fs::read_dir(&work).into_iter().flatten().flatten();
        let marks = dirs.map(|dir| dir.path().join("engine/kopeck-bench.json"));
        let texts = marks.into_iter().filter_map(|mark| std::fs::read_to_string(mark).ok());
        texts.into_iter().any(|text| text.contains("\"made\":true"))
    });
    signal(&bench, "INT");
    let began = Instant::now();
    until("it ends", || bench.try_wait().unwrap().is_some());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(is_empty(&work));
}

#[test]
fn a_private_server_ends_with_its_benchmark_and_two_cannot_have_the_same_data() {
    let home = tempfile::tempdir().unwrap();
    let mut bench = long_bench(home.path(), &["--keep"]);
    let again = || {
        let few = ["bench", "--rounds", "1", "--seconds", "0.1", "--wallets", "10"];
        let place = ["--connections", "1", "--work-dir", "work", "--keep"];
        let output = kopeck(home.path()).args(few).args(place).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    until("a server is started", || home.path().join("work/book/kopeck.log").exists());
    until("it has the data", || again().1.contains("in use by another kopeck process"));
    bench.kill().unwrap();
    bench.wait().unwrap();
    until("its server has ended too", || again().0);
}

#[test]
fn a_service_that_runs_already_is_driven_over_its_api() {
    let service = Service::start();
    let home = tempfile::tempdir().unwrap();
    let mut command = kopeck(home.path());
    command.env("BANK_EMAIL", BANK_EMAIL).env("BANK_PASS", BANK_PASS);
    let arguments = ["--url", service.url(), "--wallets", "3", "--connections", "4"];
    let document = bench(command, &arguments);
    check(&document, &[("kopeck", "uniform")]);
    assert!(is_empty(home.path()), "nothing is made here");
    let output = kopeck(home.path()).args(["bench", "--url", service.url()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("BANK_PASS"));
}

#[test]
fn a_service_whose_currency_has_not_two_digits_is_refused_before_anybody_signs_up() {
    let service = Service::start_with(&["--currency", "JPY"]);
    let home = tempfile::tempdir().unwrap();
    let mut command = kopeck(home.path());
    command.env("BANK_EMAIL", BANK_EMAIL).env("BANK_PASS", BANK_PASS);
    let output = command.args(["bench", "--url", service.url()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("{} cannot be measured", service.url())), "{said}");
    assert!(said.contains("the service keeps JPY"), "{said}");
}

#[test]
fn a_stand_in_starts_only_where_a_benchmark_has_made_the_data() {
    let mut service = Service::start();
    assert!(service.stop().success());
    let data = service.data();
    let output = kopeck(data.parent().unwrap())
        .args(["bench-stand-in", "--as", "null", "--work-dir"])
        .arg(&data)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("not a benchmark's directory"));
}
