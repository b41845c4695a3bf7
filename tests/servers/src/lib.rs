//! Real servers for tests: PostgreSQL, MariaDB and Redis from Debian's programs, a server of S3 and a
//! sink for mail in this process.
//!
//! Each server stands in a temporary directory of its own, on an ephemeral port of the loopback
//! interface, and ends with its owner: when it is dropped, and also when the process that started
//! it is killed. A server that cannot be started is an error that names the missing package; there
//! is no way to skip one.
//!
//! Tests that share a server take [`shared_postgres`], [`shared_mariadb`] or [`shared_redis`], and
//! make a database or a key prefix of their own in it; tests that stop, pause or restart a server
//! start one for themselves. `cargo xtask test` starts the shared ones once for all test binaries
//! and names them in the environment.
#![forbid(unsafe_code)]

mod mariadb;
mod postgres;
mod process;
mod redis;
mod s3;
mod shared;
mod smtp;

pub use mariadb::Mariadb;
pub use postgres::Postgres;
pub use process::Certificate;
pub use redis::Redis;
pub use s3::S3;
pub use shared::{
    MARIADB_URL, POSTGRES_URL, REDIS_URL, shared_mariadb, shared_postgres, shared_redis,
};
pub use smtp::{Mail, Smtp};
