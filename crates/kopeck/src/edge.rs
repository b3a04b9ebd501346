//! Owns the one middleware that every request passes: who sent it, what nothing here does refused, whether
//! another site made it do so, its body read whole, panics caught, the answer's security headers, its
//! metrics and its log.
//!
//! Never: a log line for an ordinary request above debug; a word on what is asked. Bounds: a body of
//! `body_bytes_max` that comes within `body_timeout`, but for batches, whose route knows the caller
//! before it reads and has bounds of its own. All in one place and not in a stack of layers,
//! because it is on the way of every transfer.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http_body_util::{LengthLimitError, Limited};

use crate::auth::{Client, Peer, cross_site, is_by_untrusted_proxy};
use crate::body::{discard, discard_unread, read_whole};
use crate::problem::{Code, PROBLEM_JSON, PrivateDetail, Problem};
use crate::state::AppState;
use crate::telemetry::Route;
use crate::{api, hex, unsupported, web};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// On every answer. The pages load their style from this host and run no script of another's.
const SECURITY: [(HeaderName, HeaderValue); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

const EMPTY: HeaderValue = HeaderValue::from_static("");
const STRICT_TRANSPORT: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// A request's id: unique within this process, told to the client, and in the log where the request
/// is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestId(u64);

impl RequestId {
    fn next(state: &AppState) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Self(state.request_id_base.wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The id as sixteen hexadecimal digits.
    fn digits(self) -> [u8; 16] {
        let mut rest = self.0;
        let mut digits = [b'0'; 16];
        for digit in digits.iter_mut().rev() {
            *digit = hex::digit((rest & 15) as u8);
            rest >>= 4;
        }
        digits
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

/// The middleware of the route table.
pub(crate) async fn edge(State(state): State<AppState>, request: Request, next: Next) -> Response {
    warn_of_untrusted_proxy(&state, &request);
    let route = request.extensions().get::<MatchedPath>().cloned().map(Route::Matched);
    pass(&state, route, request, |request| next.run(request)).await
}

/// Said once: all who come by such a proxy are one client, and share its patience. Transfers that go past
/// the route table are not looked at: whoever pays has logged in before.
fn warn_of_untrusted_proxy(state: &AppState, request: &Request) {
    static WARNED: AtomicBool = AtomicBool::new(false);
    if WARNED.load(Ordering::Relaxed) {
        return;
    }
    let Some(Peer(peer)) = request.extensions().get() else { return };
    let trusted = &state.config.trusted_proxy;
    if is_by_untrusted_proxy(peer.ip(), request.headers(), trusted)
        && !WARNED.swap(true, Ordering::Relaxed)
    {
        tracing::warn!(
            peer = %peer.ip(),
            "X-Forwarded-For is not believed: if this is your proxy, set --trusted-proxy to its address; \
             until then all who come by it are one client"
        );
    }
}

/// What is done around a request that `next` answers.
pub(crate) async fn pass<F: Future<Output = Response>>(
    state: &AppState,
    route: Option<Route>,
    request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let start = Instant::now();
    let id = RequestId::next(state);
    let method = request.method().clone();
    let person = is_person(&request).then(|| request.headers().clone());
    let client = request
        .extensions()
        .get::<Peer>()
        .map(|peer| Client::of(peer.0.ip(), request.headers(), &state.config.trusted_proxy));
    let answered = AssertUnwindSafe(answer(state, client, request, next)).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|_| {
        Problem::new(Code::Internal).privately("a handler panicked").into_response()
    });
    make_problem(&mut response);
    if let Some(headers) = person {
        response = make_page(response, &headers);
    }
    let status = response.status();
    log(id, &method, route.as_ref(), client, &mut response);
    secure(response.headers_mut(), id, client.is_some_and(|client| client.https));
    state.metrics.count_request(route, &method, status, start.elapsed());
    response
}

async fn answer<F: Future<Output = Response>>(
    state: &AppState,
    client: Option<Client>,
    mut request: Request,
    next: impl FnOnce(Request) -> F,
) -> Response {
    let Some(client) = client else {
        return Problem::new(Code::Internal).privately("a request without a peer").into_response();
    };
    // First, for the next compares with the host.
    if let Err(problem) = unsupported::check(&request) {
        return refuse_unread(request, problem).await;
    }
    if !cross_site::allows(request.method(), request.uri(), request.headers()) {
        return Problem::new(Code::CrossSiteRequest)
            .detail("requests that change something must come from this site's own pages")
            .into_response();
    }
    request.extensions_mut().insert(client);
    if !request.body().is_end_stream() && request.uri().path() != api::BATCH_PATH {
        request = match with_whole_body(state, request).await {
            Ok(request) => request,
            Err(problem) => return problem.into_response(),
        };
    }
    next(request).await
}

/// Refuses a request for its head.
async fn refuse_unread(request: Request, problem: Problem) -> Response {
    let (parts, body) = request.into_parts();
    discard_unread(&parts.headers, body).await;
    let mut response = problem.into_response();
    if response.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        let identity = HeaderValue::from_static("identity");
        response.headers_mut().insert(header::ACCEPT_ENCODING, identity);
    }
    response
}

/// Reads the body before anything looks at it: its bounds are here and nowhere else, but for those of
/// batches.
async fn with_whole_body(state: &AppState, request: Request) -> Result<Request, Problem> {
    let limit = state.config.body_bytes_max;
    let too_large =
        || Problem::new(Code::BodyTooLarge).detail(format!("a body has at most {limit} bytes"));
    let (parts, mut body) = request.into_parts();
    if body.size_hint().lower() > limit as u64 {
        discard_unread(&parts.headers, body).await;
        return Err(too_large());
    }
    let read = {
        let mut whole = pin!(read_whole(Limited::new(&mut body, limit)));
        // Nearly every body is there already: the clock is only set for one that is not.
        match whole.as_mut().now_or_never() {
            Some(read) => Ok(read),
            None => tokio::time::timeout(state.config.body_timeout_seconds, whole).await,
        }
    };
    match read {
        Ok(Ok(whole)) => Ok(Request::from_parts(parts, Body::from(whole))),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            discard(body).await;
            Err(too_large())
        }
        Ok(Err(_)) => {
            Err(Problem::new(Code::MalformedRequest).detail("the body broke off or is malformed"))
        }
        Err(_) => Err(Problem::new(Code::RequestTimeout)),
    }
}

/// Turns what axum answers by itself (405, and whatever it may refuse) into a problem.
fn make_problem(response: &mut Response) {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return;
    }
    let typed = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value == PROBLEM_JSON || value.as_bytes().starts_with(b"text/html"));
    if typed {
        return;
    }
    let problem = Problem::new(match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::PAYLOAD_TOO_LARGE => Code::BodyTooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
        StatusCode::SERVICE_UNAVAILABLE => Code::NotReady,
        status if status.is_server_error() => Code::Internal,
        _ => Code::MalformedRequest,
    });
    let allow = response.headers_mut().remove(header::ALLOW);
    let mut problem = problem.into_response();
    if let Some(allow) = allow {
        problem.headers_mut().insert(header::ALLOW, allow);
    }
    std::mem::swap(response, &mut problem);
}

fn log(
    id: RequestId,
    method: &Method,
    route: Option<&Route>,
    client: Option<Client>,
    response: &mut Response,
) {
    let status = response.status().as_u16();
    let route = route.map_or("", Route::as_str);
    let client = client.map(|client| tracing::field::display(client.address));
    if let Some(PrivateDetail(detail)) = response.extensions_mut().remove() {
        tracing::error!(%id, %method, route, status, client, detail, "request failed");
    } else {
        tracing::debug!(%id, %method, route, status, client, "request");
    }
}

/// Adds what every answer carries. A handler's own policy or caching stays.
fn secure(headers: &mut HeaderMap, id: RequestId, https: bool) {
    /// Copied whole: that is cheaper than to put each header in its place. With a place for what
    /// nearly every answer has besides, so that the copy need not grow.
    static COMMON: LazyLock<HeaderMap> = LazyLock::new(|| {
        let mut common = HeaderMap::with_capacity(2 * SECURITY.len());
        common.extend(SECURITY);
        common.extend([header::CONTENT_TYPE, REQUEST_ID].map(|name| (name, EMPTY)));
        common
    });
    let own = std::mem::replace(headers, COMMON.clone());
    if !own.contains_key(header::CONTENT_TYPE) {
        headers.remove(header::CONTENT_TYPE);
    }
    headers.extend(own);
    if https {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, STRICT_TRANSPORT);
    }
    if let Ok(id) = HeaderValue::from_bytes(&id.digits()) {
        headers.insert(REQUEST_ID, id);
    }
}

/// Shows a problem to a person as a page; everything else stays as it is.
fn make_page(mut response: Response, headers: &HeaderMap) -> Response {
    let problem =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM_JSON);
    if !problem {
        return response;
    }
    let allow = response.headers_mut().remove(header::ALLOW);
    let mut page = web::errors::page_instead(response, headers);
    if let Some(allow) = allow {
        page.headers_mut().insert(header::ALLOW, allow);
    }
    page
}

/// Whether a person is on the other end: the path is not the API's, and the answer may be a page.
fn is_person(request: &Request) -> bool {
    let path = request.uri().path();
    let api = path == "/api" || path.starts_with("/api/");
    let accepts =
        |accept: &HeaderValue| accept.to_str().is_ok_and(|accept| accept.contains("text/html"));
    !api && request.headers().get(header::ACCEPT).is_some_and(accepts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_sixteen_hexadecimal_digits() {
        for id in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(RequestId(id).to_string(), format!("{id:016x}"));
        }
    }

    #[test]
    fn what_every_answer_carries_leaves_the_rest_as_it_was() {
        let mut headers = HeaderMap::new();
        secure(&mut headers, RequestId(1), false);
        assert_eq!(headers.len(), SECURITY.len() + 1, "and the id: {headers:?}");
        assert!(headers.values().all(|value| !value.is_empty()), "{headers:?}");
        let own = HeaderValue::from_static("private");
        let mut headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("text/csv")),
            (header::CACHE_CONTROL, own.clone()),
            (header::SET_COOKIE, HeaderValue::from_static("a=1")),
        ]);
        headers.append(header::SET_COOKIE, HeaderValue::from_static("b=2"));
        secure(&mut headers, RequestId(1), true);
        assert_eq!(headers[header::CONTENT_TYPE], "text/csv");
        assert_eq!(headers.get_all(header::CACHE_CONTROL).iter().collect::<Vec<_>>(), [&own]);
        assert_eq!(headers.get_all(header::SET_COOKIE).iter().count(), 2);
        assert!(headers.contains_key(header::STRICT_TRANSPORT_SECURITY));
        assert_eq!(headers[REQUEST_ID], "0000000000000001");
    }
}
