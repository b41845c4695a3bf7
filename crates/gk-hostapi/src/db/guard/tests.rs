//! The guard's verdicts, as tables.

use super::*;

fn tables(set: &BTreeSet<TableName>) -> Vec<String> {
    set.iter().map(ToString::to_string).collect()
}

#[test]
fn probe() {
    for (dialect, name) in [
        (Dialect::Sqlite, "sqlite"),
        (Dialect::Postgres, "pg"),
        (Dialect::Mysql, "mysql"),
    ] {
        let path = std::env::var("PROBE").unwrap_or_default();
        let Ok(text) = std::fs::read_to_string(path) else {
            return;
        };
        for line in text.lines() {
            let started = std::time::Instant::now();
            match analyse(dialect, line) {
                Ok(a) => println!(
                    "{name} OK {:?}\n   {line}\n   {} r={:?} w={:?} f={:?} {:?}",
                    a.kind,
                    a.sql,
                    tables(&a.reads),
                    tables(&a.writes),
                    a.functions,
                    started.elapsed()
                ),
                Err(e) => println!("{name} NO {line}\n   {e}"),
            }
        }
    }
}
