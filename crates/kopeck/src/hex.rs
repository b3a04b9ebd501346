//! Owns bytes written as lower-case hexadecimal digits.
//!
//! Never: capitals. Bounds: two digits a byte.

/// The digit of a value below 16.
pub(crate) fn digit(value: u8) -> u8 {
    value + if value < 10 { b'0' } else { b'a' - 10 }
}

/// All of these bytes, each by two digits.
pub(crate) fn text(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    digits.map(char::from).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_byte_has_its_two_digits() {
        for byte in 0..=u8::MAX {
            assert_eq!(super::text(&[0, byte]), format!("00{byte:02x}"));
        }
    }
}
