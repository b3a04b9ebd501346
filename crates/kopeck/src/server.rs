//! Owns the sockets: accepting, bounding and serving connections, and stopping.
//!
//! Never: what is asked or answered. Bounds: `connections_max` connections, or as many as there may be
//! open files for, of them `connections_per_address_max` from one address, and twice as many from a site of IPv6
//! networks; a head of [`HEAD_BYTES_MAX`] that comes within the header timeout; an answer of which something
//! is taken within the answer timeout, again and again; a stop that takes at most the shutdown time. HTTP/1.1
//! only: the header timeout runs from a connection's first moment, which sniffing for HTTP/2 would not allow.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutWriter;

use crate::auth::Peer;
use crate::auth::throttle::{network, site};
use crate::state::AppState;
use crate::turns::{Turn, Turns};

/// The greatest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 32 * 1_024;
/// How long to wait when the process may open no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// So many files are left for the data and all else that is not a connection.
const FILES_FOR_DATA: usize = 256;
/// So many connections are taken however few files there may be.
const CONNECTIONS_MIN: usize = 64;
/// How many connections may wait to be accepted.
const BACKLOG: u32 = 4_096;

/// Takes an address, without listening: nobody can connect yet.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Listens; nobody is answered yet.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address)?.listen(BACKLOG)
}

/// Serves until `stop` resolves, then finishes what was accepted within the time that `stop` gives.
pub(crate) async fn serve<F: Future<Output = Response> + Send + 'static>(
    listener: TcpListener,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    state: &AppState,
    stop: impl Future<Output = Duration>,
) {
    let connections = Connections::new(state);
    let graceful = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(state.config.header_timeout_seconds)
        .max_buf_size(HEAD_BYTES_MAX)
        // Answers are small: copied behind their heads they cost less than a list of two pieces.
        .writev(false)
        // Who has said everything may still want to hear the answer.
        .half_close(true);
    let mut stop = std::pin::pin!(stop);
    let grace = loop {
        let (stream, peer, held) = tokio::select! {
            biased;
            grace = &mut stop => break grace,
            accepted = connections.accept(&listener) => accepted,
        };
        let answer = answer.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let answer = answer(request);
            async { Ok::<_, Infallible>(answer.await) }
        });
        // Without it, who asks and never reads would hold a connection for ever.
        let mut stream = TimeoutWriter::new(stream);
        stream.set_timeout(Some(state.config.answer_timeout_seconds));
        let stream = TokioIo::new(Box::pin(stream));
        let connection = graceful.watch(builder.serve_connection(stream, service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%peer, %error, "connection broke");
            }
            drop(held);
        });
    };
    drop(listener);
    state.stopping.send_replace(true);
    if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
        tracing::warn!("some connections did not finish in time and are cut");
    }
}

/// Counts connections, in all and by address.
struct Connections {
    state: AppState,
    all: Arc<Semaphore>,
    by_address: ByAddress,
}

/// An IPv6 network is one address, for a client has all of it; and a customer may have a site of 256 of them.
struct ByAddress {
    networks: Turns<IpAddr>,
    sites: Turns<IpAddr>,
}

impl ByAddress {
    fn new() -> Self {
        Self { networks: Turns::new(), sites: Turns::new() }
    }

    fn take(&self, address: IpAddr, max: usize) -> Option<[Turn<IpAddr>; 2]> {
        let of_network = self.networks.take(network(address), max)?;
        // More than a network's, so that a site has room for another network than one that takes all.
        let of_site = self.sites.take(site(address), max.max(1).saturating_mul(2))?;
        Some([of_network, of_site])
    }
}

/// A connection's place; dropped when it ends.
struct Held {
    state: AppState,
    // Given back in this order, so that who is let in next finds the address's place free.
    _by_address: Option<[Turn<IpAddr>; 2]>,
    _all: OwnedSemaphorePermit,
}

impl Connections {
    fn new(state: &AppState) -> Self {
        let wanted = state.config.connections_max;
        let files = open_files_max(wanted.saturating_add(FILES_FOR_DATA) as u64);
        let connections_max = files.map_or(wanted, |files| connections_within(wanted, files));
        if connections_max < wanted {
            tracing::warn!(
                wanted,
                connections_max,
                "the system allows too few open files for so many connections; fewer are taken"
            );
        }
        Self {
            state: state.clone(),
            all: Arc::new(Semaphore::new(connections_max.clamp(1, Semaphore::MAX_PERMITS))),
            by_address: ByAddress::new(),
        }
    }

    /// The next connection that there is room for.
    async fn accept(&self, listener: &TcpListener) -> (TcpStream, SocketAddr, Held) {
        loop {
            // Room first: the rest waits in the system's queue.
            let Ok(all) = Arc::clone(&self.all).acquire_owned().await else {
                std::future::pending::<()>().await;
                continue;
            };
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            if let Some(held) = self.hold(peer.ip().to_canonical(), all) {
                // Answers are small and should leave at once.
                let _ = stream.set_nodelay(true);
                return (stream, peer, held);
            }
            tracing::debug!(%peer, "too many connections from one address");
        }
    }

    fn hold(&self, address: IpAddr, all: OwnedSemaphorePermit) -> Option<Held> {
        let config = &self.state.config;
        let by_address = if config.trusted_proxy.iter().any(|net| net.contains(&address)) {
            None
        } else {
            Some(self.by_address.take(address, config.connections_per_address_max)?)
        };
        self.state.metrics.connections.inc();
        Some(Held { state: self.state.clone(), _by_address: by_address, _all: all })
    }
}

/// How many files may be open now: as many as are wanted, if the system lets us have them.
fn open_files_max(wanted: u64) -> Option<u64> {
    let raised = rlimit::increase_nofile_limit(wanted);
    let raised = raised.or_else(|error| {
        tracing::warn!(%error, "could not raise the limit of open files");
        rlimit::Resource::NOFILE.get_soft()
    });
    raised.ok()
}

/// How many connections there are files for: one for each, beside those for the data, which must not be
/// kept from opening what it writes.
fn connections_within(wanted: usize, files: u64) -> usize {
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    wanted.min(files.saturating_sub(FILES_FOR_DATA).max(CONNECTIONS_MIN))
}

impl Drop for Held {
    fn drop(&mut self) {
        self.state.metrics.connections.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_of_networks_has_twice_what_one_has() {
        let by_address = ByAddress::new();
        let mut held = Vec::new();
        let mut taken = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            let turns: Vec<_> = (0..9).map_while(|_| by_address.take(address, 3)).collect();
            let count = turns.len();
            held.push(turns);
            count
        };
        assert_eq!(taken("2001:db8:0:100::1"), 3);
        assert_eq!(taken("2001:db8:0:100::2"), 0, "the same network");
        assert_eq!(taken("2001:db8:0:101::1"), 3);
        assert_eq!(taken("2001:db8:0:1ff::1"), 0, "the same site");
        assert_eq!(taken("2001:db8:0:200::1"), 3);
        assert_eq!((taken("192.0.2.1"), taken("192.0.2.2")), (3, 3));
        held.remove(0);
        let next = by_address.take("2001:db8:0:1ff::1".parse().unwrap(), 3);
        assert!(next.is_some(), "what is given back is there for all of the site");
    }

    #[test]
    fn no_more_connections_than_there_are_files_for() {
        let cases = [
            (8_192, 8_448, 8_192),
            (8_192, u64::MAX, 8_192),
            (8_192, 1_024, 768),
            (8_192, 256, 64),
            (8_192, 0, 64),
            (10, 0, 10),
        ];
        for (wanted, files, expected) in cases {
            assert_eq!(connections_within(wanted, files), expected, "{wanted} of {files}");
        }
    }
}
