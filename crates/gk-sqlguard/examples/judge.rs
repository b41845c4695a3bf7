//! Judges one statement: `cargo run -p gk-sqlguard --example judge -- DIALECT PATTERN STATEMENT`.
//!
//! The pattern says which tables may be read and written; without arguments the example judges a
//! statement of its own.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use gk_sqlguard::{Access, DbGrants, Dialect, Scope, TableName, analyse};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let mut next = |default: &str| args.next().unwrap_or_else(|| default.to_owned());
    let (dialect, pattern) = (next("postgres"), next("app_*"));
    let statement = next("DELETE FROM app_items WHERE id IN (SELECT id FROM app_old) -- tidy up");
    let (dialect, own_schema) = match dialect.as_str() {
        "sqlite" => (Dialect::Sqlite, "main"),
        "postgres" => (Dialect::Postgres, "public"),
        "mysql" => (Dialect::Mysql, "app"),
        other => return Err(format!("{other}: write sqlite, postgres or mysql").into()),
    };
    let patterns = [pattern];
    let grants = DbGrants::new([(Access::ReadWrite, Scope::Only(&patterns[..]))]);

    let analysis = analyse(dialect, &statement)?;
    let names = |tables: &std::collections::BTreeSet<TableName>| {
        let names: Vec<_> = tables.iter().map(ToString::to_string).collect();
        names.join(", ")
    };
    println!("reads:  {}", names(&analysis.reads));
    println!("writes: {}", names(&analysis.writes));
    match grants
        .of(None)
        .map(|grant| grant.check(&analysis, own_schema))
    {
        Some(Ok(())) => println!("runs:   {}", analysis.sql),
        Some(Err(refused)) => println!("denied: {refused}"),
        None => println!("denied: nothing is granted"),
    }
    Ok(())
}
