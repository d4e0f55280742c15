//! Passwords and their preparation.
//!
//! RFC 5802 §5.1 has the client hash `SASLprep(password)` (RFC 4013), and the server sees no more than the result. So
//! one form has to be chosen when a password is set, and it is the one that a conforming client computes:
//!
//! 1. SASLprep, where it takes the text (as a stored string: code points not assigned in Unicode 3.2 are refused);
//! 2. else OpaqueString (RFC 8265 §4.2): emoji, younger scripts, mixed directions. SASLprep has no form of these, and
//!    clients send them as they were typed. Two things are looser than the letter: the text is normalised before it is
//!    judged, so that both spellings of a syllable fare alike, and code points that our tables do not know yet are let
//!    through, since phones have them on their keys;
//! 3. else it is no password.
//!
//! A client that does no preparation agrees for every text that SASLprep leaves as it is, which is what keyboards
//! produce: NFC without compatibility characters. Over PLAIN and in-band registration the text itself arrives, in any of
//! the forms, and the rule takes them all to the same one.
//!
//! Deliberately absent: rules about strength, which belong to whoever sets a password.

use std::borrow::Cow;

use precis_profiles::OpaqueString;
use precis_profiles::precis_core::profile::Rules as _;
use precis_profiles::precis_core::{DerivedPropertyValue, FreeformClass, StringClass as _};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The longest prepared password, in bytes.
const LONGEST: usize = 1023;

/// The longest text looked at, in bytes: what prepares to [`LONGEST`] may be longer, but not by this much.
const LONGEST_TEXT: usize = 4 * LONGEST;

/// A prepared password; wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Password(pub(crate) String);

impl Password {
    /// The prepared text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Why a text cannot be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Empty after preparation.
    #[error("a password cannot be empty")]
    Empty,
    /// Has characters that neither RFC 4013 nor RFC 8265 allows, or is longer than 1023 bytes.
    #[error("the password has characters that are not allowed, or is too long")]
    NotAllowed,
}

/// Prepares a password the same way at setting and at checking.
pub fn prepare_password(text: &str) -> Result<Password, PasswordError> {
    if text.is_empty() {
        return Err(PasswordError::Empty);
    }
    if text.len() > LONGEST_TEXT {
        return Err(PasswordError::NotAllowed);
    }
    let prepared = match stringprep::saslprep(text) {
        Ok(prepared) => prepared,
        Err(_) => opaque_string(text).ok_or(PasswordError::NotAllowed)?,
    };
    let password = Password(prepared.into_owned());
    match password.0.len() {
        0 => Err(PasswordError::Empty),
        1..=LONGEST => Ok(password),
        _ => Err(PasswordError::NotAllowed),
    }
}

/// RFC 8265 §4.2.2, as loose as said above.
fn opaque_string(text: &str) -> Option<Cow<'_, str>> {
    let profile = OpaqueString::new();
    let mapped = profile.additional_mapping_rule(text).ok()?;
    let normalised = profile.normalization_rule(mapped).ok()?;
    let class = FreeformClass::default();
    // Noncharacters are disallowed, not unassigned. The stand-in is a letter without influence on context rules.
    let known: Zeroizing<String> = Zeroizing::new(
        normalised
            .chars()
            .map(|character| match class.get_value_from_char(character) {
                DerivedPropertyValue::Unassigned => 'a',
                _ => character,
            })
            .collect(),
    );
    class.allows(known.as_str()).ok()?;
    Some(normalised)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prepared(text: &str) -> Result<String, PasswordError> {
        prepare_password(text).map(|password| password.expose().to_owned())
    }

    #[test]
    fn rfc4013_3_examples() {
        let table = [
            ("I\u{ad}X", Ok("IX")),
            ("user", Ok("user")),
            ("USER", Ok("USER")),
            ("\u{aa}", Ok("a")),
            ("\u{2168}", Ok("IX")),
            ("\u{7}", Err(PasswordError::NotAllowed)),
        ];
        for (text, expected) in table {
            assert_eq!(prepared(text).as_deref(), expected.as_ref().copied(), "{text:?}");
        }
    }

    #[test]
    fn abuse_63_spellings_of_one_password_are_one_password() {
        let table = [
            // NFC and NFD.
            ("jos\u{e9}", "jose\u{301}"),
            ("\u{1e69}", "s\u{307}\u{323}"),
            // Hangul, and with an emoji, which only OpaqueString takes.
            ("\u{d55c}", "\u{1112}\u{1161}\u{11ab}"),
            ("\u{d55c}\u{1f435}", "\u{1112}\u{1161}\u{11ab}\u{1f435}"),
            ("caf\u{e9}\u{1f435}", "cafe\u{301}\u{1f435}"),
            // Spaces other than ASCII's.
            ("two words", "two\u{a0}words"),
            ("two words", "two\u{3000}words"),
            ("two words \u{1f435}", "two\u{2003}words\u{a0}\u{1f435}"),
            // Soft hyphen and zero width joiner, mapped to nothing.
            ("IX", "I\u{ad}X"),
            ("ab", "a\u{200d}b"),
            // Compatibility characters, as SASLprep has it.
            ("pencil", "\u{ff50}\u{ff45}\u{ff4e}\u{ff43}\u{ff49}\u{ff4c}"),
            ("file", "\u{fb01}le"),
        ];
        for (one, other) in table {
            assert!(prepared(one).is_ok(), "{one:?}");
            assert_eq!(prepared(one), prepared(other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn what_keyboards_produce_is_left_alone() {
        let table = [
            "pencil",
            " ",
            "  spaces  kept  ",
            "Case KEPT",
            "p,e=n\\c\"i'l<&>",
            "na\u{ef}ve \u{20ac}5",
            "\u{43f}\u{430}\u{440}\u{43e}\u{43b}\u{44c}",
            "\u{5e1}\u{5d9}\u{5e1}\u{5de}\u{5d4}",
            "\u{5bc6}\u{7801}",
            "\u{5d0}a",
            "\u{1f435}",
            "\u{1f914}",
            "\u{1fae0}pencil",
            "\u{1f1e9}\u{1f1ea}",
            "\u{1e9e}",
        ];
        for text in table {
            assert_eq!(prepared(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn abuse_63_prohibited_characters_are_refused() {
        let table = [
            "\0",
            "a\0b",
            "\t",
            "a\nb",
            "\u{7f}",
            "\u{80}",
            "a\u{85}",
            "\u{2028}",
            "\u{e000}",
            "\u{f8ff}x",
            "\u{fdd0}",
            "\u{ffff}",
            "\u{10ffff}",
            "\u{200e}a",
            "a\u{202e}b",
            "\u{206a}",
            "\u{e0001}",
            "\u{e0061}",
            "a\u{ad}\u{1f435}",
        ];
        for text in table {
            assert_eq!(prepared(text), Err(PasswordError::NotAllowed), "{text:?}");
        }
    }

    #[test]
    fn a_password_has_something_in_it_and_an_end() {
        assert_eq!(prepared(""), Err(PasswordError::Empty));
        assert_eq!(prepared("\u{ad}\u{2060}"), Err(PasswordError::Empty));
        assert!(prepared(&"a".repeat(LONGEST)).is_ok());
        assert_eq!(prepared(&"a".repeat(LONGEST + 1)), Err(PasswordError::NotAllowed));
        // U+FDFA is three bytes and prepares to thirty-three.
        assert_eq!(prepared(&"\u{fdfa}".repeat(100)), Err(PasswordError::NotAllowed));
        // What shrinks to the length is taken: each soft hyphen is two bytes and prepares to none.
        assert_eq!(prepared(&"a\u{ad}".repeat(LONGEST)), Ok("a".repeat(LONGEST)));
        assert_eq!(prepared(&"\u{ad}".repeat(1_000_000)), Err(PasswordError::NotAllowed));
    }

    #[test]
    fn abuse_158_a_password_is_never_printed() {
        assert_eq!(format!("{:?}", prepare_password("pencil")), "Ok(Password(..))");
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            proptest::collection::vec(
                prop_oneof![
                    Just('a'),
                    Just('\u{e9}'),
                    Just('\u{301}'),
                    Just('\u{ad}'),
                    Just('\u{a0}'),
                    Just('\u{1f435}'),
                    Just('\u{1112}'),
                    Just('\u{1161}'),
                    Just('\u{11ab}'),
                    Just('\u{aa}'),
                    Just('\u{5d0}'),
                    Just('\u{200d}'),
                    Just('\u{212b}'),
                    Just('\u{1f914}'),
                    Just('\u{fb01}'),
                    Just('\u{323}'),
                    Just('\u{3000}'),
                ],
                0..8,
            )
            .prop_map(|characters| characters.into_iter().collect()),
        ]
    }

    proptest! {
        #[test]
        fn preparing_twice_changes_nothing(text in texts()) {
            if let Ok(once) = prepared(&text) {
                prop_assert_eq!(prepared(&once), Ok(once));
            }
        }

        /// A client may send any of the forms over PLAIN, whichever was set.
        #[test]
        fn abuse_63_every_form_of_a_password_prepares_to_one(text in texts()) {
            use precis_profiles::precis_core::profile::PrecisFastInvocation as _;
            if let Ok(ours) = prepared(&text) {
                if let Ok(form) = stringprep::saslprep(&text) {
                    prop_assert_eq!(prepared(&form), Ok(ours.clone()));
                }
                if let Ok(form) = OpaqueString::enforce(text.as_str()) {
                    prop_assert_eq!(prepared(&form), Ok(ours.clone()));
                }
                if let Ok(form) = OpaqueString::new().normalization_rule(text.as_str()) {
                    prop_assert_eq!(prepared(&form), Ok(ours.clone()));
                }
            }
        }
    }
}
