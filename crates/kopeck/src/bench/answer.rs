//! Owns the reading of answers: where one ends, and what it says.
//!
//! Never: a judgement on it. Bounds: heads of [`HEADERS_MAX`] lines; bodies whose length is told, of
//! [`BODY_BYTES_MAX`] at most.

/// How many lines a head may have.
const HEADERS_MAX: usize = 64;
/// The greatest body: the answer to a batch is the largest by far.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1_024 * 1_024;

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer<'a> {
    /// The HTTP status.
    pub(super) status: u16,
    /// Whether it was given before.
    pub(super) replayed: bool,
    /// What `Set-Cookie` says first, up to the first semicolon.
    pub(super) cookie: Option<&'a str>,
    /// The body.
    pub(super) body: &'a [u8],
    /// How many bytes it took in all.
    pub(super) bytes: usize,
}

/// What is known of an answer without its bytes, so that it need not be read twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    status: u16,
    replayed: bool,
    body_bytes: usize,
    /// How many bytes it took in all.
    pub(super) bytes: usize,
}

impl Shape {
    /// The answer, with the bytes that it was read from; what it says of cookies is not kept.
    pub(super) fn answer(self, input: &[u8]) -> Answer<'_> {
        let Self { status, replayed, body_bytes, bytes } = self;
        let body = input.get(bytes - body_bytes..bytes).unwrap_or_default();
        Answer { status, replayed, cookie: None, body, bytes }
    }
}

/// What came is no answer, or not one of the kind that the service gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an answer that can be read: {0}")]
pub(super) struct Unreadable(String);

/// Reads an answer from the beginning of `input`; `None` while it is not all there.
pub(super) fn read(input: &[u8]) -> Result<Option<Answer<'_>>, Unreadable> {
    usual(input).map_or_else(|| read_any(input), |answer| Ok(Some(answer)))
}

/// One of the answers that there are most of, if it is one and all there: 200, given for the first time,
/// without a cookie. Of most lines of its head only the first byte is looked at, because to read them
/// all is half of what such a request costs the client itself.
fn usual(input: &[u8]) -> Option<Answer<'_>> {
    let mut rest = input.strip_prefix(b"HTTP/1.1 200 OK\r\n")?;
    let mut length = None;
    loop {
        let (line, after) = rest.split_at_checked(memchr::memchr(b'\n', rest)? + 1)?;
        rest = after;
        match line {
            b"\r\n" => break,
            [b'c', ..] if let Some(value) = line.strip_prefix(b"content-length: ") => {
                length = std::str::from_utf8(value).ok()?.trim_end().parse().ok();
            }
            // Perhaps what must be known, or not as the service itself writes it.
            [b'i' | b's', ..] | [b'A'..=b'Z', ..] => return None,
            _ => {}
        }
    }
    let length: usize = length.filter(|length| *length <= BODY_BYTES_MAX)?;
    let body = rest.get(..length)?;
    let bytes = input.len() - rest.len() + length;
    Some(Answer { status: 200, replayed: false, cookie: None, body, bytes })
}

fn read_any(input: &[u8]) -> Result<Option<Answer<'_>>, Unreadable> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let parsed = head.parse(input).map_err(|error| Unreadable(error.to_string()))?;
    let httparse::Status::Complete(head_bytes) = parsed else { return Ok(None) };
    let (mut length, mut replayed, mut cookie) = (None, false, None);
    for header in head.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = std::str::from_utf8(header.value).ok().and_then(|text| text.parse().ok());
        } else if header.name.eq_ignore_ascii_case("idempotency-replayed") {
            replayed = header.value == b"true";
        } else if cookie.is_none() && header.name.eq_ignore_ascii_case("set-cookie") {
            cookie = std::str::from_utf8(header.value).ok().and_then(|text| text.split(';').next());
        }
    }
    let length: usize = length.ok_or_else(|| Unreadable("it tells no length".to_owned()))?;
    if length > BODY_BYTES_MAX {
        return Err(Unreadable(format!("a body of {length} bytes")));
    }
    let bytes = head_bytes + length;
    let Some(body) = input.get(head_bytes..bytes) else { return Ok(None) };
    Ok(Some(Answer { status: head.code.unwrap_or(0), replayed, cookie, body, bytes }))
}

impl Answer<'_> {
    /// What is known of it without its bytes.
    pub(super) fn shape(&self) -> Shape {
        let Self { status, replayed, body, bytes, .. } = *self;
        Shape { status, replayed, body_bytes: body.len(), bytes }
    }

    /// The whole number of this name in the body. Looked for from the end: what tells a batch's result
    /// stands behind its operations.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        let rest = self.after(name)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        std::str::from_utf8(rest.get(..digits)?).ok()?.parse().ok()
    }

    /// The text of this name in the body, as far as it has nothing escaped.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let rest = self.after(name)?.strip_prefix(b"\"")?;
        let end = rest.iter().position(|byte| *byte == b'"')?;
        std::str::from_utf8(rest.get(..end)?).ok()
    }

    /// All texts of this name in the body, as far as they have nothing escaped.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        let wanted = format!("\"{name}\":\"");
        let ends = memchr::memmem::find_iter(self.body, &wanted)
            .map(|at| at + wanted.len())
            .collect::<Vec<_>>();
        ends.into_iter().filter_map(|at| {
            let rest = self.body.get(at..)?;
            std::str::from_utf8(rest.get(..memchr::memchr(b'"', rest)?)?).ok()
        })
    }

    fn after(&self, name: &str) -> Option<&[u8]> {
        let wanted = name.len() + 3;
        let at = (0..self.body.len().saturating_sub(wanted)).rev().find(|at| {
            self.body.get(*at..*at + wanted).is_some_and(|part| {
                part.first() == Some(&b'"')
                    && part.ends_with(b"\":")
                    && part.get(1..=name.len()) == Some(name.as_bytes())
            })
        })?;
        self.body.get(at + wanted..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_when_they_are_all_there() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                      idempotency-replayed: true\r\nContent-Length: 34\r\n\r\n\
                      {\"status\":\"OK\",\"operation_id\":712}HTTP/1.1 503";
        for short in 0..whole.len() - 12 {
            assert_eq!(read(&whole[..short]), Ok(None), "{short}");
        }
        let answer = read(whole).unwrap().unwrap();
        assert_eq!((answer.status, answer.replayed), (200, true));
        assert_eq!(answer.bytes, whole.len() - 12);
        assert_eq!(answer.shape().answer(whole), answer);
        assert_eq!(answer.number("operation_id"), Some(712));
        assert_eq!(answer.text("status"), Some("OK"));
        assert_eq!(answer.number("status"), None);
        assert_eq!(answer.number("balance"), None);
    }

    #[test]
    fn all_texts_of_a_name_are_found() {
        let body = br#"[{"code":"a"},{"codes":"x"},{"code":"b"},{"code":"c}]"#;
        let answer = Answer { status: 200, replayed: false, cookie: None, body, bytes: 0 };
        assert_eq!(answer.texts("code").collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn the_usual_answer_is_read_as_any_other() {
        let of = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\nbody and what follows");
        for usual_lines in [
            "content-length: 4\r\n",
            "x-request-id: 1\r\ncontent-length: 4\r\ndate: Sat, 28 Nov 2026 21:00:00 GMT\r\n",
            "content-type: application/json\r\ncache-control: no-store\r\ncontent-length: 4 \r\n",
        ] {
            let text = of(usual_lines);
            let found = usual(text.as_bytes()).unwrap();
            assert_eq!(found.body, b"body");
            assert_eq!(read_any(text.as_bytes()), Ok(Some(found)));
            for short in 0..text.len() - " and what follows".len() {
                assert_eq!(usual(&text.as_bytes()[..short]), None, "{short}");
            }
        }
        for other in [
            "Content-Length: 4\r\n",
            "content-length: 4\r\nidempotency-replayed: true\r\n",
            "set-cookie: a=b\r\ncontent-length: 4\r\n",
            "content-length: four\r\n",
            "content-length: -4\r\n",
            "",
        ] {
            assert_eq!(usual(of(other).as_bytes()), None, "{other}");
        }
        assert_eq!(usual(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"), None);
    }

    #[test]
    fn what_is_no_answer_is_told_apart_from_a_part_of_one() {
        assert!(read(b"GET / HTTP/1.1\r\n\r\n").is_err());
        assert!(read(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "no length");
        assert!(read(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n").is_err());
    }
}
