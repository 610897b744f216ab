//! Async Rust client for Roomcast.
