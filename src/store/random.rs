//! Random numbers of the system, for ids and secrets.

use super::Fault;

/// Returns so many random bytes.
///
/// # Errors
/// When the system gives none.
pub fn bytes<const N: usize>() -> Result<[u8; N], Fault> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Fault::Broken(format!("no random numbers: {error}")))?;
    Ok(bytes)
}

/// Returns so many random bytes in hexadecimal digits, two for each.
///
/// # Errors
/// As [`bytes`].
pub fn hex<const N: usize>() -> Result<String, Fault> {
    use std::fmt::Write as _;
    Ok(bytes::<N>()?.iter().fold(String::with_capacity(2 * N), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    }))
}

/// Returns a random number.
///
/// # Errors
/// As [`bytes`].
pub fn number() -> Result<u32, Fault> {
    bytes().map(u32::from_be_bytes)
}
