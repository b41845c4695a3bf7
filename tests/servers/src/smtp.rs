//! A sink for mail: takes every message and keeps it.

use std::fs;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::process::{Home, Server, connect, free_port};

/// A message that was delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The envelope's sender.
    pub from: String,
    /// The envelope's recipients.
    pub to: Vec<String>,
    /// Headers and body as they were kept, after the headers that hold the envelope.
    pub content: String,
}

/// An SMTP server that delivers to nobody: aiosmtpd, without TLS or login.
pub struct Smtp {
    // Before the directory: fields are dropped in order.
    server: Option<Server>,
    home: Home,
    port: u16,
}

impl std::fmt::Debug for Smtp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Smtp").field("port", &self.port).finish()
    }
}

impl Smtp {
    /// Starts a server.
    ///
    /// # Errors
    ///
    /// aiosmtpd is not installed, or does not start.
    pub fn start() -> Result<Self> {
        let mut smtp = Self {
            server: None,
            home: Home::new("gk-smtp-", "nobody")?,
            port: free_port()?,
        };
        // Debian's Python, whatever else is on PATH: the package is Debian's.
        smtp.home
            .run(Path::new("/usr/bin/python3"), &["-c", "import aiosmtpd"])
            .context("aiosmtpd is missing: apt-get install python3-aiosmtpd")?;
        smtp.launch()?;
        Ok(smtp)
    }

    fn launch(&mut self) -> Result<()> {
        let port = self.port;
        let mut command = self.home.command(Path::new("/usr/bin/python3"));
        command.args(["-m", "aiosmtpd", "--nosetuid", "--smtputf8"]);
        command.args(["--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--class", "aiosmtpd.handlers.Mailbox"]);
        command.arg(self.home.path().join("mail"));
        let server = Server::start(&self.home, command, || greets(port)).context("aiosmtpd")?;
        self.server = Some(server);
        Ok(())
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What was delivered so far, in no particular order. A message is here once its sender was
    /// told that it was accepted.
    ///
    /// # Errors
    ///
    /// What is kept cannot be read.
    pub fn delivered(&self) -> Result<Vec<Mail>> {
        let Ok(entries) = fs::read_dir(self.home.path().join("mail/new")) else {
            return Ok(Vec::new());
        };
        let read = |entry: std::io::Result<fs::DirEntry>| {
            let content = fs::read(entry?.path())?;
            parse(&String::from_utf8_lossy(&content))
        };
        entries.map(read).collect()
    }
}

super::process::controls!(Smtp);

/// The sink appends the envelope to the headers.
fn parse(kept: &str) -> Result<Mail> {
    let (headers, _) = kept.split_once("\n\n").unwrap_or((kept, ""));
    // A long header goes on in lines that begin with a blank.
    let headers = headers.replace("\n ", " ").replace("\n\t", " ");
    let header = |name: &str| {
        let mut values = headers.lines().filter_map(|line| line.strip_prefix(name));
        // The last one is the sink's; a sender may have forged others.
        values.next_back().map(|value| value.trim().to_owned())
    };
    let from = header("X-MailFrom:").context("a message without envelope")?;
    let to = header("X-RcptTo:").context("a message without envelope")?;
    Ok(Mail {
        from,
        to: to.split(", ").map(str::to_owned).collect(),
        content: kept.to_owned(),
    })
}

/// A server that is ready speaks first.
fn greets(port: u16) -> Result<()> {
    let mut code = [0; 3];
    connect(port)?.read_exact(&mut code)?;
    if code != *b"220" {
        bail!("it greets with {code:?}");
    }
    Ok(())
}
