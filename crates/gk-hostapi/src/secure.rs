//! Configuration that is encrypted at rest.
