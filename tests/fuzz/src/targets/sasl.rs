//! SASL: no message makes a machine panic, and none of them logs in without the password or the token.

use stonechat_sasl::{
    Candidate, ChannelBinding, ChannelBindings, DecoySecret, Hash, Lookup, Mechanism, Negotiation, Offer, Step,
    TlsVersion, TokenLookup, TokenMechanism, TokenNegotiation, TokenSecret, TokenStep, UpgradeTask, Validity, Verdict,
    decode,
};

pub(crate) const CORPUS: &[&str] = &[
    "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
    "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
    "p=tls-exporter,,n=user,r=abc",
    "y,a=other@b,n=us=2Cer,r=x,m=ext",
    "\0user\0password",
    "AHVzZXIAcGFzcw==",
    "user\09097787461a184e0fa84ec00c1381190",
    "user\0\0\0hash",
];

pub(crate) fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = decode(text);
    }
    let bindings = ChannelBindings {
        tls_exporter: Some(vec![1; 32]),
        tls_server_end_point: Some(vec![2; 32]),
        tls_version: Some(TlsVersion::Tls13),
    };
    let mechanisms =
        vec![Mechanism::ScramPlus(Hash::Sha256), Mechanism::Scram(Hash::Sha1), Mechanism::Plain, Mechanism::External];
    let names: Vec<&str> = mechanisms.iter().map(|mechanism| mechanism.name()).collect();
    let offer = Offer {
        mechanisms: mechanisms.clone(),
        channel_bindings: vec![ChannelBinding::TlsExporter, ChannelBinding::TlsServerEndPoint],
    };
    let decoy = DecoySecret([3; 32]);
    for name in names {
        let Ok(mut negotiation) = Negotiation::begin(name, &offer, &bindings, &decoy, &[9; 24]) else { continue };
        for part in data.splitn(3, |byte| *byte == b'\n') {
            let mut step = negotiation.message(Some(part));
            loop {
                step = match step {
                    Step::NeedCredentials { .. } => negotiation.credentials(Lookup::Unknown),
                    Step::CheckPassword { .. } => negotiation.password_checked(Verdict::Refused),
                    Step::CheckExternal { .. } => negotiation.external_checked(Verdict::Refused),
                    Step::Success(_) => panic!("somebody logged in without a password"),
                    Step::Challenge(_) | Step::Failure(_) => break,
                };
            }
        }
    }
    hashed_tokens(data, &bindings);
    for task in UpgradeTask::ALL {
        let _ = task.keys(data, [1; 16], 4096);
    }
}

fn hashed_tokens(data: &[u8], bindings: &ChannelBindings) {
    let offered = TokenMechanism::available(bindings);
    for mechanism in &offered {
        for (account, candidates) in [(Some(7), 2), (Some(7), 0), (None, 0)] {
            let secret = TokenSecret([4; 32]);
            let Ok(mut negotiation) = TokenNegotiation::begin(mechanism.name(), &offered, bindings, &secret, "device")
            else {
                continue;
            };
            let mut step = negotiation.message(data);
            loop {
                step = match step {
                    TokenStep::NeedCandidates { .. } => negotiation.candidates(match account {
                        Some(account) => TokenLookup::Found {
                            account,
                            candidates: vec![Candidate { seed: [5; 16], validity: Validity::Good }; candidates],
                        },
                        None => TokenLookup::Unknown,
                    }),
                    TokenStep::UseToken { .. } | TokenStep::Success(_) => panic!("somebody has a token by chance"),
                    TokenStep::Failure(_) => break,
                };
            }
        }
    }
}
