//! The functions of RFC 5802 §2.2 (`H`, `HMAC`, `Hi`) for each hash of the SCRAM family.
//!
//! Everything that costs PBKDF2 goes through [`Hash::salted_password`], so that the cost of a path can be counted.

use hmac::digest::Digest as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use zeroize::Zeroizing;

use crate::{Hash, ScramKeys};

impl Hash {
    /// All, strongest first.
    pub(crate) const STRONGEST_FIRST: [Hash; 3] = [Hash::Sha512, Hash::Sha256, Hash::Sha1];

    /// Bytes of its output.
    pub(crate) fn length(self) -> usize {
        match self {
            Hash::Sha1 => 20,
            Hash::Sha256 => 32,
            Hash::Sha512 => 64,
        }
    }

    /// `H(str)`.
    pub(crate) fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha1 => Sha1::digest(bytes).to_vec(),
            Hash::Sha256 => Sha256::digest(bytes).to_vec(),
            Hash::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    /// `HMAC(key, str)`, with the string in pieces.
    pub(crate) fn hmac(self, key: &[u8], pieces: &[&[u8]]) -> Vec<u8> {
        #[cfg(test)]
        work::count_hmac(pieces.iter().map(|piece| piece.len()).sum());
        macro_rules! keyed {
            ($hash:ty) => {{
                let mut mac = Hmac::<$hash>::new_from_slice(key).expect("a key of any length");
                for piece in pieces {
                    mac.update(piece);
                }
                mac.finalize().into_bytes().to_vec()
            }};
        }
        match self {
            Hash::Sha1 => keyed!(Sha1),
            Hash::Sha256 => keyed!(Sha256),
            Hash::Sha512 => keyed!(Sha512),
        }
    }

    /// `SaltedPassword := Hi(Normalize(password), salt, i)`: the slow function. Zero iterations count as one.
    #[expect(clippy::expect_used, reason = "RFC 2104 §2: HMAC takes keys of any length")]
    pub(crate) fn salted_password(self, password: &[u8], salt: &[u8], iterations: u32) -> Zeroizing<Vec<u8>> {
        #[cfg(test)]
        work::count(self, iterations);
        let mut output = Zeroizing::new(vec![0; self.length()]);
        let rounds = iterations.max(1);
        match self {
            Hash::Sha1 => pbkdf2::pbkdf2::<Hmac<Sha1>>(password, salt, rounds, &mut output),
            Hash::Sha256 => pbkdf2::pbkdf2::<Hmac<Sha256>>(password, salt, rounds, &mut output),
            Hash::Sha512 => pbkdf2::pbkdf2::<Hmac<Sha512>>(password, salt, rounds, &mut output),
        }
        .expect("a key of any length");
        output
    }

    /// What the server keeps (RFC 5802 §3): StoredKey and ServerKey of a salted password.
    pub(crate) fn server_side_keys(self, salted_password: &[u8], salt: Vec<u8>, iterations: u32) -> ScramKeys {
        let client_key = Zeroizing::new(self.hmac(salted_password, &[b"Client Key"]));
        ScramKeys {
            salt,
            iterations,
            stored_key: self.digest(&client_key),
            server_key: self.hmac(salted_password, &[b"Server Key"]),
        }
    }
}

/// The PBKDF2 runs and HMACs of the current thread, for tests that compare the cost of two paths without a clock.
#[cfg(test)]
pub(crate) mod work {
    use std::cell::RefCell;

    use crate::Hash;

    thread_local! {
        static RUNS: RefCell<Vec<(Hash, u32)>> = const { RefCell::new(Vec::new()) };
        static HMACS: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
    }

    pub(crate) fn count(hash: Hash, iterations: u32) {
        RUNS.with_borrow_mut(|runs| runs.push((hash, iterations)));
    }

    /// The runs since the last call.
    pub(crate) fn take() -> Vec<(Hash, u32)> {
        RUNS.take()
    }

    pub(crate) fn count_hmac(bytes: usize) {
        HMACS.with_borrow_mut(|hmacs| hmacs.push(bytes));
    }

    /// The lengths of what was hashed with a key since the last call.
    pub(crate) fn take_hmacs() -> Vec<usize> {
        HMACS.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn lengths_are_those_of_the_outputs() {
        for hash in Hash::STRONGEST_FIRST {
            assert_eq!(hash.digest(b"").len(), hash.length());
            assert_eq!(hash.hmac(b"", &[]).len(), hash.length());
            assert_eq!(hash.salted_password(b"", b"", 1).len(), hash.length());
        }
    }

    #[test]
    fn rfc6070_pbkdf2_hmac_sha1() {
        let table = [
            (1, "0c60c80f961f0e71f3a9b524af6012062fe037a6"),
            (2, "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957"),
            (4096, "4b007901b765489abead49d926f721d065a429c1"),
        ];
        for (iterations, expected) in table {
            assert_eq!(hex(&Hash::Sha1.salted_password(b"password", b"salt", iterations)), expected);
        }
    }

    #[test]
    fn pieces_of_a_string_are_the_string() {
        for hash in Hash::STRONGEST_FIRST {
            assert_eq!(hash.hmac(b"key", &[b"one", b"", b"two"]), hash.hmac(b"key", &[b"onetwo"]));
        }
    }
}
