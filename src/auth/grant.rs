//! What far sides entrusted to us: passwords and tokens of providers, sealed at rest.
//!
//! Owns: `Secret`, the key ring, sealing and opening, the key file.
//! Does not own: which secrets exist (`bridge`), who may sign in here (`auth` beside this file).
//!
//! A sealed record is `1 ‖ key id (8) ‖ nonce (24) ‖ XChaCha20-Poly1305`. The record's own key is the associated data,
//! so that a sealed secret cannot be moved to another record and be opened there.

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::RwLock;

use bytes::Bytes;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use http::HeaderValue;
use sha2::Digest;
use zeroize::{Zeroize, Zeroizing};

use crate::store::{Commit, CommitError, Expect, Key, Op, Origin, Store, Table, Timestamp};

/// The first byte of a sealed record.
const FORMAT: u8 = 1;
/// The tables whose records are sealed.
const SEALED: [Table; 2] = [Table::Secret, Table::Receipt];
const ID: usize = 8;
const NONCE: usize = 24;

/// Text that must not be seen: no `Display`, no `Serialize`, `Debug` prints `…`, memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// Returns the text, for the one place that has to send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns the value of an `Authorization` header that presents it as a token (RFC 6750 §2.1). Nothing: it holds
    /// what no header can.
    pub fn bearer(&self) -> Option<HeaderValue> {
        let text = Zeroizing::new(format!("Bearer {}", self.0));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Why something could not be sealed, opened or re-sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The record names a key that is not in the key file.
    #[error("the secret was sealed with the key {0}, which is not in the key file: restore that key file")]
    UnknownKey(String),
    /// The record was changed, moved or cut.
    #[error("the sealed secret is damaged or does not belong to this record")]
    Damaged,
    /// The key file cannot be read or written, or does not hold keys.
    #[error("the key file {path}: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// `ENCRYPTION_KEY` is not 64 hexadecimal digits.
    #[error("the encryption key must be 64 hexadecimal digits")]
    BadKey,
    /// The key comes from the environment: change it there, keeping the old one until all is re-sealed.
    #[error("the key is given by ENCRYPTION_KEY; a key file is needed to rotate keys")]
    FixedKey,
    /// The system gave no random numbers.
    #[error("the system gave no random numbers")]
    NoRandom,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] crate::store::Fault),
}

struct SealingKey {
    id: [u8; ID],
    bytes: Zeroizing<[u8; 32]>,
}

impl SealingKey {
    fn new(bytes: [u8; 32]) -> SealingKey {
        let digest = sha2::Sha256::digest([b"kalends key id".as_slice(), &bytes].concat());
        let mut id = [0; ID];
        for (to, from) in id.iter_mut().zip(digest.iter()) {
            *to = *from;
        }
        SealingKey { id, bytes: Zeroizing::new(bytes) }
    }

    fn random() -> Result<SealingKey, SealError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| SealError::NoRandom)?;
        Ok(SealingKey::new(bytes))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&(*self.bytes).into())
    }
}

/// The keys that seal secrets; the first seals, all of them open.
pub struct Keyring {
    keys: RwLock<Vec<SealingKey>>,
    file: Option<PathBuf>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Uses one key given as 64 hexadecimal digits (`ENCRYPTION_KEY`).
    ///
    /// # Errors
    /// When it is anything else.
    pub fn fixed(hex: &Secret) -> Result<Keyring, SealError> {
        let bytes = unhex(hex.reveal().trim()).ok_or(SealError::BadKey)?;
        Ok(Keyring { keys: RwLock::new(vec![SealingKey::new(bytes)]), file: None })
    }

    /// Reads the key file; makes it, readable by its owner only, when it does not exist yet.
    ///
    /// # Errors
    /// When the file cannot be read or written, holds anything but keys, or may be read by others.
    pub fn open(path: &Path) -> Result<Keyring, SealError> {
        let failed = |reason: String| SealError::File { path: path.to_owned(), reason };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => Zeroizing::new(text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let key = SealingKey::random()?;
                write_keys(path, std::slice::from_ref(&key)).map_err(|e| failed(e.to_string()))?;
                return Ok(Keyring { keys: RwLock::new(vec![key]), file: Some(path.to_owned()) });
            }
            Err(e) => return Err(failed(e.to_string())),
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(path).map_err(|e| failed(e.to_string()))?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(failed(format!("may be read by others (mode {:o}): chmod 600 it", mode & 0o777)));
            }
        }
        let mut keys = Vec::new();
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let bytes =
                unhex(line).ok_or_else(|| failed("holds a line that is not 64 hexadecimal digits".into()))?;
            keys.push(SealingKey::new(bytes));
        }
        if keys.is_empty() {
            return Err(failed("holds no key".into()));
        }
        Ok(Keyring { keys: RwLock::new(keys), file: Some(path.to_owned()) })
    }

    /// Seals a secret for the record of that key.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn seal(&self, record: &Key, secret: &Secret) -> Result<Bytes, SealError> {
        let keys = self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = keys.first().ok_or(SealError::BadKey)?;
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| SealError::NoRandom)?;
        let payload = Payload { msg: secret.reveal().as_bytes(), aad: &associated(record) };
        let sealed = key.cipher().encrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::Damaged)?;
        Ok([[FORMAT].as_slice(), &key.id, &nonce, &sealed].concat().into())
    }

    /// Opens what was sealed for the record of that key.
    ///
    /// # Errors
    /// When the key is unknown, or the bytes were changed or belong to another record.
    pub fn unseal(&self, record: &Key, sealed: &[u8]) -> Result<Secret, SealError> {
        let (id, nonce, rest) = parts(sealed)?;
        let keys = self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = keys.iter().find(|k| k.id == id).ok_or_else(|| SealError::UnknownKey(hex(&id)))?;
        let payload = Payload { msg: rest, aad: &associated(record) };
        let open = key.cipher().decrypt(&XNonce::from(nonce), payload).map_err(|_| SealError::Damaged)?;
        String::from_utf8(open).map(Secret::new).map_err(|_| SealError::Damaged)
    }

    /// Makes a new key, seals every secret of the store with it, and forgets the older keys. Returns how many were
    /// re-sealed. Safe to interrupt: until the end, the key file holds the old keys too.
    ///
    /// # Errors
    /// When the key is fixed, the file or the store cannot be written, or a secret cannot be opened.
    pub async fn rotate(&self, store: &dyn Store, at: Timestamp) -> Result<usize, SealError> {
        let path = self.file.clone().ok_or(SealError::FixedKey)?;
        let failed = |e: std::io::Error| SealError::File { path: path.clone(), reason: e.to_string() };
        {
            let mut keys = self.keys.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            keys.insert(0, SealingKey::random()?);
            if let Err(e) = write_keys(&path, &keys) {
                keys.remove(0);
                return Err(failed(e));
            }
        }
        let mut count = 0;
        for table in SEALED {
            let mut after: Option<String> = None;
            loop {
                let page = store.records(table, "", after.as_deref(), 256).await?;
                let Some((last, _)) = page.last() else { break };
                after = Some(last.path.clone());
                for (key, _) in page {
                    count += usize::from(self.reseal(store, &key, at).await?);
                }
            }
        }
        let mut keys = self.keys.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        keys.truncate(1);
        write_keys(&path, &keys).map_err(failed)?;
        Ok(count)
    }

    /// Re-seals one record; a writer that comes between is met by trying again from its bytes.
    async fn reseal(&self, store: &dyn Store, key: &Key, at: Timestamp) -> Result<bool, SealError> {
        loop {
            let Some(old) = store.record(key).await? else { return Ok(false) };
            let new = self.seal(key, &self.unseal(key, &old)?)?;
            let commit = Commit::new(Origin::System, at)
                .expect(Expect::Record(key.clone(), Some(old)))
                .op(Op::PutRecord(key.clone(), new));
            match store.commit(commit).await {
                Ok(_) => return Ok(true),
                Err(CommitError::Rejected(_)) => {}
                Err(CommitError::Fault(fault)) => return Err(fault.into()),
            }
        }
    }
}

/// The associated data of a record: its table's number and its path.
fn associated(record: &Key) -> Vec<u8> {
    [[record.table as u8].as_slice(), record.path.as_bytes()].concat()
}

/// Key id, nonce and the rest.
type Parts<'a> = ([u8; ID], [u8; NONCE], &'a [u8]);

fn parts(sealed: &[u8]) -> Result<Parts<'_>, SealError> {
    let (&format, rest) = sealed.split_first().ok_or(SealError::Damaged)?;
    let (id, rest) = rest.split_first_chunk::<ID>().ok_or(SealError::Damaged)?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE>().ok_or(SealError::Damaged)?;
    if format != FORMAT {
        return Err(SealError::Damaged);
    }
    Ok((*id, *nonce, rest))
}

/// Replaces the key file as a whole: a crash leaves the old one or the new one.
fn write_keys(path: &Path, keys: &[SealingKey]) -> std::io::Result<()> {
    let mut text = Zeroizing::new(String::from(
        "# Seals the passwords and tokens of provider connections. Keep it safe and apart from the backups.\n",
    ));
    for key in keys {
        text.push_str(&hex(&*key.bytes));
        text.push('\n');
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let temporary = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    std::fs::File::open(folder)?.sync_all()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).filter_map(|n| char::from_digit(u32::from(n), 16)).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let bytes: Vec<u8> = digits
        .chunks_exact(2)
        .filter_map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        })
        .collect();
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn key(path: &str) -> Key {
        Key::new(Table::Secret, path)
    }

    // S2-060, E9, S3-031, S3-032, S3-141: sealed at rest, key id in every record
    #[test]
    fn what_is_sealed_opens_only_as_the_same_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/secrets.key");
        let ring = Keyring::open(&path).unwrap();
        let sealed = ring.seal(&key("c1"), &Secret::new("geheim")).unwrap();
        assert!(!sealed.windows(6).any(|w| w == b"geheim"));
        assert_eq!(ring.unseal(&key("c1"), &sealed).unwrap().reveal(), "geheim");
        assert!(matches!(ring.unseal(&key("c2"), &sealed), Err(SealError::Damaged)));
        for cut in [0, 1, 8, 20, 33, sealed.len() - 1] {
            assert!(ring.unseal(&key("c1"), &sealed[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..sealed.len() {
            let mut bent = sealed.to_vec();
            bent[at] ^= 1;
            assert!(ring.unseal(&key("c1"), &bent).is_err(), "bit changed at {at}");
        }
        // The file survives a restart and another ring cannot open the record.
        let again = Keyring::open(&path).unwrap();
        assert_eq!(again.unseal(&key("c1"), &sealed).unwrap().reveal(), "geheim");
        let other = Keyring::open(&folder.path().join("other.key")).unwrap();
        assert!(matches!(other.unseal(&key("c1"), &sealed), Err(SealError::UnknownKey(_))));
    }

    #[cfg(unix)]
    #[test]
    fn the_key_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secrets.key");
        Keyring::open(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = Keyring::open(&path).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }

    // S3-051
    #[test]
    fn a_fixed_key_is_sixty_four_hexadecimal_digits() {
        let good = Secret::new("00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF");
        let ring = Keyring::fixed(&good).unwrap();
        let sealed = ring.seal(&key("c"), &Secret::new("x")).unwrap();
        assert_eq!(Keyring::fixed(&good).unwrap().unseal(&key("c"), &sealed).unwrap().reveal(), "x");
        for bad in ["", "00", &"g".repeat(64), &"0".repeat(63), &"0".repeat(66), "ä"] {
            assert!(matches!(Keyring::fixed(&Secret::new(bad)), Err(SealError::BadKey)), "{bad}");
        }
    }

    // S1-079: a secret does not reach a log by accident
    #[test]
    fn a_secret_prints_as_an_ellipsis() {
        #[derive(Debug)]
        #[allow(dead_code, reason = "only printed")]
        struct Holder {
            password: Secret,
        }
        let shown =
            format!("{:?} {:#?}", Holder { password: Secret::new("geheim") }, Some(Secret::new("geheim")));
        assert!(!shown.contains("geheim"), "{shown}");
    }

    // E9: rotation re-seals everything and forgets the old key
    #[tokio::test]
    async fn rotating_seals_every_secret_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let ring = Keyring::open(&path).unwrap();
        let store = crate::store::Sled::temporary().unwrap();
        let mut before = Vec::new();
        let mut commit = Commit::new(Origin::System, Timestamp(0));
        for n in 0..300 {
            let key = key(&format!("c{n:03}"));
            let sealed = ring.seal(&key, &Secret::new(format!("secret {n}"))).unwrap();
            before.push((key.clone(), sealed.clone()));
            commit = commit.op(Op::PutRecord(key, sealed));
        }
        store.commit(commit).await.unwrap();
        let old = Keyring::open(&path).unwrap();
        assert_eq!(ring.rotate(&store, Timestamp(1)).await.unwrap(), 300);
        // What is on disk opens with the new key file alone, and no longer with the old key.
        let new = Keyring::open(&path).unwrap();
        for (n, (key, was)) in before.iter().enumerate() {
            let now = store.record(key).await.unwrap().unwrap();
            assert_eq!(new.unseal(key, &now).unwrap().reveal(), format!("secret {n}"));
            assert!(matches!(old.unseal(key, &now), Err(SealError::UnknownKey(_))));
            assert!(matches!(new.unseal(key, was), Err(SealError::UnknownKey(_))));
        }
        let fixed = Keyring::fixed(&Secret::new("0".repeat(64))).unwrap();
        assert!(matches!(fixed.rotate(&store, Timestamp(2)).await, Err(SealError::FixedKey)));
    }
}
