//! The cache: in memory or in Redis, a namespace for each plugin.
