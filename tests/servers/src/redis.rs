//! Redis.

use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::process::{
    CERTIFICATE, Certificate, Home, KEY, Server, connect, free_port, program, random_word,
};

/// A Redis server with a password, which appends what it is told to a file before it answers.
pub struct Redis {
    // Before the directory: fields are dropped in order.
    server: Option<Server>,
    home: Home,
    port: u16,
    password: String,
    binary: PathBuf,
    tls: bool,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("port", &self.port).finish()
    }
}

impl Redis {
    /// Starts a server.
    ///
    /// # Errors
    ///
    /// Redis is not installed, or does not start.
    pub fn start() -> Result<Self> {
        Self::start_as(None)
    }

    /// Like [`start`](Self::start), with a server that speaks over TLS only, with this certificate.
    ///
    /// # Errors
    ///
    /// Redis is not installed, or does not start.
    pub fn start_with_tls(certificate: &Certificate<'_>) -> Result<Self> {
        Self::start_as(Some(certificate))
    }

    fn start_as(tls: Option<&Certificate<'_>>) -> Result<Self> {
        let binary = program("redis-server", &[], "redis-server")?;
        let home = Home::new("gk-redis-", "redis")?;
        if let Some(certificate) = tls {
            certificate.put(&home)?;
        }
        let mut redis = Self {
            server: None,
            tls: tls.is_some(),
            home,
            port: free_port()?,
            password: random_word()?,
            binary,
        };
        redis.launch()?;
        Ok(redis)
    }

    fn launch(&mut self) -> Result<()> {
        let Self { port, password, .. } = self;
        let listen = match self.tls {
            false => format!("port {port}"),
            true => format!(
                "port 0\ntls-port {port}\ntls-auth-clients no\ntls-cert-file {CERTIFICATE}\ntls-key-file {KEY}"
            ),
        };
        // In a file: everybody sees a command line.
        let config = self.home.write(
            "redis.conf",
            &format!(
                "bind 127.0.0.1\n{listen}\nrequirepass {password}\nsave \"\"\n\
                 appendonly yes\nappendfsync always\nmaxmemory 64mb\n"
            ),
        )?;
        let mut command = self.home.command(&self.binary);
        command.arg(config);
        let server = Server::start(&self.home, command, || match self.tls {
            false => answers(*port, password),
            // It has nothing to load.
            true => connect(*port).map(drop),
        });
        let server = server.context("Redis")?;
        self.server = Some(server);
        Ok(())
    }

    /// `redis://:…@127.0.0.1:PORT/0`, or `rediss:` with TLS.
    #[must_use]
    pub fn url(&self) -> String {
        let Self { port, password, .. } = self;
        let scheme = if self.tls { "rediss" } else { "redis" };
        format!("{scheme}://:{password}@127.0.0.1:{port}/0")
    }
}

super::process::controls!(Redis);

/// A server that has loaded its data answers; one that loads says so, but only to who knows the password.
fn answers(port: u16, password: &str) -> Result<()> {
    let mut stream = connect(port)?;
    write!(stream, "AUTH {password}\r\nPING\r\n")?;
    let ready = b"+OK\r\n+PONG\r\n";
    let mut answer = [0; 12];
    stream.read_exact(&mut answer)?;
    if answer != *ready {
        bail!("not ready: {}", String::from_utf8_lossy(&answer));
    }
    Ok(())
}
