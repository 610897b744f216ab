//! The replicated state from outside: readable transcripts, a reference model under random
//! commands, and snapshots in the middle of everything.

mod bounds;
mod checks;
mod followers;
mod formats;
mod model;
mod model_operations;
mod model_records;
mod model_sockets;
mod print;
mod properties;
mod script;
mod steps;
mod transcripts;
mod world;
