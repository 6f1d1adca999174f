//! Remembers verified credentials, so that a client that signs every request costs one hash in five minutes.
//!
//! Owns: the keyed digests and when they stop being believed. Holds no password: the key of an entry is an HMAC under a
//! random key of this process. A change to an account is believed at once, also against a verification that is
//! still running: each entry carries the account's epoch from before its verification.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use moka::sync::Cache;
use sha2::Sha256;

use super::Caller;

/// Entries kept.
const ENTRIES: u64 = 10_000;
/// How long an entry is believed.
const BELIEVED: Duration = Duration::from_secs(5 * 60);
/// Accounts share epochs by hash; a collision costs one hash, nothing else.
const EPOCHS: usize = 1024;

/// A keyed digest of a whole `Authorization` header.
pub(super) type Digest = [u8; 32];

/// The state of an account at one moment; later changes make it differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(usize, u64);

pub(super) struct Verified {
    keyed: Hmac<Sha256>,
    entries: Cache<Digest, (Caller, Epoch)>,
    epochs: Vec<AtomicU64>,
}

impl Verified {
    pub(super) fn new() -> Result<Verified, String> {
        let mut key = [0u8; 32];
        getrandom::fill(&mut key).map_err(|error| format!("no random numbers: {error}"))?;
        Ok(Verified {
            keyed: Hmac::new_from_slice(&key).map_err(|error| error.to_string())?,
            entries: Cache::builder().max_capacity(ENTRIES).time_to_live(BELIEVED).build(),
            epochs: (0..EPOCHS).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    /// Returns the digest of the credentials as sent.
    pub(super) fn digest(&self, credentials: &[u8]) -> Digest {
        let mut keyed = self.keyed.clone();
        keyed.update(credentials);
        keyed.finalize().into_bytes().into()
    }

    /// Returns whose credentials these are, if that was verified lately and nothing changed since.
    pub(super) fn recall(&self, digest: &Digest) -> Option<Caller> {
        let (caller, epoch) = self.entries.get(digest)?;
        (self.load(epoch.0) == epoch).then_some(caller)
    }

    /// Notes the account's state; to be called before its records are read.
    pub(super) fn epoch(&self, user: &str) -> Epoch {
        // FNV-1a: even enough, and the same for every length.
        let hash = user.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        self.load(usize::try_from(hash % EPOCHS as u64).unwrap_or(0))
    }

    /// Remembers what was verified in that state.
    pub(super) fn remember(&self, digest: Digest, caller: Caller, epoch: Epoch) {
        self.entries.insert(digest, (caller, epoch));
    }

    /// Believes nothing any more that was verified for this account before now.
    pub(super) fn forget(&self, user: &str) {
        let Epoch(slot, _) = self.epoch(user);
        if let Some(epoch) = self.epochs.get(slot) {
            epoch.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Believes nothing any more.
    pub(super) fn forget_all(&self) {
        for epoch in &self.epochs {
            epoch.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn load(&self, slot: usize) -> Epoch {
        Epoch(slot, self.epochs.get(slot).map_or(0, |epoch| epoch.load(Ordering::SeqCst)))
    }
}
