//! Packages on their way to a host: from a file, a directory, an URL or an index.

mod apply;
pub(crate) mod fetch;
pub(crate) mod index;
pub(crate) mod install;
mod offered;
pub(crate) mod search;
pub(crate) mod uninstall;
