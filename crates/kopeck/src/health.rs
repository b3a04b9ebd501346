//! Owns what orchestrators ask: is it alive, is it ready, what do the metrics say.
//!
//! Never: a dependency in `/livez`: a service that waits for its disk must not be killed for it.
//! Bounds: `/readyz` waits [`READY_WAIT_MAX`] for the engine, and whoever asks it
//! [`ASK_WAIT_MAX`] for the answer.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, Request, StatusCode, header};
use hyper_util::rt::TokioIo;

use crate::problem::{Code, Problem};
use crate::state::AppState;

const READY_WAIT_MAX: Duration = Duration::from_secs(2);
const ASK_WAIT_MAX: Duration = Duration::from_secs(4);

/// The process runs.
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// The engine answers and has not halted.
pub(crate) async fn readyz(State(state): State<AppState>) -> Result<&'static str, Problem> {
    let not_ready = || Problem::new(Code::NotReady).retry_after(Duration::from_secs(5));
    if *state.stopping.borrow() {
        return Err(not_ready().detail("the service is stopping"));
    }
    match tokio::time::timeout(READY_WAIT_MAX, state.people.bank()).await {
        Ok(Ok(_)) => Ok("ok\n"),
        Ok(Err(error)) => {
            Err(not_ready().detail("the engine cannot be read").privately(error.to_string()))
        }
        Err(_) => Err(not_ready().detail("the engine does not answer")),
    }
}

/// The metrics, for Prometheus.
pub(crate) async fn metrics(
    State(state): State<AppState>,
) -> ([(HeaderName, &'static str); 1], String) {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], state.metrics.text())
}

/// `kopeck health`: asks the service that listens there. An error unless it is ready.
pub(crate) async fn ask(listen: SocketAddr) -> anyhow::Result<()> {
    let address = SocketAddr::new(reachable(listen.ip()), listen.port());
    let asked = tokio::time::timeout(ASK_WAIT_MAX, ask_readyz(address)).await;
    let status = asked
        .map_err(|_| anyhow::anyhow!("no answer within {ASK_WAIT_MAX:?}"))
        .flatten()
        .with_context(|| format!("{address} is not healthy"))?;
    anyhow::ensure!(status.is_success(), "{address} is not ready: {status}");
    // The status tells it too.
    let _ = writeln!(std::io::stdout().lock(), "{address} is ready");
    Ok(())
}

async fn ask_readyz(address: SocketAddr) -> anyhow::Result<StatusCode> {
    let stream = tokio::net::TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request =
        Request::get("/readyz").header(header::HOST, address.to_string()).body(Body::empty())?;
    Ok(sender.send_request(request).await?.status())
}

/// What listens on all addresses is asked on this machine's own.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}
