//! Limits at the limit, deadlines, cancelled statements, concurrency, statements that recurse.
