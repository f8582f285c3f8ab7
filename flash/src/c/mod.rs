//! The C shell: an export checks, makes one call, and maps the result. Pointers are followed in `boundary` alone.

mod boundary;

pub mod calls;
pub mod types;
