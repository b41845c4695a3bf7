//! PostgreSQL.

use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::process::{
    CERTIFICATE, Certificate, Home, KEY, Server, connect, free_port, program, random_word,
};

/// A PostgreSQL server with a superuser and a database, both named `gk`.
pub struct Postgres {
    // Before the directory: fields are dropped in order.
    server: Option<Server>,
    home: Home,
    port: u16,
    password: String,
    binary: PathBuf,
    tls: bool,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres")
            .field("port", &self.port)
            .finish()
    }
}

/// Debian keeps the server's programs off PATH, in a directory for each version.
fn postgres_program(name: &str) -> Result<PathBuf> {
    let mut places: Vec<(u32, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
    {
        let path = entry?.path();
        let version = path.file_name().and_then(|name| name.to_str());
        if let Some(version) = version.and_then(|version| version.parse().ok()) {
            places.push((version, path.join("bin").join(name)));
        }
    }
    places.sort();
    let places: Vec<_> = places.into_iter().rev().map(|(_, path)| path).collect();
    program(name, &places, "postgresql")
}

impl Postgres {
    /// Makes a database cluster and starts its server.
    ///
    /// # Errors
    ///
    /// PostgreSQL is not installed, or does not start.
    pub fn start() -> Result<Self> {
        Self::start_as(None)
    }

    /// Like [`start`](Self::start), with a server that speaks over TLS only, with this certificate.
    ///
    /// # Errors
    ///
    /// PostgreSQL is not installed, or does not start.
    pub fn start_with_tls(certificate: &Certificate<'_>) -> Result<Self> {
        Self::start_as(Some(certificate))
    }

    fn start_as(tls: Option<&Certificate<'_>>) -> Result<Self> {
        let binary = postgres_program("postgres")?;
        let initdb = postgres_program("initdb")?;
        let home = Home::new("gk-postgres-", "postgres")?;
        let password = random_word()?;
        let pwfile = home.write("password", &password)?;
        let pwfile = pwfile.to_str().context("a directory that is not UTF-8")?;
        home.run(
            &initdb,
            &[
                "--pgdata=data",
                "--username=gk",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                &format!("--pwfile={pwfile}"),
            ],
        )
        .context("PostgreSQL's initdb")?;
        if let Some(certificate) = tls {
            certificate.put(&home)?;
            // Without TLS nobody is let in.
            let rule = "hostssl all all 127.0.0.1/32 scram-sha-256\n";
            home.write("data/pg_hba.conf", rule)?;
        }
        let mut postgres = Self {
            tls: tls.is_some(),
            server: None,
            home,
            port: free_port()?,
            password,
            binary,
        };
        postgres.launch()?;
        Ok(postgres)
    }

    fn launch(&mut self) -> Result<()> {
        let (port, tls) = (self.port, self.tls);
        let mut last = None;
        // A killed server's shared memory may outlive it for a moment.
        for _ in 0..20 {
            let mut command = self.home.command(&self.binary);
            command.args(["-D", "data", "-h", "127.0.0.1", "-p", &port.to_string()]);
            command.arg("-k").arg(self.home.path());
            // The page cache outlives a killed server; only a machine that loses power needs fsync.
            for setting in [
                "fsync=off",
                "max_connections=100",
                "shared_buffers=16MB",
                "autovacuum=off",
                // Goes with the directory, also when the server is killed.
                "dynamic_shared_memory_type=mmap",
            ] {
                command.args(["-c", setting]);
            }
            if tls {
                let path = |name: &str| self.home.path().join(name).display().to_string();
                for (setting, value) in [
                    ("ssl", "on".to_owned()),
                    ("ssl_cert_file", path(CERTIFICATE)),
                    ("ssl_key_file", path(KEY)),
                ] {
                    command.arg("-c").arg(format!("{setting}={value}"));
                }
            }
            match Server::start(&self.home, command, || answers(port, tls)) {
                Ok(server) => {
                    self.server = Some(server);
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("no attempt")?.context("PostgreSQL"))
    }

    /// `postgres://gk:…@127.0.0.1:PORT/postgres`.
    #[must_use]
    pub fn url(&self) -> String {
        self.database_url("postgres")
    }

    /// The URL of one of its databases.
    #[must_use]
    pub fn database_url(&self, database: &str) -> String {
        let Self { port, password, .. } = self;
        format!("postgres://gk:{password}@127.0.0.1:{port}/{database}")
    }
}

super::process::controls!(Postgres);

/// Asks for a session; one that is ready wants a password, others say that they are starting. One with TLS agrees to
/// it, as soon as it listens.
fn answers(port: u16, tls: bool) -> Result<()> {
    let mut stream = connect(port)?;
    let mut kind = [0];
    if tls {
        stream.write_all(b"\0\0\0\x08\x04\xd2\x16\x2f")?;
        stream.read_exact(&mut kind)?;
        return match &kind {
            b"S" => Ok(()),
            _ => bail!("it has no TLS"),
        };
    }
    let parameters = b"user\0gk\0database\0postgres\0\0";
    let length = u32::try_from(parameters.len() + 8)?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend_from_slice(&196_608_u32.to_be_bytes());
    message.extend_from_slice(parameters);
    stream.write_all(&message)?;
    stream.read_exact(&mut kind)?;
    if kind != *b"R" {
        bail!("it is not ready yet");
    }
    Ok(())
}
