//! The rules: what may happen to a calendar. Speaks `Refusal`, never HTTP.

mod refusal;

pub use refusal::{Error, Refusal};
