//! A plugin's process without a host: started, spoken with, judged.
//!
//! | Module | What it is |
//! |---|---|
//! | `process` | one process: its output, its handshake, its connection, its end |
//! | `stub` | a host API that answers as an empty host does |
//! | `inspect` | `gk inspect` |
//! | `standalone` | `gk call --standalone` |
//! | `conformance`, `checks`, `on_host` | `gk test`: what a plugin must keep to, check by check |

pub(crate) mod checks;
pub(crate) mod conformance;
pub(crate) mod inspect;
mod on_host;
pub(crate) mod process;
pub(crate) mod report;
pub(crate) mod standalone;
mod stub;
