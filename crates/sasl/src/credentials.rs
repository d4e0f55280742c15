//! What is stored of a password.
//!
//! All three SCRAM keys are kept, because none can be derived from another and clients differ in what they know. For
//! accounts that do not exist there are decoys: keys that no password matches, with a salt that stays the same for the
//! same name, so that asking twice tells nothing (abuse case 55).
//!
//! Deliberately absent: the salted password and ClientKey, with either of which one could log in.

use subtle::{Choice, ConstantTimeEq as _};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{Hash, Password};

/// Iterations of PBKDF2 for newly set passwords (RFC 7677 §4 asks for at least 4096).
pub const DEFAULT_ITERATIONS: u32 = 10_000;

/// Bytes of the salts made here and of those of decoys.
const SALT_LENGTH: usize = 16;

/// What SCRAM stores for one hash (RFC 5802 §3): not enough to log in with.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// Salt, 16 bytes or more.
    pub salt: Vec<u8>,
    /// Iteration count.
    pub iterations: u32,
    /// H(ClientKey).
    pub stored_key: Vec<u8>,
    /// HMAC(SaltedPassword, "Server Key").
    pub server_key: Vec<u8>,
}

impl ScramKeys {
    /// Whether these can be keys of this hash at all. What a store hands out damaged must not let anybody in, nor be
    /// told apart from a wrong password.
    fn are_plausible(&self, hash: Hash) -> bool {
        !self.salt.is_empty()
            && self.iterations > 0
            && self.stored_key.len() == hash.length()
            && self.server_key.len() == hash.length()
    }
}

/// The credentials of one account: the keys for each hash it has.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Keys for SCRAM-SHA-1.
    pub sha1: Option<ScramKeys>,
    /// Keys for SCRAM-SHA-256.
    pub sha256: Option<ScramKeys>,
    /// Keys for SCRAM-SHA-512.
    pub sha512: Option<ScramKeys>,
}

impl Credentials {
    /// Derives all three from a prepared password. Slow by design (three PBKDF2 runs): call it off the I/O threads.
    /// `salts` are three independent random values, for SHA-1, SHA-256 and SHA-512 in this order.
    pub fn derive(password: &Password, salts: [[u8; 16]; 3], iterations: u32) -> Credentials {
        let [sha1, sha256, sha512] = salts;
        let keys = |hash: Hash, salt: [u8; 16]| {
            let salted_password = hash.salted_password(password.expose().as_bytes(), &salt, iterations);
            Some(hash.server_side_keys(&salted_password, salt.to_vec(), iterations.max(1)))
        };
        Credentials {
            sha1: keys(Hash::Sha1, sha1),
            sha256: keys(Hash::Sha256, sha256),
            sha512: keys(Hash::Sha512, sha512),
        }
    }
    /// The keys for a hash.
    pub fn keys(&self, hash: Hash) -> Option<&ScramKeys> {
        match hash {
            Hash::Sha1 => self.sha1.as_ref(),
            Hash::Sha256 => self.sha256.as_ref(),
            Hash::Sha512 => self.sha512.as_ref(),
        }
    }
    /// Replaces the keys for a hash.
    pub fn set_keys(&mut self, hash: Hash, keys: ScramKeys) {
        match hash {
            Hash::Sha1 => self.sha1 = Some(keys),
            Hash::Sha256 => self.sha256 = Some(keys),
            Hash::Sha512 => self.sha512 = Some(keys),
        }
    }
    /// The keys for a hash, unless they cannot be keys of it.
    pub(crate) fn usable_keys(&self, hash: Hash) -> Option<&ScramKeys> {
        self.keys(hash).filter(|keys| keys.are_plausible(hash))
    }
    /// The strongest hash there are usable keys for.
    pub(crate) fn strongest(&self) -> Option<(Hash, &ScramKeys)> {
        Hash::STRONGEST_FIRST.into_iter().find_map(|hash| Some((hash, self.usable_keys(hash)?)))
    }
    /// Whether the password is the right one, in constant time with respect to the keys. Slow (one PBKDF2 run): call it
    /// off the I/O threads. Uses the strongest hash there is; without any keys the answer is no, at once.
    pub fn verify(&self, password: &Password) -> bool {
        let Some((hash, keys)) = self.strongest() else {
            return false;
        };
        let salted_password = hash.salted_password(password.expose().as_bytes(), &keys.salt, keys.iterations);
        let derived = hash.server_side_keys(&salted_password, Vec::new(), keys.iterations);
        let matches: Choice = derived.stored_key.ct_eq(&keys.stored_key) & derived.server_key.ct_eq(&keys.server_key);
        matches.into()
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(..)")
    }
}
impl std::fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ScramKeys(..)")
    }
}

impl Drop for ScramKeys {
    fn drop(&mut self) {
        self.salt.zeroize();
        self.stored_key.zeroize();
        self.server_key.zeroize();
    }
}

/// A secret of this server from which the salts of accounts that do not exist are made, so that they are stable and an
/// unknown account looks like a known one.
///
/// It has to outlive restarts (a salt that changes with one gives the decoy away) and be different on every server.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct DecoySecret(pub [u8; 32]);

impl DecoySecret {
    /// The secret of one domain of this server: `user` of two domains has two salts where the accounts exist, and so
    /// must have two where they do not. `domain` is the prepared domainpart.
    pub fn for_domain(&self, domain: &str) -> DecoySecret {
        let mut secret = DecoySecret([0; 32]);
        let mut derived = self.derive("domain", domain, Hash::Sha256);
        secret.0.iter_mut().zip(&derived).for_each(|(to, from)| *to = *from);
        derived.zeroize();
        secret
    }

    /// Credentials that no password matches, the same ones for the same name each time.
    ///
    /// Spellings that address one account (`Juliet`, `juliet`) have one decoy, else trying two of them would tell that
    /// there is none.
    pub fn credentials(&self, username: &str) -> Credentials {
        let name = account_name(username);
        let keys = |hash: Hash| {
            let mut salt = self.derive("salt", &name, hash);
            salt.truncate(SALT_LENGTH);
            Some(ScramKeys {
                salt,
                iterations: DEFAULT_ITERATIONS,
                // Keys of which nobody knows a preimage.
                stored_key: self.derive("stored key", &name, hash),
                server_key: self.derive("server key", &name, hash),
            })
        };
        Credentials { sha1: keys(Hash::Sha1), sha256: keys(Hash::Sha256), sha512: keys(Hash::Sha512) }
    }

    fn derive(&self, purpose: &str, name: &str, hash: Hash) -> Vec<u8> {
        let label = match hash {
            Hash::Sha1 => "SHA-1",
            Hash::Sha256 => "SHA-256",
            Hash::Sha512 => "SHA-512",
        };
        // NUL parts the pieces: no purpose or label has one.
        hash.hmac(&self.0, &[b"decoy ", purpose.as_bytes(), b"\0", label.as_bytes(), b"\0", name.as_bytes()])
    }
}

impl std::fmt::Debug for DecoySecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DecoySecret(..)")
    }
}

/// One form for all spellings of a localpart (RFC 7622 §3.3, or nodeprep where only RFC 6122 takes it). Names that
/// neither takes belong to no account, so their form matters to nobody.
fn account_name(username: &str) -> String {
    use precis_profiles::UsernameCaseMapped;
    use precis_profiles::precis_core::profile::PrecisFastInvocation as _;
    if username.is_ascii() {
        return username.to_ascii_lowercase();
    }
    UsernameCaseMapped::enforce(username)
        .map(|name| name.into_owned())
        .or_else(|_| stringprep::nodeprep(username).map(|name| name.into_owned()))
        .unwrap_or_else(|_| username.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::work;
    use crate::prepare_password;

    fn password(text: &str) -> Password {
        prepare_password(text).unwrap()
    }

    fn credentials(text: &str) -> Credentials {
        Credentials::derive(&password(text), [[1; 16], [2; 16], [3; 16]], 2)
    }

    #[test]
    fn a_password_verifies_against_each_hash_alone() {
        let full = credentials("pencil");
        let alone = [
            Credentials { sha1: full.sha1.clone(), ..Credentials::default() },
            Credentials { sha256: full.sha256.clone(), ..Credentials::default() },
            Credentials { sha512: full.sha512.clone(), ..Credentials::default() },
            full,
        ];
        for credentials in alone {
            assert!(credentials.verify(&password("pencil")));
            assert!(!credentials.verify(&password("pencil ")));
        }
    }

    #[test]
    fn each_hash_has_the_salt_given_for_it() {
        let credentials = credentials("pencil");
        for (hash, byte) in [(Hash::Sha1, 1), (Hash::Sha256, 2), (Hash::Sha512, 3)] {
            let keys = credentials.keys(hash).unwrap();
            assert_eq!(keys.salt, [byte; 16]);
            assert_eq!(keys.stored_key.len(), hash.length());
            assert_ne!(keys.stored_key, keys.server_key);
        }
    }

    #[test]
    fn the_strongest_hash_is_checked_once() {
        let mut credentials = credentials("pencil");
        work::take();
        credentials.verify(&password("pencil"));
        assert_eq!(work::take(), [(Hash::Sha512, 2)]);
        credentials.sha512 = None;
        credentials.verify(&password("pencil"));
        assert_eq!(work::take(), [(Hash::Sha256, 2)]);
    }

    #[test]
    fn damaged_keys_let_nobody_in() {
        let whole = credentials("pencil");
        let damages: [fn(&mut ScramKeys); 5] = [
            |keys| keys.stored_key.clear(),
            |keys| keys.server_key.clear(),
            |keys| keys.salt.clear(),
            |keys| keys.iterations = 0,
            |keys| keys.server_key[0] ^= 1,
        ];
        for damage in damages {
            let mut credentials = Credentials { sha512: whole.sha512.clone(), ..Credentials::default() };
            damage(credentials.sha512.as_mut().unwrap());
            assert!(!credentials.verify(&password("pencil")));
        }
        assert!(!Credentials::default().verify(&password("pencil")));
    }

    #[test]
    fn abuse_55_decoys_are_stable_and_have_the_shape_of_real_credentials() {
        let secret = DecoySecret([7; 32]);
        let real = Credentials::derive(&password("pencil"), [[1; 16]; 3], DEFAULT_ITERATIONS);
        let decoy = secret.credentials("nobody");
        assert!(decoy == secret.credentials("nobody"));
        assert!(decoy != secret.credentials("nobody2"));
        assert!(decoy != DecoySecret([8; 32]).credentials("nobody"));
        for hash in Hash::STRONGEST_FIRST {
            let (real, decoy) = (real.keys(hash).unwrap(), decoy.keys(hash).unwrap());
            assert_eq!(real.salt.len(), decoy.salt.len());
            assert_eq!(real.iterations, decoy.iterations);
            assert_eq!(real.stored_key.len(), decoy.stored_key.len());
            assert_eq!(real.server_key.len(), decoy.server_key.len());
        }
        assert_ne!(decoy.keys(Hash::Sha1).unwrap().salt, decoy.keys(Hash::Sha256).unwrap().salt);
    }

    #[test]
    fn abuse_55_spellings_of_one_name_have_one_decoy() {
        let secret = DecoySecret([7; 32]);
        for (one, other) in [("juliet", "Juliet"), ("jos\u{e9}", "jose\u{301}"), ("\u{3c0}", "\u{3a0}")] {
            assert!(secret.credentials(one) == secret.credentials(other), "{one} {other}");
        }
        assert!(secret.credentials("juliet") != secret.credentials("julia"));
    }

    #[test]
    fn abuse_55_one_name_in_two_domains_has_two_decoys() {
        let secret = DecoySecret([7; 32]);
        let (one, other) = (secret.for_domain("a.example"), secret.for_domain("b.example"));
        assert!(one.credentials("juliet") != other.credentials("juliet"));
        assert!(one.credentials("juliet") == secret.for_domain("a.example").credentials("juliet"));
    }

    #[test]
    fn abuse_55_a_decoy_costs_the_check_of_a_password_as_much_as_an_account_does() {
        let real = Credentials::derive(&password("pencil"), [[1; 16]; 3], DEFAULT_ITERATIONS);
        work::take();
        assert!(real.verify(&password("pencil")));
        let known = work::take();
        assert!(!DecoySecret([7; 32]).credentials("nobody").verify(&password("pencil")));
        assert_eq!(known, work::take());
        assert_eq!(known.len(), 1);
    }

    #[test]
    fn abuse_158_nothing_secret_is_printed() {
        let credentials = credentials("pencil");
        let secret = DecoySecret([7; 32]);
        let printed = format!("{credentials:?} {:?} {secret:?}", credentials.sha1);
        assert_eq!(printed, "Credentials(..) Some(ScramKeys(..)) DecoySecret(..)");
    }
}
