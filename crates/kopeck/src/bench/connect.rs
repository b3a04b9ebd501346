//! Owns connecting to a service: for a time, and only as long as nobody wants the benchmark to end.
//!
//! Never: a byte of a request. Bounds: [`CONNECT_MAX`] a connection; whoever wants an end waits
//! [`ATTEMPT_MAX`] at most.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::load::STOP;

/// How long a service may take to accept a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// How long one attempt takes at most. A lost packet is sent again by the next.
const ATTEMPT_MAX: Duration = Duration::from_secs(1);

/// Connects; small packets are not held back.
pub(super) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let began = Instant::now();
    loop {
        if STOP.load(Ordering::Relaxed) {
            return Err(io::Error::other("stopped"));
        }
        match TcpStream::connect_timeout(&address, ATTEMPT_MAX) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) if error.kind() != io::ErrorKind::TimedOut => {
                let said = format!("cannot connect to {address}: {error}");
                return Err(io::Error::new(error.kind(), said));
            }
            Err(_) if began.elapsed() < CONNECT_MAX => {}
            Err(error) => {
                let said = format!("{address} accepts no connection within {CONNECT_MAX:?}");
                return Err(io::Error::new(error.kind(), said));
            }
        }
    }
}
