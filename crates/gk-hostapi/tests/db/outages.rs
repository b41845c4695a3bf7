//! Servers that are down, stopped, and restarted.
