//! The host's end: one connection to one plugin process.
//!
//! Nothing in here has a timeout, because only the caller knows how long it wants to wait: put
//! `tokio::time::timeout` around every call. A dropped call is forgotten and its late reply thrown
//! away.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gk_manifest::Registration;
use gk_wire::gob::Payload;
use gk_wire::host::Client;
use gk_wire::{Limits, MemoryBudget, Protocol, Request, Responder, RpcClient, Service, Stream};
use tokio::net::UnixStream;

use crate::messages::{CallRequest, CallResponse, HostApiRequest, HostApiResponse, InitRequest};
pub use crate::place::{SocketPlace, socket_place};
use crate::{Handshake, PLUGIN_NAME, PROTOCOL_VERSION, RpcError, SdkGeneration};

/// Options of a connection.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// Limits on what is taken from the plugin.
    pub limits: Limits,
    /// Our certificate, if AutoMTLS was asked for: the one in the plugin's `PLUGIN_CLIENT_CERT`.
    #[cfg(feature = "automtls")]
    pub identity: Option<gk_wire::automtls::Identity>,
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The plugin speaks gRPC.
    #[error("the plugin speaks gRPC; net/rpc is what GoatKit plugins speak")]
    Protocol,
    /// The plugin chose another version of the protocol.
    #[error("the plugin speaks protocol version {0}, this host {PROTOCOL_VERSION}")]
    Version(u32),
    /// A certificate that was not asked for.
    #[error("the plugin sent a certificate although it was not asked for one")]
    UnexpectedCertificate,
    /// AutoMTLS was asked for, and the plugin sent no certificate.
    #[cfg(feature = "automtls")]
    #[error("the plugin sent no certificate although AutoMTLS was asked for")]
    NoCertificate,
    /// TLS could not be set up.
    #[cfg(feature = "automtls")]
    #[error("TLS cannot be set up")]
    Tls(#[from] gk_wire::automtls::TlsError),
    /// The session could not start.
    #[error("the session cannot start")]
    Session(#[from] gk_wire::yamux::SessionError),
    /// The plugin did not hand out `gkplugin`.
    #[error("the plugin does not offer {PLUGIN_NAME:?}: {0}")]
    Dispense(#[source] RpcError),
}

/// Why a plugin did not register.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The call failed.
    #[error("{0}")]
    Rpc(#[from] RpcError),
    /// The registration is not what the contract says.
    #[error("the registration cannot be read: {0}")]
    Malformed(String),
}

/// Why a call of a plugin's function failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FunctionError {
    /// The function's own error.
    #[error("{0}")]
    Application(String),
    /// The call did not get through, or its reply did not.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

/// Output that a plugin prints through its SDK after the handshake. Both streams must be read for
/// ever: a plugin stalls when 256 KiB are unread.
#[derive(Debug)]
pub struct PluginOutput {
    /// `os.Stdout`.
    pub stdout: Stream,
    /// `os.Stderr`.
    pub stderr: Stream,
}

/// A request of a plugin to its host.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HostRequest {
    /// The method's wire name.
    pub method: String,
    /// Arguments of the method, JSON.
    pub args: Bytes,
    /// The token of the call the request belongs to, if it belongs to one.
    pub call_token: Option<String>,
    /// Which SDK the request was made with: G2 or G3. Some replies differ.
    pub generation: SdkGeneration,
}

impl HostRequest {
    /// A request of a plugin.
    pub fn new(
        method: impl Into<String>,
        args: Bytes,
        call_token: Option<String>,
        generation: SdkGeneration,
    ) -> Self {
        Self {
            method: method.into(),
            args,
            call_token,
            generation,
        }
    }
}

/// Answers a plugin's requests. There is one per connection, and it knows whose connection it is: a
/// request's own word for its sender does not even reach it.
#[async_trait]
pub trait HostApiHandler: Send + Sync + 'static {
    /// Answers one request with JSON, or with the text of an error. Requests run concurrently.
    async fn call(&self, request: HostRequest) -> Result<Bytes, String>;
}

/// A connection to a plugin. Cheap to clone.
#[derive(Clone)]
pub struct PluginConnection {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    plugin: RpcClient,
    host_api_id: u32,
}

impl fmt::Debug for PluginConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginConnection")
            .field("host_api_id", &self.inner.host_api_id)
            .finish_non_exhaustive()
    }
}

/// Speaks with a plugin that printed `handshake`, over a socket that is connected to its address.
/// The host API is served from now on for as long as the connection lives, to as many of the
/// plugin's connections as it likes to make.
///
/// # Errors
///
/// See [`ConnectError`].
pub async fn connect(
    socket: UnixStream,
    handshake: &Handshake,
    host_api: Arc<dyn HostApiHandler>,
    options: ConnectOptions,
) -> Result<(PluginConnection, PluginOutput), ConnectError> {
    if handshake.protocol != Protocol::NetRpc {
        return Err(ConnectError::Protocol);
    }
    if handshake.app_version != PROTOCOL_VERSION {
        return Err(ConnectError::Version(handshake.app_version));
    }
    let memory = options.limits.memory.clone();
    let mut client = client(socket, handshake, options)?;
    let output = client.take_stdout().zip(client.take_stderr());
    let (stdout, stderr) =
        output.ok_or_else(|| ConnectError::Dispense(RpcError::Closed("no output".into())))?;
    let host_api_id = client.broker().next_id();
    let service = HostApiService {
        handler: host_api,
        memory,
    };
    client.broker().serve(host_api_id, Arc::new(service));
    let plugin = client
        .dispense(PLUGIN_NAME)
        .await
        .map_err(ConnectError::Dispense)?;
    let inner = Arc::new(Inner {
        client,
        plugin,
        host_api_id,
    });
    Ok((PluginConnection { inner }, PluginOutput { stdout, stderr }))
}

/// The session, encrypted if AutoMTLS was asked for.
#[cfg(feature = "automtls")]
fn client(
    socket: UnixStream,
    handshake: &Handshake,
    options: ConnectOptions,
) -> Result<Client, ConnectError> {
    match (&options.identity, &handshake.cert) {
        (None, None) => Ok(Client::connect(socket, options.limits)?),
        (Some(identity), Some(cert)) => {
            let tls = identity.client(cert)?;
            Ok(Client::connect_tls(socket, options.limits, tls)?)
        }
        (None, Some(_)) => Err(ConnectError::UnexpectedCertificate),
        (Some(_), None) => Err(ConnectError::NoCertificate),
    }
}

/// The session.
#[cfg(not(feature = "automtls"))]
fn client(
    socket: UnixStream,
    handshake: &Handshake,
    options: ConnectOptions,
) -> Result<Client, ConnectError> {
    match &handshake.cert {
        None => Ok(Client::connect(socket, options.limits)?),
        Some(_) => Err(ConnectError::UnexpectedCertificate),
    }
}

impl PluginConnection {
    /// Asks what the plugin offers.
    ///
    /// # Errors
    ///
    /// See [`RegisterError`]. The registration is read, not judged.
    pub async fn register(&self) -> Result<Registration, RegisterError> {
        Ok(self.register_as().await?.0)
    }

    /// The same, with what the answer says of the plugin's SDK: [`SdkGeneration::G1`] answers a
    /// struct, and `None` is one of the later ones, which answer JSON.
    ///
    /// # Errors
    ///
    /// See [`RegisterError`].
    pub async fn register_as(
        &self,
    ) -> Result<(Registration, Option<SdkGeneration>), RegisterError> {
        let reply = self
            .inner
            .plugin
            .call_message("Plugin.GKRegister", &())
            .await?;
        if !reply.is_bytes() {
            let registration = reply
                .decode()
                .map_err(|error| RegisterError::Malformed(error.to_string()))?;
            return Ok((registration, Some(SdkGeneration::G1)));
        }
        let json: Payload = reply
            .decode()
            .map_err(|error| RegisterError::Malformed(error.to_string()))?;
        let registration = serde_json::from_slice(&json.0)
            .map_err(|error| RegisterError::Malformed(error.to_string()))?;
        Ok((registration, None))
    }

    /// Initialises the plugin, which may dial the host API before it answers.
    ///
    /// # Errors
    ///
    /// [`RpcError::Remote`] holds the plugin's own refusal.
    pub async fn init(&self, config: &BTreeMap<String, String>) -> Result<(), RpcError> {
        let request = InitRequest {
            config: config.clone(),
            host_api_id: self.inner.host_api_id,
        };
        self.inner
            .plugin
            .call_message("Plugin.Init", &request)
            .await
            .map(drop)
    }

    /// Calls a function. `call_token` lets the plugin's host requests name this call; it may be
    /// empty.
    ///
    /// # Errors
    ///
    /// See [`FunctionError`].
    pub async fn call(
        &self,
        function: &str,
        args: Bytes,
        call_token: &str,
    ) -> Result<Bytes, FunctionError> {
        let request = CallRequest {
            function: function.to_owned(),
            args: Payload(args),
            call_token: call_token.to_owned(),
        };
        let reply: CallResponse = self.inner.plugin.call("Plugin.Call", &request).await?;
        match reply.error.is_empty() {
            true => Ok(reply.result.0),
            false => Err(FunctionError::Application(reply.error)),
        }
    }

    /// Tells the plugin to put its things in order.
    ///
    /// # Errors
    ///
    /// [`RpcError::Remote`] holds the plugin's own complaint.
    pub async fn shutdown(&self) -> Result<(), RpcError> {
        self.inner
            .plugin
            .call_message("Plugin.Shutdown", &())
            .await
            .map(drop)
    }

    /// Asks whether the plugin's process still answers.
    ///
    /// # Errors
    ///
    /// See [`RpcError`].
    pub async fn ping(&self) -> Result<(), RpcError> {
        self.inner.client.ping().await
    }

    /// Tells the plugin's process to exit. That the connection ends before the reply is success.
    ///
    /// # Errors
    ///
    /// See [`RpcError`].
    pub async fn quit(&self) -> Result<(), RpcError> {
        self.inner.client.quit().await
    }

    /// Drops the connection: every call under way fails at once.
    pub fn close(&self) {
        self.inner.client.close();
    }

    /// Waits until the connection has ended, and says why it did.
    pub async fn closed(&self) -> String {
        self.inner.client.closed().await
    }
}

/// The host API as a net/rpc service.
struct HostApiService {
    handler: Arc<dyn HostApiHandler>,
    /// Budget in which answers count until the plugin has taken them.
    memory: Option<MemoryBudget>,
}

/// Answers up to this size, in bytes, are not counted: there are no more of them than requests.
const UNCOUNTED_ANSWER_BYTES: usize = 1024;

impl HostApiService {
    /// The answer, counted until it is sent.
    fn count(memory: Option<&MemoryBudget>, result: Bytes) -> Result<Bytes, String> {
        match memory {
            Some(memory) if result.len() > UNCOUNTED_ANSWER_BYTES => {
                memory.hold(result).map_err(|error| error.to_string())
            }
            _ => Ok(result),
        }
    }
}

impl Service for HostApiService {
    fn call(&self, request: Request, responder: Responder) {
        match request.method.as_str() {
            // go-plugin registers every brokered server as `Plugin`; old clients say `HostAPI`.
            "Plugin.Call" | "HostAPI.Call" => {}
            method if method.starts_with("Plugin.") || method.starts_with("HostAPI.") => {
                return responder.unknown_method();
            }
            _ => return responder.unknown_service(),
        }
        let generation = if request.body.has_field("CallToken") {
            SdkGeneration::G3
        } else {
            SdkGeneration::G2
        };
        let message: HostApiRequest = match request.body.decode() {
            Ok(message) => message,
            Err(error) => return responder.error(&error.to_string()),
        };
        let (handler, memory) = (Arc::clone(&self.handler), self.memory.clone());
        tokio::spawn(async move {
            let token = Some(message.call_token).filter(|token| !token.is_empty());
            let request = HostRequest::new(message.method, message.args.0, token, generation);
            let answer = handler.call(request).await;
            let answer = answer.and_then(|result| Self::count(memory.as_ref(), result));
            let response = match answer {
                Ok(result) => HostApiResponse {
                    result: Payload(result),
                    error: String::new(),
                },
                Err(error) => HostApiResponse {
                    result: Payload::default(),
                    error: non_empty(error),
                },
            };
            responder.reply(&response);
        });
    }
}

/// An error's text may not be empty: that would be success.
pub(crate) fn non_empty(error: String) -> String {
    if error.is_empty() {
        "unknown error".to_owned()
    } else {
        error
    }
}
