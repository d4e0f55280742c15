//! What the tokens of devices are made from (XEP-0484), in a file of its own: `data_dir/token.key`.
//!
//! It is not in the database, so that a copy of that lets nobody in. Without the file a new one is made, and devices log in
//! with their passwords once more.

use crate::output::Failure;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use stonechat_admin::ErrorCode;
use stonechat_router::Random;
use stonechat_sasl::TokenSecret;
use tracing::{info, warn};

const FILE: &str = "token.key";
/// Written first, and renamed when it is whole and on the disk.
const UNFINISHED: &str = "token.key.new";

/// Reads it, or makes it. The caller is the only process that uses `data_dir`.
pub(crate) fn load(data_dir: &Path, random: &dyn Random) -> Result<TokenSecret, Failure> {
    let path = data_dir.join(FILE);
    let unusable = |source: std::io::Error| {
        Failure::new(ErrorCode::StoreUnusable, format!("cannot use {}: {source}", path.display()))
    };
    match File::open(&path) {
        Ok(file) => read(file, &path).map_err(unusable),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut secret = TokenSecret([0; 32]);
            random.fill(&mut secret.0);
            write(data_dir, &path, &secret).map_err(unusable)?;
            info!(event = "tokens.key_made", path = %path.display(), "made a new key for the tokens of devices");
            Ok(secret)
        }
        Err(error) => Err(unusable(error)),
    }
}

fn read(mut file: File, path: &Path) -> std::io::Result<TokenSecret> {
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        warn!(event = "tokens.key_readable", path = %path.display(), "others than its owner may read the file");
    }
    let mut secret = TokenSecret([0; 32]);
    let end = file.read_exact(&mut secret.0).and_then(|()| file.read(&mut [0]))?;
    if end != 0 {
        return Err(std::io::Error::other("it does not have 32 bytes"));
    }
    Ok(secret)
}

fn write(data_dir: &Path, path: &Path, secret: &TokenSecret) -> std::io::Result<()> {
    let unfinished = data_dir.join(UNFINISHED);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(&secret.0)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    File::open(data_dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU8, Ordering};

    struct Counting(AtomicU8);

    impl Random for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0.fetch_add(1, Ordering::Relaxed));
        }
    }

    #[test]
    fn a_key_is_made_once_and_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let random = Counting(AtomicU8::new(7));
        let made = load(directory.path(), &random).unwrap();
        assert_eq!(made.0, [7; 32]);
        assert_eq!(load(directory.path(), &random).unwrap().0, made.0);
        let file = directory.path().join(FILE);
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!directory.path().join(UNFINISHED).exists());

        std::fs::remove_file(&file).unwrap();
        assert_ne!(load(directory.path(), &random).unwrap().0, made.0);
    }

    #[test]
    fn a_file_of_another_length_is_no_key() {
        let directory = tempfile::tempdir().unwrap();
        for length in [0, 31, 33] {
            std::fs::write(directory.path().join(FILE), vec![1; length]).unwrap();
            assert!(load(directory.path(), &Counting(AtomicU8::new(0))).is_err(), "{length}");
        }
    }
}
