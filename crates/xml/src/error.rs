//! What the parser refuses, named by the rule that was broken so that the stream layer can pick the stream error.

/// Why the parser refused the bytes. Each variant maps to one stream error condition of RFC 6120 §4.9.3.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not well-formed XML 1.0, not namespace-well-formed, or not UTF-8: `not-well-formed`.
    #[error("not well-formed: {0}")]
    NotWellFormed(&'static str),
    /// A construct RFC 6120 §11.1 forbids (DTD, PI, comment, entity): `restricted-xml`.
    #[error("restricted XML: {0}")]
    Restricted(&'static str),
    /// Declared or detected an encoding other than UTF-8: `unsupported-encoding`.
    #[error("unsupported encoding")]
    UnsupportedEncoding,
    /// A limit of [`crate::Limits`] was passed: `policy-violation`.
    #[error("limit exceeded: {0:?}")]
    LimitExceeded(Limit),
    /// Text other than white space directly below the stream root: `bad-format`.
    #[error("text at stream level")]
    StreamLevelText,
}

/// Which limit was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of one first-level element, or of the stream header.
    Bytes,
    /// Depth of nesting.
    Depth,
    /// Attributes of one element.
    Attributes,
    /// Namespace declarations in scope.
    Namespaces,
    /// Bytes of one name.
    Name,
    /// Children of a first-level element.
    Children,
}
