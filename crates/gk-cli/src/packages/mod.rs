//! Packages on their way to a host: from a file, a directory, an URL or an index.

pub(crate) mod fetch;
pub(crate) mod index;
pub(crate) mod install;
pub(crate) mod search;
pub(crate) mod uninstall;
