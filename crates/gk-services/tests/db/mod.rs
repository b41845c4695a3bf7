//! The database: guard, grants and engines together, against SQLite, PostgreSQL and MariaDB.

mod attacks;
mod differential;
mod direct;
mod fixture;
mod functions;
mod honest;
mod limits;
mod outages;
mod tls;
mod types;
mod upstream;
mod writes;
