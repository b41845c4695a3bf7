//! Mail by SMTP: one plain or HTML text to one recipient.
//!
//! The sender is the operator's. A mail that was handed to the server is sent; there is no queue
//! here.

mod methods;

use std::fmt;
use std::time::Duration;

use gk_hostapi::HostError;
use gk_hostapi::scope::Recipient;
use lettre::message::header::{ContentType, MIME_VERSION_1_0};
use lettre::message::{Mailbox as Address, Message};
use lettre::transport::smtp::AsyncSmtpTransportBuilder;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

pub(crate) use self::methods::METHODS;
pub use self::methods::Mailbox;
pub use gk_hostapi::scope::{ADDRESS_BYTES_MAX, MailScope, RECIPIENT_BYTES_MAX};

/// Longest subject, in bytes of UTF-8.
pub const SUBJECT_BYTES_MAX: usize = 512;
/// Longest body, in bytes of UTF-8.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Longest time that handing over a mail takes; the call's deadline may be earlier.
pub const TOTAL_TIME_MAX: Duration = Duration::from_secs(60);

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailTls {
    /// Not at all. Not together with credentials, unless the server is this machine.
    Off,
    /// By `STARTTLS`, usually on port 587; a server without it is refused.
    StartTls,
    /// From the first byte, usually on port 465.
    Implicit,
}

/// User and password of a mail server.
#[derive(Clone)]
pub struct MailCredentials {
    /// Login at the mail server.
    pub user: String,
    /// Password of the login; wiped when it is dropped.
    pub password: Zeroizing<String>,
}

impl fmt::Debug for MailCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MailCredentials(…)")
    }
}

/// A mail server, and how mail is handed to it.
#[derive(Debug, Clone)]
pub struct MailConfig {
    /// Name or address of the server.
    pub host: String,
    /// The server's port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: MailTls,
    /// The host's user and password, if the server wants them.
    pub credentials: Option<MailCredentials>,
    /// The sender of every mail: an address, or `Name <address>`.
    pub from: String,
    /// How long one step of the protocol may take; at most [`TOTAL_TIME_MAX`] for all.
    pub timeout: Duration,
    /// Certificates (PEM) that are trusted besides the system's.
    pub extra_roots_pem: Vec<Vec<u8>>,
}

/// A message to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Mail<'a> {
    /// Exactly one recipient: an address, or `Name <address>`.
    pub to: &'a str,
    /// The subject, one line.
    pub subject: &'a str,
    /// The text.
    pub body: &'a str,
    /// Set if the text is HTML.
    pub html: bool,
}

/// The service.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Address,
    timeout: Duration,
}

impl Mailer {
    /// A mailer; it connects for each mail.
    ///
    /// # Errors
    /// Invalid: the sender, a certificate, or credentials that would go over an open network
    /// unprotected.
    pub fn new(config: &MailConfig) -> Result<Self, HostError> {
        let from = Recipient::parse(&config.from)
            .and_then(mailbox)
            .map_err(|error| HostError::invalid(format!("from {:?}: {error}", config.from)))?;
        if config.credentials.is_some() && config.tls == MailTls::Off && !is_here(&config.host) {
            return Err(HostError::invalid(
                "email: a password is not sent without TLS; use starttls or implicit",
            ));
        }
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&config.host)
            .port(config.port)
            .timeout(Some(config.timeout.min(TOTAL_TIME_MAX)))
            .tls(tls(config)?);
        if let Some(MailCredentials { user, password }) = &config.credentials {
            builder = builder.credentials(Credentials::new(user.clone(), password.to_string()));
        }
        Ok(Self {
            transport: AsyncSmtpTransportBuilder::build(builder),
            from,
            timeout: config.timeout.min(TOTAL_TIME_MAX),
        })
    }

    /// Hands a mail to the server.
    ///
    /// # Errors
    /// Invalid: not exactly one recipient, or a subject or text with characters that none may hold.
    /// Denied: a recipient outside of `scope`. Limit: [`SUBJECT_BYTES_MAX`], [`BODY_BYTES_MAX`].
    /// Unavailable: the server cannot be reached or takes no mail at the moment. Failed: it refuses
    /// this one. Timeout: it is not known whether the mail is sent.
    pub async fn send(
        &self,
        mail: Mail<'_>,
        scope: &MailScope,
        deadline: Instant,
    ) -> Result<(), HostError> {
        let message = self.message(mail, scope)?;
        let until = deadline.min(Instant::now() + self.timeout);
        match timeout_at(until, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(late()),
        }
    }

    /// Connects to the server and signs in, as for a mail, and sends none.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn check(&self, deadline: Instant) -> Result<(), HostError> {
        let until = deadline.min(Instant::now() + self.timeout);
        match timeout_at(until, Box::pin(self.transport.test_connection())).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(HostError::unavailable(
                "email: the server does not answer as one",
            )),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(late()),
        }
    }

    fn message(&self, mail: Mail<'_>, scope: &MailScope) -> Result<Message, HostError> {
        let recipient = Recipient::parse(mail.to)
            .map_err(|error| HostError::invalid(format!("the recipient: {error}")))?;
        if !scope.allows(&recipient.address) {
            return Err(HostError::denied(format!(
                "email recipient \"{}\" not allowed",
                recipient.address
            )));
        }
        for (what, bytes, max) in [
            ("subject", mail.subject.len(), SUBJECT_BYTES_MAX),
            ("body", mail.body.len(), BODY_BYTES_MAX),
        ] {
            if bytes > max {
                return Err(HostError::limit(format!(
                    "a mail's {what} has at most {max} bytes, not {bytes}"
                )));
            }
        }
        if mail.subject.contains(char::is_control) {
            return Err(HostError::invalid(
                "the subject holds a line break or another control character",
            ));
        }
        if mail.body.contains('\0') {
            return Err(HostError::invalid("the body holds a NUL character"));
        }
        let content_type = match mail.html {
            true => ContentType::TEXT_HTML,
            false => ContentType::TEXT_PLAIN,
        };
        Message::builder()
            .from(self.from.clone())
            .to(mailbox(recipient)?)
            .subject(mail.subject)
            .message_id(Some(message_id(self.from.email.domain())?))
            // Without the header a reader may take the text for ASCII, whatever the others say.
            .header(MIME_VERSION_1_0)
            .header(content_type)
            // lettre makes CR LF of every line end: servers disagree on what a bare one is, and one
            // of them may see the end of the mail there.
            .body(mail.body.to_owned())
            .map_err(|_| HostError::invalid("the mail cannot be put together"))
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the transport: it holds the password.
        f.debug_struct("Mailer")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// lettre's own would hold the machine's name.
fn message_id(domain: &str) -> Result<String, HostError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|_| HostError::unavailable("the system gives no random bytes"))?;
    Ok(format!("<{:032x}@{domain}>", u128::from_be_bytes(random)))
}

/// A recipient as lettre has it.
fn mailbox(recipient: Recipient) -> Result<Address, HostError> {
    let (local_part, domain) = (recipient.address.local_part(), recipient.address.domain());
    let address = lettre::Address::new(local_part, domain)
        .map_err(|_| HostError::invalid("the address cannot be written into a mail"))?;
    Ok(Address::new(recipient.name, address))
}

fn is_here(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn tls(config: &MailConfig) -> Result<Tls, HostError> {
    let invalid = |what| HostError::invalid(format!("email: {what}"));
    let mut parameters = TlsParameters::builder(config.host.clone());
    for pem in &config.extra_roots_pem {
        let root = Certificate::from_pem(pem)
            .map_err(|_| invalid("an extra root certificate is not PEM"))?;
        parameters = parameters.add_root_certificate(root);
    }
    let parameters = || {
        parameters
            .build_rustls()
            .map_err(|_| invalid("TLS cannot be set up"))
    };
    Ok(match config.tls {
        MailTls::Off => Tls::None,
        MailTls::StartTls => Tls::Required(parameters()?),
        MailTls::Implicit => Tls::Wrapper(parameters()?),
    })
}

fn late() -> HostError {
    HostError::timeout("the mail server did not answer in time; the mail may be sent all the same")
}

/// The error for a plugin: the code, not the server's text, which names machines and accounts.
fn failure(error: &lettre::transport::smtp::Error) -> HostError {
    let status = error.status().map(|code| code.to_string());
    tracing::warn!(status, tls = error.is_tls(), "the mail server failed");
    if error.is_timeout() {
        return late();
    }
    match status {
        Some(code) if error.is_permanent() => {
            HostError::failed(format!("the mail server refuses the mail with code {code}"))
        }
        Some(code) => HostError::unavailable(format!(
            "the mail server takes no mail at the moment, with code {code}; try again later"
        )),
        None => HostError::unavailable("the mail server cannot be reached or does not speak SMTP"),
    }
}
