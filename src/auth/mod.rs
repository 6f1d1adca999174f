//! Who someone is: passwords, tokens, and what far sides entrusted to us.

pub mod grant;
