//! Events that plugins publish and browsers subscribe to.
