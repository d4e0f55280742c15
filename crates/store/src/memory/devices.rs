//! Devices and their tokens.

use super::MemoryStore;
use crate::{AccountId, Device, Devices, Error, Pending};
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

    fn put_device(&self, account: AccountId, device: Device, most: usize) -> Pending<()> {
        self.write(|state| {
            let devices = &mut state.kept(account)?.devices;
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

    fn use_token(&self, account: AccountId, device: &str, seed: [u8; 16], count: u64) -> Pending<bool> {
        self.write(|state| {
            let devices = &mut state.kept(account)?.devices;
            let tokens = devices.iter_mut().find(|other| other.id == device).map(|device| &mut device.tokens);
            let tokens = tokens.ok_or(Error::NotFound)?;
            let token = tokens.iter_mut().find(|token| token.seed == seed).ok_or(Error::NotFound)?;
            if count <= token.count && (count, token.count) != (0, 0) {
                return Ok(false);
            }
            token.count = count;
            let issued = token.issued;
            tokens.retain(|token| token.seed == seed || token.issued >= issued);
            Ok(true)
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

    fn remove_tokens(&self, account: AccountId) -> Pending<()> {
        self.write(|state| {
            if let Some(kept) = state.accounts.get_mut(&account) {
                kept.devices.iter_mut().for_each(|device| device.tokens.clear());
            }
            Ok(())
        })
    }
}
