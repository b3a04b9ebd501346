//! Owns the files that pages ask for: the style sheet and the icon, embedded in the binary.
//!
//! Never: a file from the disk or another host. Bounds: the two files below; their addresses hold
//! a hash of their content, so a browser may keep them for a year and still sees each new version.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use crate::hex;

const STYLE: &str = include_str!("../../assets/kopeck.css");
const ICON: &str = include_str!("../../assets/coin.svg");

/// A file and where it is served.
struct Asset {
    address: String,
    media_type: &'static str,
    content: &'static str,
}

impl Asset {
    fn new(name: &str, extension: &str, media_type: &'static str, content: &'static str) -> Self {
        let hash = hex::text(&Sha256::digest(content));
        let version = hash.get(..16).unwrap_or_default();
        Self { address: format!("/assets/{name}-{version}.{extension}"), media_type, content }
    }

    fn answer(&self, cache_control: &'static str) -> Response {
        let headers =
            [(header::CONTENT_TYPE, self.media_type), (header::CACHE_CONTROL, cache_control)];
        (headers, self.content).into_response()
    }
}

static STYLE_ASSET: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("kopeck", "css", "text/css; charset=utf-8", STYLE));
static ICON_ASSET: LazyLock<Asset> =
    LazyLock::new(|| Asset::new("coin", "svg", "image/svg+xml", ICON));

/// Where the style sheet is.
pub(crate) fn style_address() -> &'static str {
    &STYLE_ASSET.address
}

/// Where the icon is.
pub(crate) fn icon_address() -> &'static str {
    &ICON_ASSET.address
}

/// `GET /assets/{file}`. An address of another version is not found: its content would not fit.
pub(crate) async fn serve(Path(file): Path<String>) -> Response {
    let address = format!("/assets/{file}");
    match [&STYLE_ASSET, &ICON_ASSET].into_iter().find(|asset| asset.address == address) {
        Some(asset) => asset.answer("public, max-age=31536000, immutable"),
        // A browser asked, not a person: nobody would see a page.
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// `GET /favicon.ico`: some browsers ask for it whatever the page says.
pub(crate) async fn favicon() -> Response {
    ICON_ASSET.answer("public, max-age=86400")
}

#[cfg(test)]
mod tests {
    use super::{ICON, STYLE, icon_address, style_address};

    #[test]
    fn addresses_hold_a_hash() {
        assert!(style_address().starts_with("/assets/kopeck-"));
        assert_eq!(style_address().len(), "/assets/kopeck-0123456789abcdef.css".len());
        assert!(icon_address().ends_with(".svg"));
    }

    #[test]
    fn nothing_comes_from_another_host() {
        assert!(!STYLE.contains("http") && !STYLE.contains("@import"));
        assert_eq!(
            ICON.matches("http").count(),
            ICON.matches("http://www.w3.org/2000/svg").count()
        );
    }
}
