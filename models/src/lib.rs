//! Nothing to link: the models are tests.
//!
//! `tests/protocol.rs` explores the agreement between store and log exhaustively, on the engine's own rules. `tests/random.rs` holds the engine
//! against a model of what it should know, over random operations, faults, kills and power cuts.
