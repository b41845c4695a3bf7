//! Commands that let others trust a plugin: keys, signatures, packages.

pub(crate) mod keys;
pub(crate) mod package;
pub(crate) mod selection;
pub(crate) mod sign;
mod staging;
pub(crate) mod verify;
