//! The grammar of SCRAM messages (RFC 5802 §7), of PLAIN (RFC 4616 §2) and of HT (draft-schmaus-kitten-sasl-ht-09 §3.1):
//! bytes to parts, deciding nothing.
//!
//! The order of attributes is fixed (RFC 5802 §5.1), so a message is read from its front. Unknown attributes are allowed
//! at the places for extensions, checked for their form and ignored.

use zeroize::Zeroizing;

use crate::base64::decode_attribute;
use crate::{Failure, Password, prepare_password};

/// The longest message looked at, in bytes: an address, a name and a password of the greatest lengths fit, and the copies
/// that an exchange keeps of it stay small.
const LONGEST: usize = 8 * 1024;

/// The text of a message, within bounds.
pub(crate) fn text(message: &[u8]) -> Result<&str, Failure> {
    if message.len() > LONGEST {
        return Err(Failure::MalformedRequest);
    }
    std::str::from_utf8(message).map_err(|_| Failure::MalformedRequest)
}

/// `gs2-cbind-flag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BindingFlag<'a> {
    /// `n`: the client does not bind.
    Unsupported,
    /// `y`: the client could, and thinks that the server cannot.
    NotOffered,
    /// `p=`: bound by this type.
    Bound(&'a str),
}

/// `client-first-message`.
#[derive(Debug)]
pub(crate) struct ClientFirst<'a> {
    pub(crate) flag: BindingFlag<'a>,
    pub(crate) authzid: Option<String>,
    pub(crate) username: String,
    pub(crate) nonce: &'a str,
    /// `gs2-header`, its last comma included.
    pub(crate) gs2_header: &'a str,
    /// `client-first-message-bare`.
    pub(crate) bare: &'a str,
}

impl<'a> ClientFirst<'a> {
    pub(crate) fn parse(message: &'a str) -> Result<Self, Failure> {
        let malformed = Failure::MalformedRequest;
        let (flag, rest) = message.split_once(',').ok_or(malformed)?;
        let (authzid, bare) = rest.split_once(',').ok_or(malformed)?;
        let flag = match flag {
            "n" => BindingFlag::Unsupported,
            "y" => BindingFlag::NotOffered,
            _ => BindingFlag::Bound(flag.strip_prefix("p=").filter(|name| is_binding_name(name)).ok_or(malformed)?),
        };
        let authzid = match authzid {
            "" => None,
            _ => Some(saslname(authzid.strip_prefix("a=").ok_or(malformed)?)?),
        };
        let gs2_header = message.strip_suffix(bare).ok_or(malformed)?;

        let mut attributes = bare.split(',');
        // RFC 5802 §5.1, "m": its presence fails the authentication.
        let username = attributes.next().and_then(|attribute| attribute.strip_prefix("n=")).ok_or(malformed)?;
        let nonce = attributes.next().and_then(|attribute| attribute.strip_prefix("r=")).ok_or(malformed)?;
        if !is_nonce(nonce) {
            return Err(malformed);
        }
        extensions(attributes)?;
        Ok(ClientFirst { flag, authzid, username: saslname(username)?, nonce, gs2_header, bare })
    }
}

/// `client-final-message`.
#[derive(Debug)]
pub(crate) struct ClientFinal<'a> {
    /// What `c` decodes to: the GS2 header and the binding data.
    pub(crate) binding: Vec<u8>,
    pub(crate) nonce: &'a str,
    pub(crate) proof: Vec<u8>,
    /// `client-final-message-without-proof`.
    pub(crate) without_proof: &'a str,
}

impl<'a> ClientFinal<'a> {
    pub(crate) fn parse(message: &'a str) -> Result<Self, Failure> {
        let malformed = Failure::MalformedRequest;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(malformed)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|attribute| attribute.strip_prefix("c=")).ok_or(malformed)?;
        let nonce = attributes.next().and_then(|attribute| attribute.strip_prefix("r=")).ok_or(malformed)?;
        if !is_nonce(nonce) {
            return Err(malformed);
        }
        extensions(attributes)?;
        Ok(ClientFinal {
            binding: decode_attribute(binding).ok_or(malformed)?,
            nonce,
            proof: decode_attribute(proof).ok_or(malformed)?,
            without_proof,
        })
    }
}

/// `server-first-message`, as the client reads it.
#[derive(Debug)]
pub(crate) struct ServerFirst<'a> {
    pub(crate) nonce: &'a str,
    pub(crate) salt: Vec<u8>,
    pub(crate) iterations: u32,
    /// XEP-0474 §5.1: the downgrade protection hash, as it was written.
    pub(crate) downgrade_protection: Option<&'a str>,
    /// XEP-0515 §4.1: the version of TLS at the server's end, as it was written.
    pub(crate) tls_version: Option<&'a str>,
}

impl<'a> ServerFirst<'a> {
    pub(crate) fn parse(message: &'a str) -> Option<Self> {
        let mut attributes = message.split(',');
        let nonce = attributes.next()?.strip_prefix("r=").filter(|nonce| is_nonce(nonce))?;
        let salt = decode_attribute(attributes.next()?.strip_prefix("s=")?)?;
        let iterations = attributes.next()?.strip_prefix("i=")?;
        // posit-number: no sign, no leading zero.
        if iterations.starts_with(['+', '0']) {
            return None;
        }
        let iterations = iterations.parse().ok()?;
        extensions(attributes.clone()).ok()?;
        let downgrade_protection = attributes.clone().find_map(|attribute| attribute.strip_prefix("h="));
        let tls_version = attributes.find_map(|attribute| attribute.strip_prefix("t="));
        Some(ServerFirst { nonce, salt, iterations, downgrade_protection, tls_version })
    }
}

/// `authzid NUL authcid NUL passwd` of PLAIN.
#[derive(Debug)]
pub(crate) struct Plain {
    pub(crate) authzid: Option<String>,
    pub(crate) username: String,
    pub(crate) password: Password,
}

impl Plain {
    pub(crate) fn parse(message: &str) -> Result<Plain, Failure> {
        let mut parts = message.split('\0');
        let (Some(authzid), Some(username), Some(password), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Failure::MalformedRequest);
        };
        // RFC 4616 §2: authcid and passwd have one character or more.
        if username.is_empty() || password.is_empty() {
            return Err(Failure::MalformedRequest);
        }
        Ok(Plain {
            authzid: (!authzid.is_empty()).then(|| authzid.to_owned()),
            username: username.to_owned(),
            // No account has such a password, whichever account it is.
            password: prepare_password(password).map_err(|_| Failure::NotAuthorized)?,
        })
    }

    pub(crate) fn compose(authzid: Option<&str>, username: &str, password: &Password) -> Zeroizing<Vec<u8>> {
        let password = password.expose();
        let authzid = authzid.unwrap_or_default();
        // The capacity is exact: no reallocation leaves a copy of the password behind.
        let mut message = Zeroizing::new(Vec::with_capacity(authzid.len() + username.len() + password.len() + 2));
        message.extend_from_slice(authzid.as_bytes());
        message.push(0);
        message.extend_from_slice(username.as_bytes());
        message.push(0);
        message.extend_from_slice(password.as_bytes());
        message
    }
}

/// `authcid NUL initiator-hashed-token` of HT.
#[derive(Debug)]
pub(crate) struct HashedTokenFirst<'a> {
    pub(crate) username: &'a str,
    pub(crate) proof: &'a [u8],
}

impl<'a> HashedTokenFirst<'a> {
    pub(crate) fn parse(message: &'a [u8]) -> Result<HashedTokenFirst<'a>, Failure> {
        let malformed = Failure::MalformedRequest;
        if message.len() > LONGEST {
            return Err(malformed);
        }
        // The hash may have any octet, so it is the first NUL that parts.
        let end = message.iter().position(|byte| *byte == 0).ok_or(malformed)?;
        let (username, rest) = message.split_at_checked(end).ok_or(malformed)?;
        let username = std::str::from_utf8(username).map_err(|_| malformed)?;
        let proof = rest.strip_prefix(b"\0").ok_or(malformed)?;
        if username.is_empty() || proof.is_empty() {
            return Err(malformed);
        }
        Ok(HashedTokenFirst { username, proof })
    }
}

/// `saslname` to the name it spells. Any `=` other than `=2C` and `=3D` fails the authentication (RFC 5802 §5.1, "n").
fn saslname(text: &str) -> Result<String, Failure> {
    if text.is_empty() || text.contains('\0') {
        return Err(Failure::MalformedRequest);
    }
    let mut pieces = text.split('=');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (character, rest) = if let Some(rest) = piece.strip_prefix("2C") {
            (',', rest)
        } else if let Some(rest) = piece.strip_prefix("3D") {
            ('=', rest)
        } else {
            return Err(Failure::MalformedRequest);
        };
        name.push(character);
        name.push_str(rest);
    }
    Ok(name)
}

/// A name as `saslname`.
pub(crate) fn to_saslname(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// `extensions`, each of the form `ALPHA "=" 1*value-char`.
fn extensions<'a>(attributes: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    for attribute in attributes {
        let (name, value) = attribute.split_once('=').ok_or(Failure::MalformedRequest)?;
        let [letter] = name.as_bytes() else {
            return Err(Failure::MalformedRequest);
        };
        if !letter.is_ascii_alphabetic() || value.is_empty() || value.contains('\0') {
            return Err(Failure::MalformedRequest);
        }
        // RFC 5802 §5.1: these have a place of their own, and "m" must fail wherever it is.
        if matches!(letter, b'a' | b'n' | b'm' | b'r' | b'c' | b's' | b'i' | b'p' | b'v' | b'e') {
            return Err(Failure::MalformedRequest);
        }
    }
    Ok(())
}

/// `c-nonce`: `1*(%x21-2B / %x2D-7E)`.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// `cb-name`: `1*(ALPHA / DIGIT / "." / "-")`.
fn is_binding_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc5802_7_client_first_messages() {
        let first = ClientFirst::parse("p=tls-exporter,a=a=2Cb,n=c=3Dd,r=xyz,x=1,y==").unwrap();
        assert_eq!(first.flag, BindingFlag::Bound("tls-exporter"));
        assert_eq!(first.authzid.as_deref(), Some("a,b"));
        assert_eq!(first.username, "c=d");
        assert_eq!(first.nonce, "xyz");
        assert_eq!(first.gs2_header, "p=tls-exporter,a=a=2Cb,");
        assert_eq!(first.bare, "n=c=3Dd,r=xyz,x=1,y==");
    }

    #[test]
    fn rfc5802_7_malformed_client_first_messages() {
        let table = [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=u",
            "n,,n=u,",
            "n,,n=u,r=",
            "n,,r=x,n=u",
            "n,n=u,r=x",
            ",,n=u,r=x",
            "N,,n=u,r=x",
            "yes,,n=u,r=x",
            "p,,n=u,r=x",
            "p=,,n=u,r=x",
            "p=tls_exporter,,n=u,r=x",
            "n,u,n=u,r=x",
            "n,a=,n=u,r=x",
            "n,a==,n=u,r=x",
            "n,,n=,r=x",
            "n,,n=u=,r=x",
            "n,,n=u=2,r=x",
            "n,,n=u=2c,r=x",
            "n,,n=u=3d,r=x",
            "n,,n=u=41,r=x",
            "n,,n=u\0,r=x",
            "n,,n=u,r=x y",
            "n,,n=u,r=\u{e9}",
            "n,,n=u,r=x,",
            "n,,n=u,r=x,xx=1",
            "n,,n=u,r=x,x=",
            "n,,n=u,r=x,1=x",
            "n,,n=u,r=x,x",
            "n,,n=u,r=x,r=y",
            "n,,n=u,r=x\0",
            " n,,n=u,r=x",
            "F,n,,n=u,r=x",
            // "m", before the user name and among the extensions.
            "n,,m=x,n=u,r=x",
            "n,,n=u,r=x,m=x",
        ];
        for message in table {
            assert_eq!(ClientFirst::parse(message).map(|_| ()), Err(Failure::MalformedRequest), "{message:?}");
        }
    }

    #[test]
    fn rfc5802_7_malformed_client_final_messages() {
        let table = [
            "",
            "c=biws,r=x",
            "c=biws,p=AAAA",
            "r=x,c=biws,p=AAAA",
            "c=biws,r=x,p=",
            "c=biws,r=x,p==",
            "c=,r=x,p=AAAA",
            "c==,r=x,p=AAAA",
            "c=biw,r=x,p=AAAA",
            "c=biws,r=,p=AAAA",
            "c=biws,r=x,p=AAA",
            "c=biws,r=x,p=AAAA,x=1",
            "c=biws,r=x,p=AAAA,p=AAAA",
            "c=biws,r=x,m=1,p=AAAA",
            "c=biws,r=x,,p=AAAA",
            "c=biws,r=x,xy=1,p=AAAA",
            "m=1,c=biws,r=x,p=AAAA",
            "c=biws,r=x,p=AAAA\n",
        ];
        for message in table {
            assert_eq!(ClientFinal::parse(message).map(|_| ()), Err(Failure::MalformedRequest), "{message:?}");
        }
        let message = ClientFinal::parse("c=biws,r=x,y=a=b,p=AAAA").unwrap();
        assert_eq!((message.nonce, message.without_proof), ("x", "c=biws,r=x,y=a=b"));
    }

    #[test]
    fn rfc5802_7_server_first_messages() {
        let message = ServerFirst::parse("r=x,s=AAAA,i=4096,d=1,h=abc=,t=0304").unwrap();
        assert_eq!((message.iterations, message.downgrade_protection), (4096, Some("abc=")));
        assert_eq!(message.tls_version, Some("0304"));
        for message in ["r=x,s=AAAA,i=0", "r=x,s=AAAA,i=+1", "r=x,s=AAAA,i=-1", "r=x,s=,i=1", "m=1,r=x,s=AAAA,i=1"] {
            assert!(ServerFirst::parse(message).is_none(), "{message}");
        }
    }

    #[test]
    fn sasl_ht_3_1_initiator_messages() {
        let message = HashedTokenFirst::parse(b"juli\xc3\xa9t\0\0\x01\0\xff").unwrap();
        assert_eq!((message.username, message.proof), ("juli\u{e9}t", &b"\0\x01\0\xff"[..]));
        let long = [b"j".repeat(LONGEST).as_slice(), b"\0x"].concat();
        for message in [&b""[..], b"juliet", b"juliet\0", b"\0", b"\0hash", b"\xc3\x28\0hash", &long] {
            assert_eq!(HashedTokenFirst::parse(message).map(|_| ()), Err(Failure::MalformedRequest), "{message:?}");
        }
    }

    #[test]
    fn saslnames_survive_escaping() {
        for name in ["juliet", ",", "=", "=2C", "a,b=c", "==,,", "\u{e9}=\u{20ac}"] {
            assert_eq!(saslname(&to_saslname(name)).as_deref(), Ok(name));
        }
    }
}
