//! Translations that plugins register.
