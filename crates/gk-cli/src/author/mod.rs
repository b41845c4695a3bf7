//! Commands of an author before there is anything to sign: a new plugin, a build, a check.

pub(crate) mod build;
mod compiler;
mod finding;
pub(crate) mod init;
mod program;
mod project;
mod scaffold;
mod sdk;
pub(crate) mod validate;

pub(crate) use project::Project;
