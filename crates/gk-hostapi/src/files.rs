//! Files of a plugin, below a quota.
