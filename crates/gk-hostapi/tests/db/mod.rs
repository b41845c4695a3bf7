//! The database: guard, grants and engines together, against SQLite, PostgreSQL and MariaDB.

mod attacks;
mod fixture;
mod fuzz_smoke;
mod limits;
mod outages;
mod tls;
mod types;
mod upstream;
