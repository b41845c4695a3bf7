//! The shared state on a real PostgreSQL.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

mod carried;
mod jobs;
mod members;
mod stores;

use std::sync::atomic::{AtomicU32, Ordering};

use gk_cluster::{Database, Member, MemberConfig};
use std::sync::Arc;
use std::time::Duration;

/// A URL of a schema of its own, in the PostgreSQL that tests share.
pub(crate) fn url() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let base = gk_servers::shared_postgres().unwrap();
    format!("{base}?schema=cluster_{}_{number}", std::process::id())
}

pub(crate) async fn database() -> Database {
    Database::open(&url()).await.unwrap()
}

/// Joins a database as a host whose runs are lost after so long.
pub(crate) async fn join(database: &Database, name: &str, lost_after: Duration) -> Arc<Member> {
    let config = MemberConfig {
        name: name.to_owned(),
        release: "0.1.0".to_owned(),
        lost_after,
    };
    let member = Member::join(database.clone(), config).await.unwrap();
    member.appear().await.unwrap();
    member
}
