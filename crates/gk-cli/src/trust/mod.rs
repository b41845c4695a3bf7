//! What makes a plugin one that others can trust: keys, signatures, packages.

pub(crate) mod keys;
pub(crate) mod package;
pub(crate) mod selection;
pub(crate) mod sign;
mod staging;
pub(crate) mod verify;
