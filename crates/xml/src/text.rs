//! A cheap-to-clone piece of UTF-8, usually a slice of a frame's bytes.

use bytes::Bytes;
use std::ops::Deref;

/// Immutable UTF-8 text that shares its storage: cloning costs one reference count, never an allocation.
#[derive(Clone, Default)]
pub struct Text(Bytes);

impl Text {
    /// A text that borrows nothing from the heap.
    pub const fn from_static(text: &'static str) -> Self {
        Text(Bytes::from_static(text.as_bytes()))
    }

    /// Wraps bytes if they are UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Text(bytes))
    }

    /// A part of checked bytes, cut at token borders.
    pub(crate) fn part(bytes: &Bytes, range: std::ops::Range<usize>) -> Self {
        if range.start >= range.end || range.end > bytes.len() { Text::default() } else { Text(bytes.slice(range)) }
    }

    /// The text as a string slice.
    pub fn as_str(&self) -> &str {
        // Constructed from checked UTF-8 only; `from_utf8` here keeps the crate free of `unsafe`.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The bytes, sharing the storage.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Text(Bytes::copy_from_slice(text.as_bytes()))
    }
}
impl From<String> for Text {
    fn from(text: String) -> Self {
        Text(Bytes::from(text))
    }
}
impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}
impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Text {}
impl std::hash::Hash for Text {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}
impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.as_str(), f)
    }
}
impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self.as_str(), f)
    }
}
