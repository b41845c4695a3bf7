//! Keys and values of a plugin, durable.
