//! x
use super::document::Document;
pub(super) fn page(_: &Document) -> String { String::new() }
