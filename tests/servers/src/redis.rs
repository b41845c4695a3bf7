//! Redis.

use std::io::{Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::process::{Home, Server, connect, free_port, program, random_word};

/// A Redis server with a password, which appends what it is told to a file before it answers.
pub struct Redis {
    // Before the directory: fields are dropped in order.
    server: Option<Server>,
    home: Home,
    port: u16,
    password: String,
    binary: PathBuf,
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
        let binary = program("redis-server", &[], "redis-server")?;
        let mut redis = Self {
            server: None,
            home: Home::new("gk-redis-", "redis")?,
            port: free_port()?,
            password: random_word()?,
            binary,
        };
        redis.launch()?;
        Ok(redis)
    }

    fn launch(&mut self) -> Result<()> {
        let Self { port, password, .. } = self;
        // In a file: everybody sees a command line.
        let config = self.home.write(
            "redis.conf",
            &format!(
                "bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave \"\"\n\
                 appendonly yes\nappendfsync always\nmaxmemory 64mb\n"
            ),
        )?;
        let mut command = self.home.command(&self.binary);
        command.arg(config);
        let port = *port;
        let server = Server::start(&self.home, command, || answers(port)).context("Redis")?;
        self.server = Some(server);
        Ok(())
    }

    /// `redis://:…@127.0.0.1:PORT/0`.
    #[must_use]
    pub fn url(&self) -> String {
        let Self { port, password, .. } = self;
        format!("redis://:{password}@127.0.0.1:{port}/0")
    }

    /// The port, the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills the server, with SIGKILL.
    ///
    /// # Errors
    ///
    /// It does not go.
    pub fn stop(&mut self) -> Result<()> {
        self.server
            .take()
            .map_or(Ok(()), |mut server| server.kill())
    }

    /// Stops it, with SIGSTOP: connections stay, nobody answers.
    ///
    /// # Errors
    ///
    /// It does not run.
    pub fn pause(&self) -> Result<()> {
        let server = self.server.as_ref().context("it does not run")?;
        server.signal(Signal::STOP)
    }

    /// Continues it, with SIGCONT.
    ///
    /// # Errors
    ///
    /// It does not run.
    pub fn resume(&self) -> Result<()> {
        let server = self.server.as_ref().context("it does not run")?;
        server.signal(Signal::CONT)
    }

    /// Kills the server where it runs, and starts it on the same port with the same data.
    ///
    /// # Errors
    ///
    /// It does not go, or not start.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        self.launch()
    }
}

/// A server that has loaded its data asks for the password; one that loads says so.
fn answers(port: u16) -> Result<()> {
    let mut stream = connect(port)?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    if answer != *b"-NOAUTH" {
        bail!("it is not ready yet");
    }
    Ok(())
}
