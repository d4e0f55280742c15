//! Stanza errors (RFC 6120 §8.3).

use crate::ns;
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

impl ErrorType {
    /// The value of the `type` attribute.
    pub fn name(self) -> &'static str {
        match self {
            ErrorType::Auth => "auth",
            ErrorType::Cancel => "cancel",
            ErrorType::Continue => "continue",
            ErrorType::Modify => "modify",
            ErrorType::Wait => "wait",
        }
    }
    /// By the value of the `type` attribute.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "auth" => Some(ErrorType::Auth),
            "cancel" => Some(ErrorType::Cancel),
            "continue" => Some(ErrorType::Continue),
            "modify" => Some(ErrorType::Modify),
            "wait" => Some(ErrorType::Wait),
            _ => None,
        }
    }
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
        let mut error = Element::new("error", ns::CLIENT)
            .with_attribute("type", self.error_type.name())
            .with_child(Element::new(self.condition.name(), ns::STANZA_ERRORS));
        if let Some(text) = &self.text {
            let mut element = Element::new("text", ns::STANZA_ERRORS).with_text(text.as_ref());
            element.set_attribute(ns::XML, "lang", "en");
            error = error.with_child(element);
        }
        match &self.application {
            Some(application) => error.with_child(Element::clone(application)),
            None => error,
        }
    }
    /// Reads an `<error/>`; `None` when the element is something else.
    ///
    /// Lenient towards old peers: an unknown or missing condition reads as `undefined-condition` and an unknown or missing
    /// type as the one that the RFC recommends for the condition (RFC 6120 §8.3.2: "MUST", §8.3.3).
    pub fn from_element(element: &Element) -> Option<StanzaError> {
        if element.name() != "error" {
            return None;
        }
        let condition = element
            .children()
            .filter(|child| child.namespace() == ns::STANZA_ERRORS)
            .find_map(|child| StanzaCondition::from_name(child.name()))
            .unwrap_or(StanzaCondition::UndefinedCondition);
        let error_type =
            element.attribute("type").and_then(ErrorType::from_name).unwrap_or_else(|| condition.default_type());
        let text = element.child("text", ns::STANZA_ERRORS).map(|text| text.text().into());
        let application = element
            .children()
            .find(|child| child.namespace() != ns::STANZA_ERRORS && !ns::is_content(child.namespace()))
            .map(|child| Box::new(child.clone()));
        Some(StanzaError { error_type, condition, text, application })
    }
}

impl From<StanzaCondition> for StanzaError {
    fn from(condition: StanzaCondition) -> Self {
        StanzaError::new(condition)
    }
}
