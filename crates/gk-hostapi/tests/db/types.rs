//! Values of each engine's types, there and back.
