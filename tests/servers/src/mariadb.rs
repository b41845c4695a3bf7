//! MariaDB.

use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::process::{
    CERTIFICATE, Certificate, Home, KEY, Server, connect, free_port, program, random_word,
};

/// A MariaDB server with a user that may do everything, and a database, both named `gk`.
pub struct Mariadb {
    // Before the directory: fields are dropped in order.
    server: Option<Server>,
    home: Home,
    port: u16,
    password: String,
    binary: PathBuf,
    tls: bool,
}

impl std::fmt::Debug for Mariadb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mariadb").field("port", &self.port).finish()
    }
}

impl Mariadb {
    /// Makes a data directory and starts its server.
    ///
    /// # Errors
    ///
    /// MariaDB is not installed, or does not start.
    pub fn start() -> Result<Self> {
        Self::start_as(None)
    }

    /// Like [`start`](Self::start), with a server that speaks over TLS only, with this certificate.
    ///
    /// # Errors
    ///
    /// MariaDB is not installed, or does not start.
    pub fn start_with_tls(certificate: &Certificate<'_>) -> Result<Self> {
        Self::start_as(Some(certificate))
    }

    fn start_as(tls: Option<&Certificate<'_>>) -> Result<Self> {
        let binary = program("mariadbd", &[], "mariadb-server")?;
        let install = program("mariadb-install-db", &[], "mariadb-server")?;
        let home = Home::new("gk-mariadb-", "mysql")?;
        let password = random_word()?;
        let data = home.path().join("data");
        let data = data.to_str().context("a directory that is not UTF-8")?;
        home.run(
            &install,
            &[
                "--no-defaults",
                &format!("--datadir={data}"),
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--skip-name-resolve",
            ],
        )
        .context("MariaDB's mariadb-install-db")?;
        home.write(
            "init.sql",
            &format!(
                "CREATE DATABASE IF NOT EXISTS gk CHARACTER SET utf8mb4;\n\
                 CREATE USER IF NOT EXISTS 'gk'@'127.0.0.1' IDENTIFIED BY '{password}';\n\
                 GRANT ALL ON *.* TO 'gk'@'127.0.0.1' WITH GRANT OPTION;\n"
            ),
        )?;
        if let Some(certificate) = tls {
            certificate.put(&home)?;
        }
        let mut mariadb = Self {
            tls: tls.is_some(),
            server: None,
            home,
            port: free_port()?,
            password,
            binary,
        };
        mariadb.launch()?;
        Ok(mariadb)
    }

    fn launch(&mut self) -> Result<()> {
        let port = self.port;
        let mut command = self.home.command(&self.binary);
        let path = |name: &str| self.home.path().join(name).display().to_string();
        command.args([
            "--no-defaults",
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--skip-log-bin",
            "--character-set-server=utf8mb4",
            "--innodb-buffer-pool-size=32M",
            "--innodb-log-file-size=16M",
            "--innodb-flush-log-at-trx-commit=2",
            "--performance-schema=off",
        ]);
        command.arg(format!("--port={port}"));
        command.arg(format!("--datadir={}", path("data")));
        command.arg(format!("--socket={}", path("mariadb.sock")));
        command.arg(format!("--pid-file={}", path("mariadb.pid")));
        command.arg(format!("--tmpdir={}", path("")));
        command.arg(format!("--init-file={}", path("init.sql")));
        if self.tls {
            command.arg("--require-secure-transport=ON");
            command.arg(format!("--ssl-cert={}", path(CERTIFICATE)));
            command.arg(format!("--ssl-key={}", path(KEY)));
        }
        let server = Server::start(&self.home, command, || greets(port)).context("MariaDB")?;
        self.server = Some(server);
        Ok(())
    }

    /// `mysql://gk:…@127.0.0.1:PORT/gk`.
    #[must_use]
    pub fn url(&self) -> String {
        self.database_url("gk")
    }

    /// The URL of one of its databases.
    #[must_use]
    pub fn database_url(&self, database: &str) -> String {
        let Self { port, password, .. } = self;
        format!("mysql://gk:{password}@127.0.0.1:{port}/{database}")
    }
}

super::process::controls!(Mariadb);

/// A server that is ready speaks first: a packet's header, then the protocol's version, 10.
fn greets(port: u16) -> Result<()> {
    let mut packet = [0; 5];
    connect(port)?.read_exact(&mut packet)?;
    if packet[4] != 10 {
        bail!("it greets with {packet:?}");
    }
    Ok(())
}
