//! Owns a bad network: a TCP proxy that delays, resets a connection after the request was sent,
//! closes one half of it, or cuts an answer short.
//!
//! Never: a byte changed, or HTTP understood. A client writes a request in one piece, so a piece is
//! taken for a request; where it is not, the fault strikes in the middle of one, which is no less
//! a fault. Bounds: a task a connection, all ended when the proxy is dropped.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

const PIECE_BYTES: usize = 16 * 1_024;
/// The longest delay of one piece.
const DELAY_MS_MAX: u64 = 40;
/// A connection's fault strikes at one of its first so many requests.
const STRIKES_WITHIN: u64 = 24;

/// How often each thing happened.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Mishaps {
    /// Connections that were accepted.
    pub connections: u64,
    /// Pieces that were held up.
    pub delayed: u64,
    /// Connections that were reset after a request had been passed on, before its answer was.
    pub reset: u64,
    /// Connections whose half towards the service was closed after a request.
    pub half_closed: u64,
    /// Answers of which only a part was passed on.
    pub truncated: u64,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    delayed: AtomicU64,
    reset: AtomicU64,
    half_closed: AtomicU64,
    truncated: AtomicU64,
}

/// A proxy in front of a service.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    upstream: Arc<RwLock<SocketAddr>>,
    counters: Arc<Counters>,
    accepting: AbortHandle,
}

/// What becomes of a connection.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Fair,
    Reset,
    HalfClosed,
    Truncated,
}

impl Proxy {
    /// Listens on a free port of loopback. What happens to which connection follows from the seed,
    /// in the order of connecting.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(upstream: SocketAddr, seed: u64) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let upstream = Arc::new(RwLock::new(upstream));
        let counters = Arc::new(Counters::default());
        let accept = accept(listener, Arc::clone(&upstream), Arc::clone(&counters), seed);
        let accepting = tokio::spawn(accept).abort_handle();
        Ok(Self { address, upstream, counters, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The service is somewhere else now; connections that are there already stay.
    pub fn lead_to(&self, upstream: SocketAddr) {
        *self.upstream.write().unwrap_or_else(PoisonError::into_inner) = upstream;
    }

    /// How often each thing happened until now.
    #[must_use]
    pub fn mishaps(&self) -> Mishaps {
        let Counters { connections, delayed, reset, half_closed, truncated } = &*self.counters;
        Mishaps {
            connections: connections.load(Relaxed),
            delayed: delayed.load(Relaxed),
            reset: reset.load(Relaxed),
            half_closed: half_closed.load(Relaxed),
            truncated: truncated.load(Relaxed),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    upstream: Arc<RwLock<SocketAddr>>,
    counters: Arc<Counters>,
    seed: u64,
) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { continue };
                counters.connections.fetch_add(1, Relaxed);
                let upstream = *upstream.read().unwrap_or_else(PoisonError::into_inner);
                let counters = Arc::clone(&counters);
                connections.spawn(carry(client, upstream, counters, rng.fork()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Errors are what a network has; whoever is at the other end sees the connection end.
async fn carry(
    client: TcpStream,
    upstream: SocketAddr,
    counters: Arc<Counters>,
    rng: fastrand::Rng,
) {
    if let Ok(service) = TcpStream::connect(upstream).await {
        let _ = client.set_nodelay(true);
        let _ = service.set_nodelay(true);
        let _ = Connection::new(client, service, counters, rng).carry().await;
    }
}

struct Connection {
    client: TcpStream,
    service: TcpStream,
    counters: Arc<Counters>,
    rng: fastrand::Rng,
    fate: Fate,
    /// The request at which the fate strikes, counted down.
    strikes_in: u64,
    /// One connection in two is slow as well.
    slow: bool,
}

impl Connection {
    fn new(
        client: TcpStream,
        service: TcpStream,
        counters: Arc<Counters>,
        mut rng: fastrand::Rng,
    ) -> Self {
        let fate = match rng.u8(..8) {
            0 | 1 => Fate::Reset,
            2 | 3 => Fate::HalfClosed,
            4 | 5 => Fate::Truncated,
            _ => Fate::Fair,
        };
        let strikes_in = rng.u64(1..=STRIKES_WITHIN);
        let slow = rng.bool();
        Self { client, service, counters, rng, fate, strikes_in, slow }
    }

    async fn carry(mut self) -> std::io::Result<()> {
        let (mut request, mut answer) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
        let mut half_closed = false;
        loop {
            tokio::select! {
                read = self.client.read(&mut request), if !half_closed => {
                    let piece = request.get(..read?).unwrap_or_default();
                    if piece.is_empty() {
                        return Ok(());
                    }
                    self.delay().await;
                    self.service.write_all(piece).await?;
                    self.strikes_in = self.strikes_in.saturating_sub(1);
                    match self.fate {
                        Fate::Reset if self.strikes_in == 0 => return self.reset().await,
                        Fate::HalfClosed if self.strikes_in == 0 => {
                            self.counters.half_closed.fetch_add(1, Relaxed);
                            self.service.shutdown().await?;
                            half_closed = true;
                        }
                        _ => {}
                    }
                }
                read = self.service.read(&mut answer) => {
                    let piece = answer.get(..read?).unwrap_or_default();
                    if piece.is_empty() {
                        return Ok(());
                    }
                    self.delay().await;
                    if matches!(self.fate, Fate::Truncated) && self.strikes_in == 0 {
                        self.counters.truncated.fetch_add(1, Relaxed);
                        let part = piece.get(..self.rng.usize(..piece.len())).unwrap_or_default();
                        self.client.write_all(part).await?;
                        return self.client.shutdown().await;
                    }
                    self.client.write_all(piece).await?;
                }
            }
        }
    }

    async fn delay(&mut self) {
        if self.slow && self.rng.u8(..4) == 0 {
            self.counters.delayed.fetch_add(1, Relaxed);
            tokio::time::sleep(Duration::from_millis(self.rng.u64(1..=DELAY_MS_MAX))).await;
        }
    }

    /// At once, while the service works on it, or when it has answered already: by chance.
    async fn reset(mut self) -> std::io::Result<()> {
        self.counters.reset.fetch_add(1, Relaxed);
        let wait = [0, 1, 3, 20].get(self.rng.usize(..4)).copied().unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        // Without lingering, closing sends a reset and throws away what is not delivered yet.
        self.client.set_zero_linger()
    }
}
