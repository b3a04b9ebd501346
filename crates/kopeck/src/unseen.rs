//! Owns which characters nobody sees, in a name or a note.
//!
//! Never: a text that is changed. Bounds: one look at each character, up to the first that is seen.

/// Whether anything of a text is seen.
pub(crate) fn is_seen(text: &str) -> bool {
    text.chars().any(|char| !char.is_whitespace() && !is_ignorable(char))
}

/// Whether a character is not seen by itself: Unicode's `Default_Ignorable_Code_Point`, and the marks for
/// annotations, hieroglyphs and shorthand. Beside others they have their use, as between emoji.
fn is_ignorable(char: char) -> bool {
    matches!(char,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}
