//! Owns the pages of the description, at `/docs`, and what they ask for.
//!
//! Never: a file made, or in memory, once more for each client: they are 2 MB, anybody may ask for them, and need not
//! read. Bounds: [`FILES_MAX`] files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, IntoResponse, Response};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::body::{Pieces, read_whole};
use crate::problem::{Code, Problem};
use crate::state::AppState;

/// The pages of the description run their own script from this host, which styles them as it goes.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'",
);

/// In place of the page that comes with the script: that one tells a phone no width, and is shown
/// there as on a desk, too small to be read.
const PAGE: &str = include_str!("../../templates/docs.html");

/// There are fewer; what is asked for beyond is made anew for whoever asks.
const FILES_MAX: usize = 16;

/// The files that were asked for already, by path, with their headers.
#[derive(Debug, Clone, Default)]
struct Files(Arc<Mutex<HashMap<String, (HeaderMap, Bytes)>>>);

/// The description, and its pages.
pub(super) fn routes(description: OpenApi) -> Router<AppState> {
    // The validator's badge would be another host's.
    let docs = SwaggerUi::new("/docs")
        .url("/api/openapi.json", description)
        .config(Config::default().validator_url("none"));
    Router::new().merge(docs).layer(from_fn_with_state(Files::default(), kept))
}

/// Answers with the file that is kept; the first who asks for it has it made.
async fn kept(State(files): State<Files>, request: Request, next: Next) -> Response {
    if request.method() != Method::GET {
        return with_own_page(next.run(request).await);
    }
    let path = request.uri().path().to_owned();
    let known = files.lock().get(&path).cloned();
    if let Some((headers, file)) = known {
        return (headers, Pieces::of(file.into())).into_response();
    }
    let response = with_own_page(next.run(request).await);
    if response.status() != StatusCode::OK {
        return response;
    }
    let (parts, body) = response.into_parts();
    let file = match read_whole(body).await {
        Ok(file) => file,
        Err(error) => {
            return Problem::new(Code::Internal).privately(error.to_string()).into_response();
        }
    };
    {
        let mut files = files.lock();
        // Escapes are other ways to write a file's path, as many as somebody likes.
        if files.len() < FILES_MAX && !path.contains('%') {
            files.insert(path, (parts.headers.clone(), file.clone()));
        }
    }
    Response::from_parts(parts, Pieces::of(Body::from(file)))
}

impl Files {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, (HeaderMap, Bytes)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The page is this service's own, with a policy; on a script or a style sheet a policy says nothing.
fn with_own_page(response: Response) -> Response {
    let kind = response.headers().get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
        return ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE)).into_response();
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tower_service::Service;

    use super::*;

    #[tokio::test]
    async fn a_file_is_kept_however_many_ways_there_are_to_write_its_path() {
        let files = Files::default();
        let mut router: Router = Router::new()
            .route("/docs/{*rest}", get(async || "a file"))
            .layer(from_fn_with_state(files.clone(), kept));
        let mut ask = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let Ok(response) = router.call(request).await;
            assert_eq!(read_whole(response.into_body()).await.unwrap(), "a file");
        };
        let name = "an-index-of-the-files";
        for (at, char) in name.char_indices() {
            let (before, after) = (&name[..at], &name[at + 1..]);
            ask(&format!("/docs/{before}%{:02x}{after}", char as u32)).await;
        }
        let path = format!("/docs/{name}");
        for _ in 0..2 {
            ask(&path).await;
            assert_eq!(files.lock().keys().collect::<Vec<_>>(), [&path]);
        }
    }
}
