//! Databases over TLS: with the right certificate only, and never without.

use std::path::PathBuf;

use gk_hostapi::{ErrorKind, HostError};
use gk_servers::{Certificate, Mariadb, Postgres};
use gk_services::db::{DatabaseConfig, Databases, DatabasesConfig};
use tempfile::TempDir;

use super::fixture::{deadline, grants};

/// A certificate for `name` that vouches for itself, in a file too.
struct Identity {
    certificate: String,
    key: String,
    file: PathBuf,
    _directory: TempDir,
}

impl Identity {
    fn of(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("root.pem");
        std::fs::write(&file, made.cert.pem()).unwrap();
        Self {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            file,
            _directory: directory,
        }
    }

    fn certificate(&self) -> Certificate<'_> {
        Certificate {
            certificate: &self.certificate,
            key: &self.key,
        }
    }
}

/// Servers that let nobody in without TLS.
enum Server {
    Postgres(Postgres),
    Mariadb(Mariadb),
}

impl Server {
    fn start_all(identity: &Identity) -> [Self; 2] {
        let certificate = identity.certificate();
        [
            Self::Postgres(Postgres::start_with_tls(&certificate).unwrap()),
            Self::Mariadb(Mariadb::start_with_tls(&certificate).unwrap()),
        ]
    }

    fn url(&self) -> String {
        match self {
            Self::Postgres(server) => server.url(),
            Self::Mariadb(server) => server.url(),
        }
    }
}

async fn ask(url: String) -> Result<bytes::Bytes, HostError> {
    let config = DatabasesConfig {
        default: Some(DatabaseConfig::new(&url)),
        ..DatabasesConfig::default()
    };
    let databases = Databases::open(&config)?;
    databases
        .query(&grants(), "SELECT 1 AS n", &[], deadline())
        .await
}

fn refused(answer: Result<bytes::Bytes, HostError>) {
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_who_its_certificate_says() {
    let (right, wrong) = (Identity::of("127.0.0.1"), Identity::of("127.0.0.1"));
    for server in Server::start_all(&right) {
        let url = server.url();
        let with = |identity: &Identity| {
            format!(
                "{url}?sslmode=require&sslrootcert={}",
                identity.file.display()
            )
        };
        assert_eq!(ask(with(&right)).await.unwrap(), r#"[{"n":1}]"#);
        // Someone in between, with a certificate of their own making.
        refused(ask(with(&wrong)).await);
        // This server is let down by whoever speaks without TLS, so the first answer came over TLS.
        refused(ask(format!("{url}?sslmode=disable")).await);
        refused(ask(url).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_for_one_name() {
    let other = Identity::of("database.example");
    for server in Server::start_all(&other) {
        let root = other.file.display();
        refused(
            ask(format!(
                "{}?sslmode=require&sslrootcert={root}",
                server.url()
            ))
            .await,
        );
    }
}

/// Whoever is in between can also say that there is no TLS here.
#[tokio::test(flavor = "multi_thread")]
async fn what_requires_tls_does_not_go_on_without() {
    let identity = Identity::of("127.0.0.1");
    for url in [
        gk_servers::shared_postgres().unwrap(),
        gk_servers::shared_mariadb().unwrap(),
    ] {
        assert_eq!(ask(url.clone()).await.unwrap(), r#"[{"n":1}]"#);
        let root = identity.file.display();
        refused(ask(format!("{url}?sslmode=require&sslrootcert={root}")).await);
    }
}
