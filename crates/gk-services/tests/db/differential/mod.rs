//! Generated statements: of every one that the guard lets pass, what the guard makes of it has to
//! give the engine's own answer to the statement as it was given.
//!
//! The generator knows each engine's literals, operators, functions and clauses, and the ways to
//! set them apart: blanks, comments, cases, quotes. Most of what it makes is valid; what is not has
//! to fail before and after. `GK_DIFFERENTIAL=n` makes n statements for each engine, and
//! `GK_DIFFERENTIAL_SEED` begins elsewhere.

mod grammar;
mod words;

use gk_services::db::Dialect;
use gk_sqlguard as guard;

use self::words::{Generator, Kind, Random};
use super::direct::Direct;
use super::fixture::Fixture;
use super::honest;

/// Statements for each engine where nobody says how many.
const STATEMENTS: u64 = 3000;

/// The share of them that has to be compared, in percent: the rest is refused, or valid nowhere.
const COMPARED_MIN: u64 = 50;

/// What an answer is compared by: errors' words name places in the text.
fn outcome(answer: &super::direct::Answer) -> Option<&Vec<Vec<Option<String>>>> {
    answer.as_ref().ok().map(|(_, rows)| rows)
}

async fn run(dialect: Dialect) {
    let fixture = Fixture::new(dialect).await;
    honest::tables(&fixture).await;
    let mut direct = Direct::open(&fixture).await;
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let count: u64 = number("GK_DIFFERENTIAL").unwrap_or(STATEMENTS);
    let seed: u64 = number("GK_DIFFERENTIAL_SEED").unwrap_or(1);
    let mut generator = Generator {
        random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
        dialect,
        kind: Kind::Any,
    };
    let (mut compared, mut failed, mut refused) = (0, 0, 0);
    let mut wrong = Vec::new();
    for _ in 0..count {
        let writes = generator.random.one_in(6);
        generator.choose();
        let given = if writes {
            generator.write()
        } else {
            generator.select()
        };
        let Ok(analysis) = guard::analyse(dialect, &given) else {
            refused += 1;
            continue;
        };
        let show = "SELECT * FROM granted_users ORDER BY id";
        let show = writes.then_some(show);
        let before = direct.answer_and(&given, show).await;
        let after = direct.answer_and(&analysis.sql, show).await;
        compared += 1;
        failed += u64::from(before.is_err());
        if outcome(&before) != outcome(&after) {
            wrong.push(format!(
                "{given}\n  {}\n  {before:?}\n  {after:?}",
                analysis.sql
            ));
        }
    }
    eprintln!(
        "{dialect:?}: {count} statements, {compared} compared, of which the engine fails {failed}; {refused} refused, {} differ",
        wrong.len()
    );
    wrong.truncate(20);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        compared * 100 >= count * COMPARED_MIN,
        "{compared} of {count}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite() {
    run(Dialect::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres() {
    run(Dialect::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb() {
    run(Dialect::Mysql).await;
}
