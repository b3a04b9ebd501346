//! The faults are real: each piece of machinery does to a file or a connection what it says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use checker::disk::{PowerDisk, SmallDisk};
use checker::injection::{Calls, Injection};
use checker::machine::{self, Need};
use checker::proxy::Proxy;
use checker::results::{Line, Tally, table};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// True, and said aloud, where the machine cannot.
fn skipped(needs: &[Need], dir: &Path) -> bool {
    let lacks = machine::lacks(needs, dir);
    if let Some(why) = &lacks {
        eprintln!("SKIPPED: {why}");
    }
    lacks.is_some()
}

#[test]
fn a_power_cut_takes_what_was_not_synced_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    if skipped(&[Need::PowerDisk], dir.path()) {
        return;
    }
    let mut disk = PowerDisk::new(dir.path(), 16).unwrap();
    let mounted = disk.path();
    for round in 0..3 {
        let mut file =
            File::options().create(true).append(true).open(mounted.join("file")).unwrap();
        file.write_all(b"synced ").unwrap();
        file.sync_all().unwrap();
        file.write_all(b"not synced ").unwrap();
        fs::write(mounted.join("new"), "not synced either").unwrap();
        disk.cut_power().unwrap();
        assert!(file.sync_all().is_err(), "nothing can be synced any more");
        drop(file);
        disk.come_back().unwrap();
        let kept = fs::read_to_string(mounted.join("file")).unwrap();
        assert_eq!(kept, "synced ".repeat(round + 1));
        assert!(!fs::exists(mounted.join("new")).unwrap());
    }
    drop(disk);
    assert!(!fs::exists(mounted).unwrap(), "it leaves nothing behind");
}

#[test]
fn a_small_disk_fills_and_is_freed() {
    let dir = tempfile::tempdir().unwrap();
    if skipped(&[Need::SmallDisk], dir.path()) {
        return;
    }
    // The kernel counts a tmpfs's pages for each processor, so a few of them are neither free nor taken.
    let disk = SmallDisk::new(dir.path(), 8 * 1_024).unwrap();
    let file = disk.path().join("file");
    disk.fill(1_024).unwrap();
    fs::write(&file, vec![1; 4_096]).unwrap();
    let error = fs::write(&file, vec![1; 4 * 1_024 * 1_024]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    disk.free().unwrap();
    fs::write(&file, vec![1; 4 * 1_024 * 1_024]).unwrap();
}

#[test]
fn the_nth_call_on_the_file_fails_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    if skipped(&[Need::Strace], dir.path()) {
        return;
    }
    let dir = dir.path().canonicalize().unwrap();
    let (file, other) = (dir.join("file"), dir.join("other"));
    let copy = |injection: &Injection, to: &Path| {
        let words = injection.wrapper();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["dd", "if=/dev/zero", "bs=1", "count=3", "conv=fsync"]);
        command.arg(format!("of={}", to.display())).output().unwrap().status.success()
    };
    let injection = |calls, nth| {
        let trace = dir.join(format!("trace-{nth}-{calls:?}"));
        Injection { calls, files: vec![file.clone()], nth, trace }
    };
    for nth in 1..=3 {
        let injection = injection(Calls::Writes, nth);
        assert!(!copy(&injection, &file), "write {nth} of three");
        assert!(injection.struck());
        assert_eq!(fs::metadata(&file).unwrap().len(), nth - 1, "it was not carried out");
    }
    let beyond = injection(Calls::Writes, 4);
    assert!(copy(&beyond, &file));
    assert!(!beyond.struck());
    let sync = injection(Calls::Syncs, 1);
    assert!(copy(&sync, &other) && !sync.struck(), "another file");
    assert!(!copy(&sync, &file) && sync.struck());
}

/// Answers each line with itself, twenty times over.
async fn echo(listener: TcpListener) {
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut line = [0; 8];
            while client.read_exact(&mut line).await.is_ok() {
                let _ = client.write_all(&line.repeat(20)).await;
            }
        });
    }
}

/// Asks until the connection breaks, at most 50 times; how it ended.
async fn ask(proxy: &Proxy) -> io::Result<()> {
    let mut client = TcpStream::connect(proxy.address()).await?;
    for number in 0..50 {
        let line = format!("line{number:>4}");
        client.write_all(line.as_bytes()).await?;
        let mut answer = [0; 160];
        client.read_exact(&mut answer).await?;
        assert_eq!(answer.as_slice(), line.repeat(20).as_bytes(), "no byte is changed");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_does_each_thing_that_a_network_does() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let upstream = listener.local_addr().unwrap();
    tokio::spawn(echo(listener));
    let proxy = Proxy::start(upstream, 1).await.unwrap();
    let (mut fair, mut resets, mut ends) = (0, 0, 0);
    let proxy = Arc::new(proxy);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..60 {
        let proxy = Arc::clone(&proxy);
        asking.spawn(async move { ask(&proxy).await });
    }
    for ended in asking.join_all().await {
        match ended.map_err(|error| error.kind()) {
            Ok(()) => fair += 1,
            Err(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => resets += 1,
            Err(io::ErrorKind::UnexpectedEof) => ends += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(fair > 0 && resets > 0 && ends > 0, "{fair} fair, {resets} reset, {ends} ended");
    let mishaps = proxy.mishaps();
    assert_eq!(mishaps.connections, 60);
    let each = [mishaps.delayed, mishaps.reset, mishaps.half_closed, mishaps.truncated];
    assert!(each.iter().all(|count| *count > 0), "{mishaps:?}");
}

#[test]
fn results_are_appended_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("results/file.jsonl");
    let mut tally = Tally { count: 20, acknowledged: 1_234, ..Tally::default() };
    tally.add("bursts", 2);
    tally.add("bursts", 3);
    let line = Line {
        campaign: "kill".to_owned(),
        verdict: tally.verdict().to_owned(),
        seed: 7,
        commit: "abc".to_owned(),
        version: "kopeck 0".to_owned(),
        started: "2026-01-01T00:00:00Z".to_owned(),
        seconds: 1.5,
        tally,
    };
    line.append(&file).unwrap();
    line.append(&file).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[1]["seed"], &lines[1]["acknowledged"]), (&7.into(), &1_234.into()));
    assert_eq!(lines[1]["figures"]["bursts"], 5);
    assert!(table(&[line]).contains("kill      passed     20          1234"), "{text}");
    assert_eq!(Tally::skipped("no root".to_owned()).verdict(), "SKIPPED");
    let mut wrong = Tally::default();
    wrong.violation("lost");
    assert_eq!(wrong.verdict(), "FAILED");
}
