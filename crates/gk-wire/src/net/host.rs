//! The host's end, go-plugin's client.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::driver::Driver;
use super::transport::{Reader, Socket, Writer};
use super::{Broker, RpcClient, Shared, Stream};
use crate::connection::{Connection, Limits, RpcError};
use crate::rpc::Empty;
use crate::yamux::SessionError;

/// The connection of a host to one plugin process. Dropping it ends the connection.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    control: RpcClient,
    stdout: Option<Stream>,
    stderr: Option<Stream>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

impl Client {
    /// Starts a session on a socket that is connected to the plugin's address. Must be called
    /// within a tokio runtime, where the connection's driver then runs.
    ///
    /// # Errors
    ///
    /// No peer can cause one. A broken peer shows with the first call.
    pub fn connect(socket: impl Into<Socket>, limits: Limits) -> Result<Self, SessionError> {
        let (reader, writer) = socket.into().plain();
        Self::start(reader, writer, limits)
    }

    /// Like [`connect`](Self::connect), under TLS: AutoMTLS, by
    /// [`Identity::client`](crate::automtls::Identity::client), or a configuration of the program's
    /// own that the plugin knows.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    #[cfg(feature = "tls")]
    pub fn connect_tls(
        socket: impl Into<Socket>,
        limits: Limits,
        tls: rustls::ClientConnection,
    ) -> Result<Self, SessionError> {
        let (reader, writer) = socket.into().encrypted(tls.into());
        Self::start(reader, writer, limits)
    }

    fn start(reader: Reader, writer: Writer, limits: Limits) -> Result<Self, SessionError> {
        let (connection, streams) = Connection::host(limits, Instant::now())?;
        let shared = Shared::new(connection, writer);
        shared.flush(shared.lock());
        tokio::spawn(Driver::new(&shared, reader));
        Ok(Client {
            control: RpcClient::new(&shared, streams.control),
            stdout: Some(Stream::new(&shared, streams.stdout)),
            stderr: Some(Stream::new(&shared, streams.stderr)),
            shared,
        })
    }

    /// Checks that the plugin answers. Put a timeout around the call, as around every other one.
    ///
    /// # Errors
    ///
    /// See [`RpcError`].
    pub async fn ping(&self) -> Result<(), RpcError> {
        self.control
            .call::<_, Empty>("Control.Ping", &true)
            .await
            .map(|Empty {}| ())
    }

    /// Asks the plugin for a service by its name, and connects to it.
    ///
    /// # Errors
    ///
    /// If the plugin has no service of that name; see [`RpcError`].
    pub async fn dispense(&self, name: &str) -> Result<RpcClient, RpcError> {
        let id: u32 = self
            .control
            .call("Dispenser.Dispense", &name.to_owned())
            .await?;
        Ok(self.broker().dial(id).await?.into_rpc_client())
    }

    /// Tells the plugin to exit. A connection that ends before the reply comes is a success.
    ///
    /// # Errors
    ///
    /// If the plugin refuses.
    pub async fn quit(&self) -> Result<(), RpcError> {
        match self.control.call::<_, Empty>("Control.Quit", &true).await {
            Ok(Empty {}) | Err(RpcError::Closed(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The connection's broker.
    #[must_use]
    pub fn broker(&self) -> Broker {
        Broker {
            shared: Arc::clone(&self.shared),
        }
    }

    /// The output of the plugin's `os.Stdout` after the handshake; `None` the second time. Read the
    /// stream to its end, since a plugin stalls when 256 KiB are unread, or drop it, which throws its
    /// bytes away.
    pub fn take_stdout(&mut self) -> Option<Stream> {
        self.stdout.take()
    }

    /// The output of the plugin's `os.Stderr`; see [`take_stdout`](Self::take_stdout).
    pub fn take_stderr(&mut self) -> Option<Stream> {
        self.stderr.take()
    }

    /// Ends the connection; calls under way fail at once.
    pub fn close(&self) {
        self.shared.close("this side closed the connection");
    }

    /// Waits until the connection has ended, and says why it did.
    pub async fn closed(&self) -> String {
        closed(&self.shared).await
    }
}

/// Waits for the end of a connection.
pub(super) async fn closed(shared: &Shared) -> String {
    let waiter = {
        let mut state = shared.lock();
        if let Some(reason) = state.connection.closed() {
            return reason.to_string();
        }
        let (ended, waiter) = oneshot::channel();
        state.closing.retain(|ended| !ended.is_closed());
        state.closing.push(ended);
        waiter
    };
    // An error says that the connection has ended, too.
    let _ = waiter.await;
    shared.closed_reason().map_or_else(
        || "the connection was dropped".to_owned(),
        |reason| reason.to_string(),
    )
}
