//! Stanza errors (RFC 6120 §8.3).

use stonechat_xml::Element;

/// RFC 6120 §8.3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the RFC's names")]
pub enum ErrorType {
    Auth,
    Cancel,
    Continue,
    Modify,
    Wait,
}

macro_rules! conditions {
    ($($(#[$doc:meta])* $name:ident => $text:literal, $kind:ident;)*) => {
        /// The defined conditions of RFC 6120 §8.3.3.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the RFC's names")]
        pub enum StanzaCondition { $($(#[$doc])* $name,)* }
        impl StanzaCondition {
            /// The element name.
            pub fn name(self) -> &'static str { match self { $(StanzaCondition::$name => $text,)* } }
            /// By element name.
            pub fn from_name(name: &str) -> Option<Self> { match name { $($text => Some(StanzaCondition::$name),)* _ => None } }
            /// The error type the RFC recommends.
            pub fn default_type(self) -> ErrorType { match self { $(StanzaCondition::$name => ErrorType::$kind,)* } }
        }
    };
}
conditions! {
    BadRequest => "bad-request", Modify;
    Conflict => "conflict", Cancel;
    FeatureNotImplemented => "feature-not-implemented", Cancel;
    Forbidden => "forbidden", Auth;
    Gone => "gone", Cancel;
    InternalServerError => "internal-server-error", Cancel;
    ItemNotFound => "item-not-found", Cancel;
    JidMalformed => "jid-malformed", Modify;
    NotAcceptable => "not-acceptable", Modify;
    NotAllowed => "not-allowed", Cancel;
    NotAuthorized => "not-authorized", Auth;
    PolicyViolation => "policy-violation", Modify;
    RecipientUnavailable => "recipient-unavailable", Wait;
    Redirect => "redirect", Modify;
    RegistrationRequired => "registration-required", Auth;
    RemoteServerNotFound => "remote-server-not-found", Cancel;
    RemoteServerTimeout => "remote-server-timeout", Wait;
    ResourceConstraint => "resource-constraint", Wait;
    ServiceUnavailable => "service-unavailable", Cancel;
    SubscriptionRequired => "subscription-required", Auth;
    UndefinedCondition => "undefined-condition", Cancel;
    UnexpectedRequest => "unexpected-request", Wait;
}

/// An error for a peer: what goes into `<error/>`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", condition.name())]
pub struct StanzaError {
    /// Type.
    pub error_type: ErrorType,
    /// Defined condition.
    pub condition: StanzaCondition,
    /// Human-readable text, English.
    pub text: Option<std::borrow::Cow<'static, str>>,
    /// An application-specific condition.
    pub application: Option<Box<Element>>,
}

impl StanzaError {
    /// With the recommended type and no text.
    pub fn new(condition: StanzaCondition) -> Self {
        StanzaError { error_type: condition.default_type(), condition, text: None, application: None }
    }
    /// With a text.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        self.text = Some(text.into());
        self
    }
    /// With another type than the recommended one.
    #[must_use]
    pub fn with_type(mut self, error_type: ErrorType) -> Self {
        self.error_type = error_type;
        self
    }
    /// With an application-specific condition.
    #[must_use]
    pub fn with_application(mut self, element: Element) -> Self {
        self.application = Some(Box::new(element));
        self
    }
    /// `<error/>` in the given content namespace (as a tree: always `jabber:client`).
    pub fn to_element(&self) -> Element {
        todo!()
    }
    /// Reads an `<error/>`.
    pub fn from_element(_element: &Element) -> Option<StanzaError> {
        todo!()
    }
}

impl From<StanzaCondition> for StanzaError {
    fn from(condition: StanzaCondition) -> Self {
        StanzaError::new(condition)
    }
}
