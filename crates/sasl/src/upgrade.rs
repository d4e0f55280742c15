//! Upgrades of what is stored of a password (XEP-0480): a client that knows the password brings the SaltedPassword for a
//! hash that the account has no keys for.
//!
//! What it brings cannot be held against the keys there are, since none can be derived from another. It is believed
//! because the client has just proved the password, and only then: nobody may be let in by a token and then bring one.
//!
//! Deliberately absent: a task for SCRAM-SHA-1, which is what one upgrades from; tasks of other mechanisms.

use crate::{Credentials, DEFAULT_ITERATIONS, Failure, Hash, ScramKeys};

/// An upgrade task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpgradeTask {
    /// `UPGR-SCRAM-SHA-512`.
    ScramSha512,
    /// `UPGR-SCRAM-SHA-256`.
    ScramSha256,
}

impl UpgradeTask {
    /// All of them, strongest first.
    pub const ALL: [UpgradeTask; 2] = [UpgradeTask::ScramSha512, UpgradeTask::ScramSha256];

    /// The name (XEP-0480 §2.1: the mechanism's, without `-PLUS`).
    pub fn name(self) -> &'static str {
        match self {
            UpgradeTask::ScramSha512 => "UPGR-SCRAM-SHA-512",
            UpgradeTask::ScramSha256 => "UPGR-SCRAM-SHA-256",
        }
    }

    /// By name, which is matched exactly.
    pub fn from_name(name: &str) -> Option<UpgradeTask> {
        UpgradeTask::ALL.into_iter().find(|task| task.name() == name)
    }

    /// The hash it is about.
    pub fn hash(self) -> Hash {
        match self {
            UpgradeTask::ScramSha512 => Hash::Sha512,
            UpgradeTask::ScramSha256 => Hash::Sha256,
        }
    }

    /// What would do these credentials good, strongest first: hashes without usable keys, and those with fewer iterations
    /// than a password that is set today (XEP-0438 §6.3).
    pub fn wanted(credentials: &Credentials) -> Vec<UpgradeTask> {
        let lacking = |task: &UpgradeTask| {
            credentials.usable_keys(task.hash()).is_none_or(|keys| keys.iterations < DEFAULT_ITERATIONS)
        };
        UpgradeTask::ALL.into_iter().filter(lacking).collect()
    }

    /// The keys to store, from what the client sent (XEP-0480 §3, decoded) for the salt and the iterations it was told.
    /// `Err(MalformedRequest)` when it cannot be a SaltedPassword of this hash.
    pub fn keys(self, salted_password: &[u8], salt: [u8; 16], iterations: u32) -> Result<ScramKeys, Failure> {
        let hash = self.hash();
        if salted_password.len() != hash.length() || iterations == 0 {
            return Err(Failure::MalformedRequest);
        }
        Ok(hash.server_side_keys(salted_password, salt.to_vec(), iterations))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prepare_password;

    #[test]
    fn xep0480_names_and_tasks_agree() {
        for task in UpgradeTask::ALL {
            assert_eq!(UpgradeTask::from_name(task.name()), Some(task));
        }
        for name in ["", "SCRAM-SHA-256", "UPGR-SCRAM-SHA-1", "UPGR-SCRAM-SHA-256-PLUS", "upgr-scram-sha-256"] {
            assert_eq!(UpgradeTask::from_name(name), None, "{name}");
        }
    }

    #[test]
    fn xep0480_3_what_a_client_brings_is_good_for_its_password_alone() {
        let password = prepare_password("pencil").unwrap();
        for task in UpgradeTask::ALL {
            let salted_password = task.hash().salted_password(password.expose().as_bytes(), &[4; 16], 4096);
            let keys = task.keys(&salted_password, [4; 16], 4096).unwrap();
            let mut credentials = Credentials::default();
            credentials.set_keys(task.hash(), keys);
            assert!(credentials.verify(&password));
            assert!(!credentials.verify(&prepare_password("pen").unwrap()));
        }
    }

    #[test]
    fn xep0480_3_another_length_is_no_salted_password() {
        for (task, lengths) in
            [(UpgradeTask::ScramSha256, [0, 20, 31, 33, 64]), (UpgradeTask::ScramSha512, [0, 32, 63, 65, 128])]
        {
            for length in lengths {
                let keys = task.keys(&vec![1; length], [4; 16], 4096);
                assert_eq!(keys.map(|_| ()), Err(Failure::MalformedRequest), "{task:?} {length}");
            }
            assert!(task.keys(&vec![1; task.hash().length()], [4; 16], 0).is_err());
        }
    }

    #[test]
    fn xep0480_2_1_hashes_that_lack_keys_are_wanted() {
        let derive = |iterations| {
            let mut credentials = Credentials::derive(&prepare_password("pencil").unwrap(), [[1; 16]; 3], 2);
            for keys in [&mut credentials.sha1, &mut credentials.sha256, &mut credentials.sha512].into_iter().flatten()
            {
                keys.iterations = iterations;
            }
            credentials
        };
        let full = derive(DEFAULT_ITERATIONS);
        let mut damaged = full.clone();
        damaged.sha256.as_mut().unwrap().stored_key.pop();
        let table = [
            (full.clone(), vec![]),
            (Credentials { sha256: None, ..full.clone() }, vec![UpgradeTask::ScramSha256]),
            (Credentials { sha512: None, ..full.clone() }, vec![UpgradeTask::ScramSha512]),
            (Credentials { sha256: None, sha512: None, ..full.clone() }, UpgradeTask::ALL.to_vec()),
            (Credentials { sha1: None, ..full }, vec![]),
            (damaged, vec![UpgradeTask::ScramSha256]),
            (derive(4096), UpgradeTask::ALL.to_vec()),
        ];
        for (credentials, expected) in table {
            assert_eq!(UpgradeTask::wanted(&credentials), expected);
        }
    }
}
