//! One stream's side of things: an offer, accounts, and the answers that the outside gives to a negotiation.

use std::collections::BTreeMap;
use std::sync::Mutex;

use stonechat_sasl::client::Scram;
use stonechat_sasl::{
    ChannelBinding, ChannelBindings, Credentials, DecoySecret, Failure, Hash, Lookup, Mechanism, Negotiation, Offer,
    Password, Step, Success, TlsVersion, Verdict, prepare_password,
};

pub(crate) const HASHES: [Hash; 3] = [Hash::Sha1, Hash::Sha256, Hash::Sha512];

pub(crate) fn password(text: &str) -> Password {
    prepare_password(text).unwrap()
}

/// Enough iterations for our client, few enough for tests; derived once for each text.
pub(crate) fn credentials(text: &str) -> Credentials {
    static DERIVED: Mutex<BTreeMap<String, Credentials>> = Mutex::new(BTreeMap::new());
    let mut derived = DERIVED.lock().unwrap();
    derived
        .entry(text.to_owned())
        .or_insert_with(|| Credentials::derive(&password(text), [[1; 16], [2; 16], [3; 16]], 4096))
        .clone()
}

/// How a store answers for an account.
#[derive(Clone)]
pub(crate) enum Account {
    Found(Credentials),
    Locked(Credentials),
    Unknown,
    Unavailable,
}

pub(crate) struct Desk {
    pub(crate) offer: Offer,
    pub(crate) bindings: ChannelBindings,
    pub(crate) account: Account,
    pub(crate) external: Verdict,
    pub(crate) decoy: DecoySecret,
    pub(crate) nonce: [u8; 18],
    /// Every challenge sent.
    pub(crate) challenges: Vec<Vec<u8>>,
}

impl Desk {
    /// A TLS 1.3 connection that offers everything, and `juliet` with the password `pencil`.
    pub(crate) fn full() -> Desk {
        Desk {
            offer: Offer {
                mechanisms: Mechanism::ALL.to_vec(),
                channel_bindings: vec![ChannelBinding::TlsExporter, ChannelBinding::TlsServerEndPoint],
            },
            bindings: ChannelBindings {
                tls_exporter: Some(vec![0xe0; 32]),
                tls_server_end_point: Some(vec![0xce; 32]),
                tls_version: Some(TlsVersion::Tls13),
            },
            account: Account::Found(credentials("pencil")),
            external: Verdict::Accepted,
            decoy: DecoySecret([9; 32]),
            nonce: [5; 18],
            challenges: Vec::new(),
        }
    }

    /// The same without channel binding.
    pub(crate) fn without_binding() -> Desk {
        let mut desk = Desk::full();
        desk.offer.mechanisms.retain(|mechanism| !matches!(mechanism, Mechanism::ScramPlus(_)));
        desk.offer.channel_bindings.clear();
        desk.bindings = ChannelBindings::default();
        desk
    }

    pub(crate) fn with(mut self, account: Account) -> Desk {
        self.account = account;
        self
    }

    pub(crate) fn begin(&self, mechanism: &str) -> Result<Negotiation, Failure> {
        Negotiation::begin(mechanism, &self.offer, &self.bindings, &self.decoy, &self.nonce)
    }

    /// Answers what the negotiation asks of the outside, until it wants to say something to the client.
    pub(crate) fn settle(&mut self, negotiation: &mut Negotiation, mut step: Step) -> Step {
        loop {
            step = match step {
                Step::NeedCredentials { .. } => negotiation.credentials(match self.account.clone() {
                    Account::Found(credentials) => Lookup::Found(credentials),
                    Account::Locked(credentials) => Lookup::Locked(credentials),
                    Account::Unknown => Lookup::Unknown,
                    Account::Unavailable => Lookup::Unavailable,
                }),
                Step::CheckPassword { password, credentials } => {
                    let matches = credentials.verify(&password);
                    negotiation.password_checked(if matches { Verdict::Accepted } else { Verdict::Refused })
                }
                Step::CheckExternal { .. } => negotiation.external_checked(self.external),
                step => {
                    if let Step::Challenge(challenge) = &step {
                        self.challenges.push(challenge.clone());
                    }
                    return step;
                }
            }
        }
    }

    /// What the client hears to these messages, one after another.
    pub(crate) fn hear(&mut self, mechanism: &str, messages: &[Option<&[u8]>]) -> Result<Step, Failure> {
        let mut negotiation = self.begin(mechanism)?;
        let mut heard = None;
        for message in messages {
            let step = negotiation.message(*message);
            heard = Some(self.settle(&mut negotiation, step));
        }
        Ok(heard.unwrap())
    }

    /// The end of an exchange of one message.
    pub(crate) fn verdict(&mut self, mechanism: &str, message: &[u8]) -> Result<Success, Failure> {
        end(self.hear(mechanism, &[Some(message)])?)
    }

    /// A whole SCRAM exchange, with the client's final message changed on its way. A success is checked by the client.
    pub(crate) fn scram_with(
        &mut self,
        mechanism: Mechanism,
        mut client: Scram,
        change: impl FnOnce(String) -> String,
    ) -> Result<Success, Failure> {
        let mut negotiation = self.begin(mechanism.name())?;
        let step = negotiation.message(Some(&client.initial()));
        let challenge = match self.settle(&mut negotiation, step) {
            Step::Challenge(challenge) => challenge,
            step => return end(step),
        };
        let response = change(String::from_utf8(client.respond(&challenge).unwrap()).unwrap());
        let step = negotiation.message(Some(response.as_bytes()));
        let success = end(self.settle(&mut negotiation, step))?;
        assert_eq!(client.finish(success.data.as_ref().unwrap()), Ok(()));
        Ok(success)
    }

    pub(crate) fn scram(&mut self, mechanism: Mechanism, client: Scram) -> Result<Success, Failure> {
        self.scram_with(mechanism, client, |message| message)
    }
}

pub(crate) fn end(step: Step) -> Result<Success, Failure> {
    match step {
        Step::Success(success) => Ok(success),
        Step::Failure(failure) => Err(failure),
        step => panic!("not an end: {step:?}"),
    }
}

pub(crate) fn client(hash: Hash, text: &str) -> Scram {
    Scram::new(hash, "juliet", &password(text), &[7; 18], None)
}

pub(crate) fn bound_client(hash: Hash, text: &str, kind: ChannelBinding, data: &[u8]) -> Scram {
    Scram::new(hash, "juliet", &password(text), &[7; 18], Some((kind, data.to_vec())))
}
