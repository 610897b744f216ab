//! Multi-node tests, soak and benchmarks with real node processes.
