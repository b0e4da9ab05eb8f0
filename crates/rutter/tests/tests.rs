//! Everything that is tested through the built binary, and the house rules.
//!
//! `tidy` reads the sources; all others run the binary in network namespaces of their own (root needed), built up by `cluster`.
//! Environment: `RUTTER` (another binary), `SOAK` (the long counts), `SEED`.

mod cluster;
mod commands;
mod dns;
mod events;
mod example;
mod killed;
mod mistakes;
mod node_local;
mod one_revision;
mod shim;
mod side_by_side;
mod stop;
mod tidy;
mod up;
