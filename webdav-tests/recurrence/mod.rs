//! Recurrence compared with independent engines; `differences.md` explains where they part.

mod rules;
