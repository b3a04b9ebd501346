//! Owns the door to the keys that clients give to their requests.
//!
//! Never: what is kept under a key. Bounds: linear.

use axum::extract::{FromRequestParts, Request};
use axum::http::HeaderValue;
use futures_util::FutureExt;

use super::check_refusal;
use crate::idempotency::{IDEMPOTENCY_KEY, Key};

/// Each line of the input is the value of one `Idempotency-Key` header; no line, no header.
pub fn idempotency_key(data: &[u8]) {
    let (mut parts, ()) = Request::new(()).into_parts();
    let lines = if data.is_empty() { Vec::new() } else { data.split(|b| *b == b'\n').collect() };
    for line in lines.iter().take(8) {
        // What is not a header's value is refused before anything of ours sees it.
        let Ok(value) = HeaderValue::from_bytes(line) else { return };
        parts.headers.append(IDEMPOTENCY_KEY, value);
    }
    let read = Key::from_request_parts(&mut parts, &()).now_or_never().unwrap();
    let expected = match lines[..] {
        [] => Some(None),
        [line] => naive(line).map(Some),
        _ => None,
    };
    match read {
        Ok(Key(key)) => {
            let key = key.map(|key| key.as_str().to_owned());
            assert_eq!(Some(key), expected);
        }
        Err(problem) => {
            assert_eq!(expected, None);
            check_refusal(problem);
        }
    }
}

/// 1 to 255 visible ASCII characters, with spaces and one pair of quotation marks around or not.
fn naive(line: &[u8]) -> Option<String> {
    let mut line = line;
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    if let [b'"', key @ .., b'"'] = line {
        line = key;
    }
    let fits = (1..=255).contains(&line.len()) && line.iter().all(|byte| (33..=126).contains(byte));
    fits.then(|| String::from_utf8_lossy(line).into_owned())
}
