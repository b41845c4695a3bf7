//! Servers that are down, stopped, and restarted.

use std::time::Duration;

use gk_hostapi::{ErrorKind, HostError};
use gk_servers::{Mariadb, Postgres};
use gk_services::db::{DatabaseConfig, Databases, DatabasesConfig, DbLimits};
use serde_json::json;
use tokio::time::Instant;

use super::fixture::{deadline, grants};

/// A server of our own, to be stopped at will.
enum Server {
    Postgres(Postgres),
    Mariadb(Mariadb),
}

impl Server {
    fn start_all() -> [Self; 2] {
        [
            Self::Postgres(Postgres::start().unwrap()),
            Self::Mariadb(Mariadb::start().unwrap()),
        ]
    }

    fn url(&self) -> String {
        match self {
            Self::Postgres(server) => server.url(),
            Self::Mariadb(server) => server.url(),
        }
    }

    fn stop(&mut self) {
        match self {
            Self::Postgres(server) => server.stop(),
            Self::Mariadb(server) => server.stop(),
        }
        .unwrap();
    }

    fn pause(&self) {
        match self {
            Self::Postgres(server) => server.pause(),
            Self::Mariadb(server) => server.pause(),
        }
        .unwrap();
    }

    fn resume(&self) {
        match self {
            Self::Postgres(server) => server.resume(),
            Self::Mariadb(server) => server.resume(),
        }
        .unwrap();
    }

    fn restart(&mut self) {
        match self {
            Self::Postgres(server) => server.restart(),
            Self::Mariadb(server) => server.restart(),
        }
        .unwrap();
    }
}

fn open(url: &str) -> Databases {
    let config = DatabasesConfig {
        default: Some(DatabaseConfig::new(url)),
        limits: DbLimits::default(),
        ..DatabasesConfig::default()
    };
    Databases::open(&config).unwrap()
}

/// Nothing of the URL may be in what a plugin reads.
fn is_discreet(error: &HostError, url: &str) {
    let text = error.to_string();
    let (_, rest) = url.split_once("://").unwrap();
    let (user, place) = rest.split_once('@').unwrap();
    let password = user.split_once(':').unwrap().1;
    let port = place.split_once(':').unwrap().1.split('/').next().unwrap();
    for secret in [password, "127.0.0.1", port] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_goes_and_comes_back() {
    for mut server in tokio::task::spawn_blocking(Server::start_all)
        .await
        .unwrap()
    {
        let url = server.url();
        server.stop();
        // A server that is down when the host starts is no error.
        let databases = open(&url);
        let query = async || {
            databases
                .query(&grants(), "SELECT 1 AS n", &[], deadline())
                .await
        };
        let error = query().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        is_discreet(&error, &url);
        server.restart();
        assert_eq!(query().await.unwrap(), r#"[{"n":1}]"#);
        let create = "CREATE TABLE granted_k (id INTEGER PRIMARY KEY)";
        databases
            .exec(&grants(), create, &[], deadline())
            .await
            .unwrap();
        // Acknowledged writes outlive a killed server, and the pool gets over it by itself.
        for round in 0..3 {
            let insert = "INSERT INTO granted_k VALUES (?)";
            let written = databases
                .exec(&grants(), insert, &[json!(round)], deadline())
                .await;
            assert_eq!(written.unwrap().affected, 1);
            server.restart();
            let count = "SELECT COUNT(*) AS n FROM granted_k";
            let rows = databases
                .query(&grants(), count, &[], deadline())
                .await
                .unwrap();
            assert_eq!(rows, format!(r#"[{{"n":{}}}]"#, round + 1));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_costs_no_more_than_the_deadline() {
    for server in tokio::task::spawn_blocking(Server::start_all)
        .await
        .unwrap()
    {
        let url = server.url();
        let databases = open(&url);
        let query = async |deadline: Instant| {
            databases
                .query(&grants(), "SELECT 1 AS n", &[], deadline)
                .await
        };
        query(deadline()).await.unwrap();
        server.pause();
        // With a connection that is there, and with one that would have to be made.
        for _ in 0..3 {
            let deadline = Instant::now() + Duration::from_millis(200);
            let error = query(deadline).await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable),
                "{error}"
            );
            is_discreet(&error, &url);
        }
        server.resume();
        assert_eq!(query(deadline()).await.unwrap(), r#"[{"n":1}]"#);
    }
}

#[tokio::test]
async fn a_wrong_password_and_a_missing_file_are_unavailable() {
    let url = tokio::task::spawn_blocking(gk_servers::shared_postgres)
        .await
        .unwrap()
        .unwrap();
    let mysql = tokio::task::spawn_blocking(gk_servers::shared_mariadb)
        .await
        .unwrap()
        .unwrap();
    for url in [url, mysql] {
        let wrong = url.replacen("gk:", "gk:x", 1);
        let error = open(&wrong)
            .query(&grants(), "SELECT 1", &[], deadline())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        is_discreet(&error, &wrong);
        assert!(!error.to_string().contains("\"gk\""), "{error}");
    }
    let config = DatabasesConfig {
        default: Some(DatabaseConfig::new("sqlite:/nowhere/x.db")),
        ..DatabasesConfig::default()
    };
    let error = Databases::open(&config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(!error.to_string().contains("nowhere"), "{error}");
}

#[tokio::test]
async fn a_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.db");
    let databases = open(&format!("sqlite:{}", path.display()));
    let create = "CREATE TABLE granted_x (id INTEGER)";
    databases
        .exec(&grants(), create, &[], deadline())
        .await
        .unwrap();
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.path());
    }
    assert!(
        std::fs::read_dir(directory.path()).unwrap().count() >= 2,
        "with its log"
    );
}
