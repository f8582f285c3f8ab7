//! One segment: composing frames, walking them, telling where the data ends.

#[cfg(feature = "std")]
pub mod buffer;
#[cfg(feature = "std")]
pub mod head;
pub mod payload;
pub mod scan;
