//! Everything that is tested through the built binary, and the house rules.

mod tidy;
