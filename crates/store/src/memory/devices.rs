//! Devices and their tokens.

use super::MemoryStore;
use crate::{AccountId, Device, Devices, Error, Pending, Proofs, StoredToken};
use std::cmp::Reverse;

impl Devices for MemoryStore {
    fn devices(&self, account: AccountId) -> Pending<Vec<Device>> {
        self.read(|state| {
            let mut devices = state.accounts.get(&account).map(|kept| kept.devices.clone()).unwrap_or_default();
            devices.sort_by(|one, other| (Reverse(one.last_seen), &one.id).cmp(&(Reverse(other.last_seen), &other.id)));
            devices
        })
    }

    fn device(&self, account: AccountId, id: &str) -> Pending<Option<Device>> {
        self.read(|state| state.accounts.get(&account)?.devices.iter().find(|device| device.id == id).cloned())
    }

    fn put_device(&self, account: AccountId, mut device: Device, most: usize) -> Pending<()> {
        self.write(|state| {
            let devices = &mut state.kept(account)?.devices;
            device.tokens.clear();
            if let Some(known) = devices.iter_mut().find(|other| other.id == device.id) {
                device.first_seen = known.first_seen;
                device.tokens = std::mem::take(&mut known.tokens);
            }
            devices.retain(|other| other.id != device.id);
            while !devices.is_empty() && devices.len() >= most {
                let oldest = devices.iter().enumerate().min_by_key(|(_, device)| (device.last_seen, &device.id));
                let Some((oldest, _)) = oldest else { break };
                devices.remove(oldest);
            }
            devices.push(device);
            Ok(())
        })
    }

    fn put_token(&self, account: AccountId, device: &str, token: StoredToken, beside: Option<[u8; 16]>) -> Pending<()> {
        self.write(|state| {
            let devices = &mut state.kept(account)?.devices;
            let device = devices.iter_mut().find(|other| other.id == device).ok_or(Error::NotFound)?;
            device.tokens.retain(|other| Some(other.seed) == beside);
            // Later than the one beside it, even within one second: their order says which is the newer one.
            let after = device.tokens.iter().map(|other| other.issued.saturating_add(1)).max().unwrap_or(0);
            let issued = token.issued.max(after);
            device.tokens.push(StoredToken { issued, ..token });
            Ok(())
        })
    }

    fn use_token(&self, account: AccountId, device: &str, seed: [u8; 16], count: u64, at: u64) -> Pending<Option<u64>> {
        self.write(|state| {
            let devices = &mut state.kept(account)?.devices;
            let device = devices.iter_mut().find(|other| other.id == device).ok_or(Error::NotFound)?;
            let tokens = &mut device.tokens;
            let token = tokens.iter_mut().find(|token| token.seed == seed).ok_or(Error::NotFound)?;
            if count <= token.count && (count, token.count) != (0, 0) {
                return Ok(None);
            }
            token.count = count;
            let issued = token.issued;
            tokens.retain(|token| token.seed == seed || token.issued >= issued);
            device.last_seen = at;
            Ok(Some(issued))
        })
    }

    fn remove_device(&self, account: AccountId, id: &str) -> Pending<()> {
        self.write(|state| {
            let devices = &mut state.kept(account)?.devices;
            let before = devices.len();
            devices.retain(|device| device.id != id);
            if devices.len() == before { Err(Error::NotFound) } else { Ok(()) }
        })
    }

    fn remove_tokens(&self, account: AccountId, of: Proofs<'_>) -> Pending<()> {
        self.write(|state| {
            let devices = state.accounts.get_mut(&account).map(|kept| &mut kept.devices);
            for device in devices.into_iter().flatten() {
                match of {
                    Proofs::Device(id) if id != device.id => continue,
                    Proofs::Device(_) | Proofs::Tokens => {}
                    Proofs::Password => device.mechanism = None,
                }
                device.tokens.clear();
            }
            Ok(())
        })
    }
}
