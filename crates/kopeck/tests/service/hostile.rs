//! Clients that hold connections on purpose: slow heads, slow bodies, answers that nobody reads.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::harness::Service;

/// How many of each kind that sends slowly, and how many that don't read: what is sent to one of
/// those is kept by the system, and is a few megabytes.
const SENDERS: usize = 200;
const NON_READERS: usize = 40;
const PAYMENTS: usize = 50;
/// Before this a connection that should be let go must be. Far more than it takes.
const LET_GO_MAX: Duration = Duration::from_secs(60);

const SLOW_HEAD: &str = "POST /api/login HTTP/1.1\r\nhost: x\r\nslow: ";
const SLOW_BODY: &str = "POST /api/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                         content-length: 60000\r\n\r\n{";
/// The biggest answer that there is.
const BIG: &str = "GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n";

fn address(service: &Service) -> SocketAddr {
    service.url().strip_prefix("http://").unwrap().parse().unwrap()
}

async fn connect(service: &Service, text: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    // Little fits, so that an answer that is not read soon waits in the service.
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut stream = socket.connect(address(service)).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// More than the system keeps for the one who does not read.
async fn ask_and_not_read(service: &Service, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(connect(service, &BIG.repeat(6)).await);
    }
    held
}

/// How many connections the service has; the one that asks is one of them.
async fn connections(service: &Service) -> usize {
    let metrics = service.client().get("/metrics").await.text;
    let line = metrics.lines().find_map(|line| line.strip_prefix("kopeck_connections "));
    line.unwrap().parse().unwrap()
}

async fn wait_for_connections(service: &Service, fits: impl Fn(usize) -> bool) {
    let start = Instant::now();
    loop {
        let count = connections(service).await;
        if fits(count) {
            return;
        }
        assert!(start.elapsed() < LET_GO_MAX, "{count} connections");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn others_are_served_while_connections_are_held() {
    rlimit::increase_nofile_limit(4_096).unwrap();
    // Nobody is let go while this test looks.
    let service = Service::start_with(&[
        "--header-timeout-seconds=600",
        "--body-timeout-seconds=600",
        "--answer-timeout-seconds=600",
    ]);
    let (anna, boris) = (service.sign_up_with("anna", "100").await, service.sign_up("boris").await);
    let mut slow = Vec::new();
    for text in [SLOW_HEAD, SLOW_BODY] {
        for _ in 0..SENDERS {
            slow.push(connect(&service, text).await);
        }
    }
    let unread = ask_and_not_read(&service, NON_READERS).await;
    let held = slow.len() + unread.len();
    wait_for_connections(&service, |count| count >= held).await;

    let trickle = tokio::spawn(async move {
        loop {
            for stream in &mut slow {
                stream.write_all(b"x").await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    for paid in 1..=PAYMENTS {
        anna.client.transfer(boris.wallet, "1").await.expect_ok();
        assert_eq!(boris.client.balance().await, format!("{paid}.00"));
        assert_eq!(boris.client.get("/").await.status, 200);
    }
    assert!(connections(&service).await >= held, "they are held all the time");
    assert!(!trickle.is_finished(), "every slow sender still sends");
    trickle.abort();
    drop(unread);
}

/// The same file, in memory once for all, whoever reads it.
#[tokio::test]
async fn the_biggest_answer_costs_little_for_each_who_asks_for_it() {
    const ASKED: usize = 200;
    rlimit::increase_nofile_limit(4_096).unwrap();
    let service = Service::start();
    let mut held = ask_and_not_read(&service, 1).await;
    let Some(before) = service.memory_mib() else {
        eprintln!("NOT TESTED: what an answer costs. The system does not tell.");
        return;
    };
    held.extend(ask_and_not_read(&service, ASKED).await);
    for _ in 0..ASKED {
        // Whoever has read all of it, and says nothing more, costs no more either.
        let mut stream = TcpStream::connect(address(&service)).await.unwrap();
        stream.write_all(BIG.as_bytes()).await.unwrap();
        let mut left = 1_000_000_usize;
        while left > 0 {
            let read = stream.read(&mut [0; 65_536]).await.unwrap();
            assert!(read > 0, "{left} bytes are missing");
            left = left.saturating_sub(read);
        }
        held.push(stream);
    }
    wait_for_connections(&service, |count| count > 2 * ASKED).await;
    let costs = service.memory_mib().unwrap() - before;
    // Of 1.5 MB each it was 500.
    assert!(costs < 150, "{costs} MiB");
}

#[tokio::test]
async fn who_never_reads_an_answer_is_let_go() {
    let service = Service::start_with(&["--answer-timeout-seconds=1"]);
    let held = ask_and_not_read(&service, NON_READERS).await;
    // Without their answer they can't even ask again: the time for a next head does not run.
    wait_for_connections(&service, |count| count <= 2).await;
    drop(held);
}
