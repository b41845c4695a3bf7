//! The state that several GoatKit hosts share.
//!
//! PostgreSQL is the truth: policies, tokens, which plugins are enabled, keys and values, secrets,
//! jobs, the audit log. Redis carries what may be lost: events and rates. An object store has the
//! bytes of files, of which PostgreSQL has the list. Each kind of state is behind the interface that the store of a single host
//! has too, such as [`gk_services::kv::KvStore`], and passes the same contract.
//!
//! | Module | What it is for |
//! |---|---|
//! | [`database`] | connections with a deadline, migrations, transactions |
//! | [`member`] | this host among the others: its row, what has changed, who has taken note of it |
//! | [`jobs`] | jobs and their queue |
//! | [`events`] | events of all hosts in one order |
//! | [`files`] | files: bytes in an object store, rows in the database |
//! | `rates` | rates that all hosts keep together |
//! | `kv`, `secrets`, `policies` | the same of keys and values, secrets and policies |
//!
//! # What holds when
//!
//! A change of a policy, a token or a plugin is in force on every host within two seconds: hosts are
//! told by `NOTIFY`, and ask each second for what they were not told. [`Member::settle`] waits until
//! all hosts have taken note of it. A host that does not reach the database goes on with what it
//! knows: what was refused is refused, and nothing new is granted.
#![forbid(unsafe_code)]

pub mod database;
pub mod events;
pub mod files;
pub mod jobs;
mod kv;
pub mod member;
mod plugins;
mod policies;
mod rates;
mod redis;
mod secrets;
mod topic;

pub use database::{Database, Failure, Work};
pub use events::SharedEvents;
pub use files::SharedFiles;
pub use jobs::SharedJobs;
pub use member::{Contact, Follower, HostRow, Member, MemberConfig, Settled};
pub use rates::Rates;
pub use redis::Redis;
pub use topic::Topic;
