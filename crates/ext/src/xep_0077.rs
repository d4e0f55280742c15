//! XEP-0077: In-Band Registration: making an account where the mode is `open`; changing the password and removing the
//! account always.
//!
//! Registration has a name and a password and nothing else: no data form, no address for mail. How many may register from
//! where is not decided here but at the connection.

use stonechat_jid::{BareJid, Domain, Level};
use stonechat_router::{
    AccountError, Context, Extension, Info, IqAnswer, IqKind, IqRequest, IqTarget, Place, Registrar, RegistrationMode,
};
use stonechat_sasl::{Credentials, prepare_password};
use stonechat_stanza::{StanzaCondition, StanzaError, ns};
use stonechat_xml::Element;
use tracing::{error, info};

pub(crate) struct Registration;

/// Characters a password chosen in band has at least.
const SHORTEST: usize = 6;

impl Extension for Registration {
    const INFO: Info = Info {
        xep: 77,
        name: "In-Band Registration",
        version: "2.4",
        note: "registration where [registration] mode is open; password change and removal always",
    };

    fn install(self, registrar: &mut Registrar) {
        registrar.registration(before_authentication);
        registrar.feature_before_authentication(|context, _| {
            (context.settings().registration == RegistrationMode::Open)
                .then(|| Element::new("register", ns::REGISTER_FEATURE))
        });
        registrar.disco_feature(Place::Domain, ns::REGISTER);
        for place in [Place::Domain, Place::Account] {
            registrar.iq(place, IqKind::Get, ns::REGISTER, "query", registered);
            registrar.iq(place, IqKind::Set, ns::REGISTER, "query", change);
        }
    }
}

fn field(query: &Element, name: &str) -> Option<String> {
    query.child(name, ns::REGISTER).map(Element::text).filter(|text| !text.is_empty())
}

fn empty(name: &'static str) -> Element {
    Element::new(name, ns::REGISTER)
}

/// §3.1: by a stream that has not logged in.
async fn before_authentication(context: Context, request: IqRequest) -> IqAnswer {
    let IqTarget::Domain(domain) = &request.target else { return Err(StanzaCondition::ServiceUnavailable.into()) };
    if context.settings().registration != RegistrationMode::Open {
        return Err(StanzaCondition::ServiceUnavailable.into());
    }
    match request.kind {
        IqKind::Get => Ok(Some(
            Element::new("query", ns::REGISTER)
                .with_child(empty("instructions").with_text("Choose a user name and a password."))
                .with_child(empty("username"))
                .with_child(empty("password")),
        )),
        IqKind::Set => register(&context, domain, &request.payload).await,
    }
}

async fn register(context: &Context, domain: &Domain, query: &Element) -> IqAnswer {
    if query.child("remove", ns::REGISTER).is_some() {
        // §3.2: nobody is registered on this stream.
        return Err(StanzaCondition::UnexpectedRequest.into());
    }
    let not_acceptable = |text: &'static str| StanzaError::new(StanzaCondition::NotAcceptable).with_text(text);
    let (Some(name), Some(password)) = (field(query, "username"), field(query, "password")) else {
        return Err(not_acceptable("a user name and a password are needed"));
    };
    let account = BareJid::from_parts(&name, domain, Level::Creating)
        .map_err(|_| not_acceptable("the user name has characters that are not allowed"))?;
    let credentials = credentials(context, &account, &password).await?;
    match context.create_account(account.clone(), credentials).await {
        Ok(_) => {
            info!(event = "account.registered", %account, "an account was registered in band");
            Ok(None)
        }
        Err(error) => Err(account_error(&error)),
    }
}

async fn credentials(context: &Context, account: &BareJid, password: &str) -> Result<Credentials, StanzaError> {
    let password = prepare_password(password)
        .map_err(|error| StanzaError::new(StanzaCondition::NotAcceptable).with_text(error.to_string()))?;
    if password.expose().chars().count() < SHORTEST || account.local() == Some(password.expose()) {
        let text = format!("a password has {SHORTEST} characters at least, and is not the user name");
        return Err(StanzaError::new(StanzaCondition::NotAcceptable).with_text(text));
    }
    context.derive_credentials(password).await.ok_or_else(|| StanzaCondition::ResourceConstraint.into())
}

fn account_error(error: &AccountError) -> StanzaError {
    match error {
        AccountError::Conflict => StanzaError::new(StanzaCondition::Conflict).with_text("that name is taken"),
        AccountError::NotFound | AccountError::NotServed => StanzaCondition::ItemNotFound.into(),
        AccountError::Store(source) => {
            error!(event = "account.store_failed", %source, "an account could not be written");
            StanzaCondition::InternalServerError.into()
        }
    }
}

/// The account of who asks, when it is one of ours and the request is about itself.
fn own_account(context: &Context, request: &IqRequest) -> Result<BareJid, StanzaError> {
    let own = request.from.to_bare();
    let about_itself = match &request.target {
        IqTarget::Domain(domain) => own.to_domain() == *domain,
        IqTarget::Account(account) => own == *account,
    };
    if own.local().is_some() && about_itself && context.serves(&own.to_domain()) {
        Ok(own)
    } else {
        Err(StanzaCondition::Forbidden.into())
    }
}

/// §3.1, example 4: whoever is logged in is registered.
async fn registered(context: Context, request: IqRequest) -> IqAnswer {
    let own = own_account(&context, &request)?;
    Ok(Some(
        Element::new("query", ns::REGISTER)
            .with_child(empty("registered"))
            .with_child(
                empty("instructions").with_text("You are registered. A new password replaces the one you have."),
            )
            .with_child(empty("username").with_text(own.local().unwrap_or_default()))
            .with_child(empty("password")),
    ))
}

async fn change(context: Context, request: IqRequest) -> IqAnswer {
    let own = own_account(&context, &request)?;
    if request.payload.child("remove", ns::REGISTER).is_some() {
        // §3.2.1: alone in its request.
        if request.payload.children().count() != 1 {
            return Err(StanzaCondition::BadRequest.into());
        }
        context.delete_account(&own).await.map_err(|error| account_error(&error))?;
        info!(event = "account.removed", account = %own, "an account was removed by its owner");
        return Ok(None);
    }
    // §3.3
    let (Some(name), Some(password)) = (field(&request.payload, "username"), field(&request.payload, "password"))
    else {
        return Err(StanzaCondition::BadRequest.into());
    };
    if BareJid::from_parts(&name, &own.to_domain(), Level::Routing).ok().as_ref() != Some(&own) {
        return Err(StanzaError::new(StanzaCondition::NotAllowed).with_text("that is not your own user name"));
    }
    let credentials = credentials(&context, &own, &password).await?;
    context.set_credentials(&own, credentials).await.map_err(|error| account_error(&error))?;
    info!(event = "account.password_changed", account = %own, "an account's owner changed its password");
    Ok(None)
}
