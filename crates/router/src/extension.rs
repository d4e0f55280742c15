//! A XEP is a file: what an extension declares, and how it is called.
//!
//! `install` declares everything at start; the tables built from it are immutable. A claim made twice is a start-up error.

use crate::{Context, Relation, SessionId, Settings};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use stonechat_jid::{BareJid, Domain, Jid};
use stonechat_stanza::StanzaError;
use stonechat_xml::Element;

/// What an extension is: the source of disco, the DOAP file, `docs/xeps.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// Number of the XEP.
    pub xep: u16,
    /// Its title.
    pub name: &'static str,
    /// The version followed.
    pub version: &'static str,
    /// One line for people: what works.
    pub note: &'static str,
}

/// An extension. Its state is what it owns; what it may reach is its [`Context`].
pub trait Extension: Send + Sync + 'static {
    /// What it is.
    const INFO: Info;
    /// Declares everything.
    fn install(self, registrar: &mut Registrar);
}

/// Where a disco feature shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// On each served domain.
    Domain,
    /// On an account's bare address (to its owner and subscribers).
    Account,
}

/// Get or set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IqKind {
    /// `get`
    Get,
    /// `set`
    Set,
}

/// Whom the IQ addressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IqTarget {
    /// A served domain.
    Domain(Domain),
    /// An account's bare address (or no `to` at all: the sender's own). There need not be such an account: the sender is a
    /// stranger to it then, and must not learn from the answer that it is not there.
    Account(BareJid),
}

/// An IQ get or set for the server itself.
#[derive(Clone, Debug)]
pub struct IqRequest {
    /// Who asks; verified.
    pub from: Jid,
    /// The session that asks, when it is one of ours.
    pub session: Option<SessionId>,
    /// What the sender is to the target.
    pub relation: Relation,
    /// Whom it addressed.
    pub target: IqTarget,
    /// Get or set.
    pub kind: IqKind,
    /// The one child.
    pub payload: Element,
}

/// What a handler returns: the payload of the result (or an empty result), or an error.
pub type IqAnswer = Result<Option<Element>, StanzaError>;

/// A handler: an ordinary `async fn(Context, IqRequest) -> IqAnswer`.
pub trait IqHandler: Send + Sync + 'static {
    /// Runs it.
    fn call(&self, context: Context, request: IqRequest) -> Pin<Box<dyn Future<Output = IqAnswer> + Send>>;
}

impl<F, R> IqHandler for F
where
    F: Fn(Context, IqRequest) -> R + Send + Sync + 'static,
    R: Future<Output = IqAnswer> + Send + 'static,
{
    fn call(&self, context: Context, request: IqRequest) -> Pin<Box<dyn Future<Output = IqAnswer> + Send>> {
        Box::pin(self(context, request))
    }
}

pub(crate) type FeatureFn = Arc<dyn Fn(&Context, &Domain) -> Option<Element> + Send + Sync>;
pub(crate) type FormFn = Arc<dyn Fn(&Context, &Domain) -> Option<Element> + Send + Sync>;

/// Which IQs a handler answers.
pub(crate) type IqKey = (Place, IqKind, &'static str, &'static str);
pub(crate) type Claim = (IqKey, Arc<dyn IqHandler>);

/// A disco#info feature.
pub(crate) struct Feature {
    pub(crate) place: Place,
    pub(crate) name: &'static str,
    /// Whether it shows; always when there is no condition.
    pub(crate) when: Option<fn(&Settings) -> bool>,
}

#[derive(Default)]
pub(crate) struct Declared {
    pub(crate) infos: Vec<Info>,
    pub(crate) features: Vec<Feature>,
    pub(crate) identities: Vec<(Place, &'static str, &'static str)>,
    pub(crate) forms: Vec<FormFn>,
    pub(crate) iq: Vec<Claim>,
    pub(crate) registration: Option<Arc<dyn IqHandler>>,
    pub(crate) before_authentication: Vec<FeatureFn>,
    pub(crate) after_authentication: Vec<FeatureFn>,
}

/// Collects what extensions declare.
#[derive(Default)]
pub struct Registrar {
    pub(crate) declared: Declared,
}

impl Registrar {
    /// An empty one.
    pub fn new() -> Self {
        Registrar::default()
    }
    /// Installs an extension.
    pub fn install<E: Extension>(&mut self, extension: E) {
        self.declared.infos.push(E::INFO);
        extension.install(self);
    }
    /// Declares a XEP that the core itself implements, so that it shows in the generated lists.
    pub fn core(&mut self, info: Info) {
        self.declared.infos.push(info);
    }
    /// A disco#info feature.
    pub fn disco_feature(&mut self, place: Place, feature: &'static str) {
        self.declared.features.push(Feature { place, name: feature, when: None });
    }
    /// A disco#info feature that the settings may turn off.
    pub fn disco_feature_when(&mut self, place: Place, feature: &'static str, when: fn(&Settings) -> bool) {
        self.declared.features.push(Feature { place, name: feature, when: Some(when) });
    }
    /// A disco#info identity (category, type).
    pub fn disco_identity(&mut self, place: Place, category: &'static str, kind: &'static str) {
        self.declared.identities.push((place, category, kind));
    }
    /// A form on the domain's disco#info (XEP-0128); `None` when there is nothing to say.
    pub fn disco_form(&mut self, form: impl Fn(&Context, &Domain) -> Option<Element> + Send + Sync + 'static) {
        self.declared.forms.push(Arc::new(form));
    }
    /// A handler for IQs whose child has that namespace and name, addressed to that place.
    pub fn iq(
        &mut self,
        place: Place,
        kind: IqKind,
        namespace: &'static str,
        name: &'static str,
        handler: impl IqHandler,
    ) {
        self.declared.iq.push(((place, kind, namespace, name), Arc::new(handler)));
    }
    /// The handler of `jabber:iq:register` before authentication. There is one at most.
    pub fn registration(&mut self, handler: impl IqHandler) {
        self.declared.registration = Some(Arc::new(handler));
    }
    /// A stream feature shown before authentication (after TLS).
    pub fn feature_before_authentication(
        &mut self,
        feature: impl Fn(&Context, &Domain) -> Option<Element> + Send + Sync + 'static,
    ) {
        self.declared.before_authentication.push(Arc::new(feature));
    }
    /// A stream feature shown after authentication.
    pub fn feature_after_authentication(
        &mut self,
        feature: impl Fn(&Context, &Domain) -> Option<Element> + Send + Sync + 'static,
    ) {
        self.declared.after_authentication.push(Arc::new(feature));
    }
}
