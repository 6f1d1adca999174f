//! Account passwords: argon2id hashes, made and verified off the asynchronous threads.
//!
//! Owns: hashing, verifying, the fixed hash that stands in for unknown accounts, how strong is strong enough.
//! Does not own: where hashes are kept (`store`), who may try how often (`throttle`).

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

/// Memory of one hash in KiB, passes over it, lanes. Of the settings that OWASP's password storage cheat sheet calls
/// equal in strength, the one with the least memory: a small machine keeps it from the first sign-in on.
const COST: (u32, u32, u32) = (7168, 5, 1);

/// The hash of a password that nobody knows, of the same cost: it stands in for accounts that do not exist.
const STAND_IN: &str = "$argon2id$v=19$m=7168,t=5,p=1$c29tZXNhbHRzb21lc2FsdA$\
                        2Xh4mQ0m9m6sJ0n1c2Jm8Qm3bq0k5m5nJ1c2b3d4e5Y";

fn argon2() -> Result<Argon2<'static>, String> {
    let (memory, passes, lanes) = COST;
    let params = Params::new(memory, passes, lanes, None).map_err(|error| error.to_string())?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// Returns the PHC string of a password: argon2id, version 19. Takes some 20 ms of a core: call it through
/// [`super::Guard`] or off the asynchronous threads.
pub fn hash(password: &str) -> Result<String, String> {
    match argon2()?.hash_password(password.as_bytes()) {
        Ok(hash) => Ok(hash.to_string()),
        Err(error) => Err(format!("the password could not be hashed: {error}")),
    }
}

/// Verifies a password against a PHC string. An account that does not exist, or has no password, is verified against a
/// fixed hash of equal cost and refused, so that the time tells nothing.
pub(super) fn verify(password: &str, phc: Option<&str>) -> bool {
    // The cost is read from the hash, so that older hashes go on verifying.
    let hasher = Argon2::default();
    match phc.and_then(|text| PasswordHash::new(text).ok()) {
        Some(known) => hasher.verify_password(password.as_bytes(), &known).is_ok(),
        None => {
            if let Ok(stand_in) = PasswordHash::new(STAND_IN) {
                let _ = hasher.verify_password(password.as_bytes(), &stand_in);
            }
            false
        }
    }
}

/// Returns what is weak about a password, in words, or nothing.
pub fn weakness(password: &str, name: &str) -> Option<&'static str> {
    const COMMON: [&str; 16] = [
        "password",
        "passwort",
        "123456",
        "12345678",
        "123456789",
        "1234567890",
        "qwerty",
        "qwertz",
        "letmein",
        "admin",
        "secret",
        "calendar",
        "kalends",
        "welcome",
        "iloveyou",
        "changeme",
    ];
    let lower = password.to_lowercase();
    let first = lower.chars().next();
    if COMMON.contains(&lower.trim_end_matches(|c: char| c.is_ascii_digit() || c == '!'))
        || COMMON.contains(&&*lower)
    {
        Some("it is one of the passwords that everybody tries first")
    } else if !name.is_empty() && lower.contains(&name.to_lowercase()) {
        Some("it contains the login name")
    } else if password.chars().count() < 10 {
        Some("it is shorter than 10 characters")
    } else if lower.chars().all(|c| Some(c) == first) {
        Some("it is one character, repeated")
    } else {
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_password_verifies() {
        let phc = hash("Füße über alles").unwrap();
        assert!(phc.starts_with("$argon2id$v=19$m=7168,t=5,p=1$"), "{phc}");
        assert!(verify("Füße über alles", Some(&phc)));
        assert!(!verify("Fusse uber alles", Some(&phc)));
        assert!(!verify("", Some(&phc)));
        assert!(!verify("anything", Some("")));
        assert!(!verify("no account has this password", None));
    }

    #[test]
    fn the_stand_in_is_a_hash_of_the_same_cost() {
        let stand_in = PasswordHash::new(STAND_IN).unwrap();
        let ours = hash("anything").unwrap();
        assert_eq!(stand_in.params, PasswordHash::new(&ours).unwrap().params);
        assert!(stand_in.hash.is_some() && stand_in.salt.is_some());
    }

    #[test]
    fn weak_passwords_are_named() {
        for (password, weak) in [
            ("password1", true),
            ("Passwort!", true),
            ("anna-anna-anna", true),
            ("short", true),
            ("aaaaaaaaaaaaaaa", true),
            ("correct horse battery", false),
        ] {
            assert_eq!(weakness(password, "anna").is_some(), weak, "{password}");
        }
    }
}
