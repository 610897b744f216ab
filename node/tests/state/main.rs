//! The replicated state from outside: readable transcripts, a reference model under random commands,
//! and snapshots in the middle of everything.

mod bounds;
mod model;
mod print;
mod properties;
mod script;
mod transcripts;
