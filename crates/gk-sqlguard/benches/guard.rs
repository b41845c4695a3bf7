//! What the guard costs: a statement that was seen before, and one that was not.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use gk_sqlguard::{Dialect, Guard, analyse};

const TYPICAL: &str = "SELECT id, name, created FROM app_items WHERE owner = ? AND state = ? ORDER BY created LIMIT 20";

const LARGER: &str = "WITH recent AS (SELECT id, owner FROM app_items WHERE created > ?) \
    SELECT o.name, COUNT(*) AS n, MAX(i.created) FROM app_owners o JOIN recent r ON r.owner = o.id \
    LEFT JOIN app_items i ON i.id = r.id WHERE o.state IN ('open', 'held') AND o.name LIKE ? \
    GROUP BY o.name HAVING COUNT(*) > 1 ORDER BY n DESC LIMIT 50";

fn guard(criterion: &mut Criterion) {
    for (dialect, name) in [
        (Dialect::Sqlite, "sqlite"),
        (Dialect::Postgres, "postgres"),
        (Dialect::Mysql, "mysql"),
    ] {
        let guard = Guard::new(dialect);
        let mut group = criterion.benchmark_group(name);
        group.bench_function("seen", |bencher| {
            bencher.iter(|| black_box(guard.analyse(black_box(TYPICAL))));
        });
        group.bench_function("typical", |bencher| {
            bencher.iter(|| black_box(analyse(dialect, black_box(TYPICAL))));
        });
        group.bench_function("larger", |bencher| {
            bencher.iter(|| black_box(analyse(dialect, black_box(LARGER))));
        });
        group.finish();
    }
}

criterion_group!(benches, guard);
criterion_main!(benches);
