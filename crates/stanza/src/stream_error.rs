//! Stream errors (RFC 6120 §4.9).

use crate::ns;
use stonechat_xml::Element;

macro_rules! conditions {
    ($($name:ident => $text:literal;)*) => {
        /// The defined conditions of RFC 6120 §4.9.3.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the RFC's names")]
        pub enum StreamCondition { $($name,)* }
        impl StreamCondition {
            /// The element name.
            pub fn name(self) -> &'static str { match self { $(StreamCondition::$name => $text,)* } }
            /// By element name.
            pub fn from_name(name: &str) -> Option<Self> { match name { $($text => Some(StreamCondition::$name),)* _ => None } }
        }
    };
}
conditions! {
    BadFormat => "bad-format";
    BadNamespacePrefix => "bad-namespace-prefix";
    Conflict => "conflict";
    ConnectionTimeout => "connection-timeout";
    HostGone => "host-gone";
    HostUnknown => "host-unknown";
    ImproperAddressing => "improper-addressing";
    InternalServerError => "internal-server-error";
    InvalidFrom => "invalid-from";
    InvalidNamespace => "invalid-namespace";
    InvalidXml => "invalid-xml";
    NotAuthorized => "not-authorized";
    NotWellFormed => "not-well-formed";
    PolicyViolation => "policy-violation";
    RemoteConnectionFailed => "remote-connection-failed";
    Reset => "reset";
    ResourceConstraint => "resource-constraint";
    RestrictedXml => "restricted-xml";
    SeeOtherHost => "see-other-host";
    SystemShutdown => "system-shutdown";
    UndefinedCondition => "undefined-condition";
    UnsupportedEncoding => "unsupported-encoding";
    UnsupportedFeature => "unsupported-feature";
    UnsupportedStanzaType => "unsupported-stanza-type";
    UnsupportedVersion => "unsupported-version";
}

/// An error that ends the stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", condition.name())]
pub struct StreamError {
    /// Defined condition.
    pub condition: StreamCondition,
    /// Human-readable text, English.
    pub text: Option<std::borrow::Cow<'static, str>>,
}

impl StreamError {
    /// Without text.
    pub fn new(condition: StreamCondition) -> Self {
        StreamError { condition, text: None }
    }
    /// With text.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        self.text = Some(text.into());
        self
    }
    /// Appends `<stream:error>…</stream:error>` for a stream on which the prefix `stream` is bound.
    pub fn write(&self, out: &mut Vec<u8>) {
        self.write_with(None, out);
    }
    /// As [`StreamError::write`], with an application-specific condition (RFC 6120 §4.9.4).
    pub fn write_with(&self, application: Option<&Element>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<stream:error><");
        out.extend_from_slice(self.condition.name().as_bytes());
        out.extend_from_slice(b" xmlns='");
        out.extend_from_slice(ns::STREAM_ERRORS.as_bytes());
        out.extend_from_slice(b"'/>");
        if let Some(text) = &self.text {
            out.extend_from_slice(b"<text xmlns='");
            out.extend_from_slice(ns::STREAM_ERRORS.as_bytes());
            out.extend_from_slice(b"' xml:lang='en'>");
            stonechat_xml::escape_text(text, out);
            out.extend_from_slice(b"</text>");
        }
        if let Some(application) = application {
            application.write(out, ns::CLIENT);
        }
        out.extend_from_slice(b"</stream:error>");
    }
}

impl From<StreamCondition> for StreamError {
    fn from(condition: StreamCondition) -> Self {
        StreamError::new(condition)
    }
}

impl From<&stonechat_xml::Error> for StreamError {
    fn from(error: &stonechat_xml::Error) -> Self {
        use stonechat_xml::Error;
        let condition = match error {
            Error::NotWellFormed(_) => StreamCondition::NotWellFormed,
            Error::Restricted(_) => StreamCondition::RestrictedXml,
            Error::UnsupportedEncoding => StreamCondition::UnsupportedEncoding,
            Error::LimitExceeded(_) => StreamCondition::PolicyViolation,
            Error::StreamLevelText => StreamCondition::BadFormat,
        };
        StreamError::new(condition).with_text(error.to_string())
    }
}
