//! What a word is when archives are searched (XEP-0431), whatever the language and the backend.
//!
//! A word is a run of letters and digits; its case and its marks (é, ü, й) do not matter. Scripts that put no space between
//! words (Han, kana, Thai, …) have no runs to speak of: there each letter is a word, and what is searched for must stand
//! there in one piece, as it must for anything else with several words but no space in it (`well-known`).
//!
//! Deliberately absent: stems, synonyms, stop words, ranking. They are of one language each.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

/// The text with a space around each letter that is a word by itself: what a backend's own engine, which cuts at spaces and
/// signs, is given to index and to search for.
pub fn separated(text: &str) -> String {
    let mut separated = String::with_capacity(text.len());
    let mut joined = true;
    for letter in text.chars() {
        // A mark stays with the letter it belongs to.
        let alone = is_unspaced(letter);
        if alone || (!joined && letter.is_alphanumeric()) {
            separated.push(' ');
        }
        if !is_combining_mark(letter) {
            joined = !alone;
        }
        separated.push(letter);
    }
    separated
}

/// What is searched for, each piece to stand in the text in one piece.
pub fn pieces(wanted: &str) -> impl Iterator<Item = &str> {
    wanted.split_whitespace().filter(|piece| piece.chars().any(char::is_alphanumeric))
}

/// Letters of scripts that are written without spaces.
fn is_unspaced(letter: char) -> bool {
    matches!(letter,
        '\u{0e00}'..='\u{0eff}' // Thai, Lao
        | '\u{1000}'..='\u{109f}' // Myanmar
        | '\u{1780}'..='\u{17ff}' // Khmer
        | '\u{3040}'..='\u{30ff}' // kana
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
        && letter.is_alphanumeric()
        && !is_combining_mark(letter)
}

/// The words of a text, folded.
fn words(text: &str) -> Vec<String> {
    let folded: String = separated(text).nfd().filter(|letter| !is_combining_mark(*letter)).collect();
    let words = folded.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect()
}

/// Whether the text has all that is wanted; never, when nothing is. For backends without an engine of their own.
pub(crate) fn has_words(text: &str, wanted: &str) -> bool {
    let text = words(text);
    let mut pieces = pieces(wanted).map(words).peekable();
    pieces.peek().is_some() && pieces.all(|piece| text.windows(piece.len().max(1)).any(|window| *window == *piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whatever_their_case_and_marks() {
        for wanted in
            ["zurich", "ZÜRICH", "Zu\u{308}rich", "in zürich", "well-known", "known", "42", "привет", "ПРИВЕТ"]
        {
            assert!(has_words("Привет! 42 well-known places in Zürich", wanted), "{wanted}");
        }
        for wanted in ["zur", "known-well", "in paris", "", " ", "!?", "\"", "4"] {
            assert!(!has_words("Привет! 42 well-known places in Zürich", wanted), "{wanted}");
        }
    }

    #[test]
    fn scripts_without_spaces_are_searched_by_what_stands_there() {
        for wanted in ["北京", "我住", "京", "北京 我", "tokyo"] {
            assert!(has_words("我住在北京Tokyo。", wanted), "{wanted}");
        }
        for wanted in ["京北", "住北", "上海"] {
            assert!(!has_words("我住在北京Tokyo。", wanted), "{wanted}");
        }
        assert!(has_words("ฉันรักกรุงเทพ", "กรุงเทพ"));
        assert_eq!(separated("我住ab c"), " 我 住 ab c");
    }
}
