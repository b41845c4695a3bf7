//! Databases: SQLite, PostgreSQL, MySQL and MariaDB, behind a parser and each engine's own wall.
