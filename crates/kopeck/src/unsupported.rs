//! Owns the refusal of what a request's head says that nothing here does: a body that is packed, an
//! expectation that cannot be met; and of one that does not say, or says twice, whom it asks.
//!
//! Never: a look at the body; a request that says both how long its body is and that it comes in chunks:
//! hyper takes the length away before anybody sees it, reads the chunks, and closes the connection.
//! Bounds: three headers are looked for, a fourth where a body has no length.

use axum::body::HttpBody;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Version, header};

use crate::problem::{Code, Problem};

/// Refuses it, before its body is read.
pub(crate) fn check(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    // RFC 9112, section 3.2.
    let mut hosts = headers.get_all(header::HOST).into_iter();
    let has_one = hosts.next().is_some() || request.version() <= Version::HTTP_10;
    if !has_one || hosts.next().is_some() {
        return Err(Problem::new(Code::MalformedRequest)
            .detail("a request of HTTP/1.1 has one `Host`, and no request has two"));
    }
    if values(headers, &header::EXPECT).any(|expected| !is(expected, "100-continue")) {
        return Err(Problem::new(Code::ExpectationFailed)
            .detail("no expectation but `100-continue` can be met: leave `Expect` out"));
    }
    if request.body().is_end_stream() {
        return Ok(());
    }
    if values(headers, &header::CONTENT_ENCODING).any(|coding| !is(coding, "identity")) {
        return Err(Problem::new(Code::UnsupportedContentEncoding)
            .detail("send the body as it is, without `Content-Encoding`"));
    }
    // Only one that comes in chunks has no length.
    if request.body().size_hint().exact().is_none() {
        let mut codings = values(headers, &header::TRANSFER_ENCODING);
        let is_chunked = codings.next().is_some_and(|coding| is(coding, "chunked"));
        if !is_chunked || codings.next().is_some() {
            return Err(Problem::new(Code::UnsupportedTransferEncoding)
                .detail("a body comes with its length, or with `Transfer-Encoding: chunked` and no other coding"));
        }
    }
    Ok(())
}

/// The values of a header that is a list, however many lines it has.
fn values<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'h [u8]> + use<'h> {
    let lines = headers.get_all(name).into_iter();
    let values = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    values.map(<[u8]>::trim_ascii).filter(|value| !value.is_empty())
}

fn is(value: &[u8], word: &str) -> bool {
    value.eq_ignore_ascii_case(word.as_bytes())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use futures_util::stream;

    use super::*;

    fn check_one(body: Body, headers: &[(&str, &str)]) -> &'static str {
        let mut request = Request::post("/").header(header::HOST, "x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        check(&request.body(body).unwrap()).map_or_else(|problem| problem.code(), |()| "")
    }

    #[test]
    fn what_nothing_here_does_is_refused() {
        let (expect, coding) = ("expect", "content-encoding");
        for (headers, expected) in [
            (&[][..], ""),
            (&[(expect, "100-continue")], ""),
            (&[(expect, "100-Continue")], ""),
            (&[(expect, "200-ok")], "expectation_failed"),
            (&[(expect, "100-continue, x")], "expectation_failed"),
            (&[(expect, "100-continue"), (expect, "x")], "expectation_failed"),
            (&[(coding, "identity")], ""),
            (&[(coding, "Identity, ")], ""),
            (&[(coding, "")], ""),
            (&[(coding, "gzip")], "unsupported_content_encoding"),
            (&[(coding, "identity, br")], "unsupported_content_encoding"),
            (&[(coding, "identity"), (coding, "x-gzip")], "unsupported_content_encoding"),
        ] {
            assert_eq!(check_one(Body::from("{}"), headers), expected, "{headers:?}");
        }
        assert_eq!(check_one(Body::empty(), &[(coding, "gzip")]), "", "nothing is packed");
        assert_eq!(check_one(Body::empty(), &[(expect, "x")]), "expectation_failed");
    }

    #[test]
    fn chunks_are_the_one_transfer_coding() {
        for (headers, expected) in [
            (&["chunked"][..], ""),
            (&["Chunked"], ""),
            (&["gzip, chunked"], "unsupported_transfer_encoding"),
            (&["gzip", "chunked"], "unsupported_transfer_encoding"),
            (&["chunked, chunked"], "unsupported_transfer_encoding"),
        ] {
            let pieces = stream::iter([Ok::<_, std::convert::Infallible>("{}")]);
            let headers: Vec<_> = headers.iter().map(|it| ("transfer-encoding", *it)).collect();
            assert_eq!(check_one(Body::from_stream(pieces), &headers), expected, "{headers:?}");
        }
    }
}
