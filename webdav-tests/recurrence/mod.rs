//! Recurrence compared with independent engines; `differences.md` explains where they part.

mod laws;
mod rfc5545;
mod rules;
mod series;
