//! The plugin's end. The Rust SDK stands on it; so can anything else that wants to be a plugin.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gk_manifest::Registration;
use gk_wire::gob::Payload;
pub use gk_wire::plugin::{ServeError, Server};
use gk_wire::{Broker, Request, Responder, RpcClient, Service};

use crate::host::{HostApiHandler, HostRequest, non_empty};
use crate::messages::{CallRequest, CallResponse, HostApiRequest, HostApiResponse, InitRequest};
use crate::{PLUGIN_NAME, RpcError, SdkGeneration, handshake_config};

/// A call that the host makes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Call {
    /// Name of the function to call.
    pub function: String,
    /// Arguments of the function, JSON; often empty.
    pub args: Bytes,
    /// Stands for this call in host requests; empty if the host gives none.
    pub call_token: String,
}

impl Call {
    /// A call, for tests without a host.
    #[must_use]
    pub fn new(function: &str, args: Bytes, call_token: &str) -> Self {
        Call {
            function: function.to_owned(),
            args,
            call_token: call_token.to_owned(),
        }
    }
}

/// The functions of a plugin. Calls run concurrently.
#[async_trait]
pub trait PluginHandler: Send + Sync + 'static {
    /// The registration of the plugin.
    async fn register(&self) -> Result<Registration, String>;

    /// Prepares the plugin; `host` is missing if the host offers no API or it cannot be reached.
    async fn init(
        &self,
        config: BTreeMap<String, String>,
        host: Option<HostApiClient>,
    ) -> Result<(), String>;

    /// Runs a function: JSON back, or the text of an error.
    async fn call(&self, call: Call) -> Result<Bytes, String>;

    /// Puts things in order before the process ends.
    async fn shutdown(&self) -> Result<(), String>;
}

/// Why a request to the host failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HostApiError {
    /// The host refused, or its service failed.
    #[error("host: {0}")]
    Host(String),
    /// The request did not get through.
    #[error("host rpc: {0}")]
    Rpc(#[from] RpcError),
}

/// The host's API, seen from the plugin. Cheap to clone; requests run concurrently.
#[derive(Debug, Clone)]
pub struct HostApiClient {
    end: End,
}

/// The peer of the connection.
#[derive(Clone)]
enum End {
    Connection(RpcClient),
    Memory(Arc<dyn HostApiHandler>),
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Connection(client) => client.fmt(f),
            End::Memory(_) => f.write_str("Memory"),
        }
    }
}

impl HostApiClient {
    /// A host API in this process, for tests of plugins: requests go to the handler without a
    /// connection, as those of the newest SDK generation. Names, arguments, results and errors are
    /// what they are over a connection.
    #[must_use]
    pub fn in_memory(handler: Arc<dyn HostApiHandler>) -> Self {
        HostApiClient {
            end: End::Memory(handler),
        }
    }

    /// Calls a method by its wire name with JSON, on behalf of the call with this token (empty
    /// outside of a call). The reply is JSON. A dropped request is forgotten.
    ///
    /// # Errors
    ///
    /// See [`HostApiError`].
    pub async fn call(
        &self,
        method: &str,
        args: Bytes,
        call_token: &str,
    ) -> Result<Bytes, HostApiError> {
        let client = match &self.end {
            End::Connection(client) => client,
            End::Memory(handler) => {
                let request = HostRequest {
                    method: method.to_owned(),
                    args,
                    call_token: Some(call_token.to_owned()).filter(|token| !token.is_empty()),
                    generation: SdkGeneration::G3,
                };
                let answer = handler.call(request).await;
                return answer.map_err(|text| HostApiError::Host(non_empty(text)));
            }
        };
        let request = HostApiRequest {
            method: method.to_owned(),
            args: Payload(args),
            caller_plugin: String::new(),
            call_token: call_token.to_owned(),
        };
        let reply: HostApiResponse = client.call("Plugin.Call", &request).await?;
        match reply.error.is_empty() {
            true => Ok(reply.result.0),
            false => Err(HostApiError::Host(reply.error)),
        }
    }
}

/// The largest request that a plugin takes of its host, in bytes: more than the arguments of a
/// call.
const REQUEST_BYTES_MAX: usize = 128 << 20;

/// A go-plugin server whose set is this plugin; [`Server::serve`] runs it. It speaks as the newest
/// SDK generation does.
#[must_use]
pub fn server(handler: Arc<dyn PluginHandler>) -> Server {
    let mut limits = gk_wire::Limits::default();
    limits.gob.max_message_bytes = REQUEST_BYTES_MAX;
    Server::new(handshake_config())
        .limits(limits)
        .plugin(PLUGIN_NAME, move |broker| {
            Arc::new(PluginService {
                handler: Arc::clone(&handler),
                broker: broker.clone(),
            })
        })
}

struct PluginService {
    handler: Arc<dyn PluginHandler>,
    broker: Broker,
}

impl fmt::Debug for PluginService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginService").finish_non_exhaustive()
    }
}

impl Service for PluginService {
    fn call(&self, request: Request, responder: Responder) {
        let handler = Arc::clone(&self.handler);
        match request.method.as_str() {
            "Plugin.Call" => match request.body.decode::<CallRequest>() {
                Ok(CallRequest {
                    function,
                    args,
                    call_token,
                }) => {
                    tokio::spawn(async move {
                        let response = match handler
                            .call(Call {
                                function,
                                args: args.0,
                                call_token,
                            })
                            .await
                        {
                            Ok(result) => CallResponse {
                                result: Payload(result),
                                error: String::new(),
                            },
                            Err(error) => CallResponse {
                                result: Payload::default(),
                                error: non_empty(error),
                            },
                        };
                        responder.reply(&response);
                    });
                }
                Err(error) => responder.error(&error.to_string()),
            },
            "Plugin.GKRegister" => {
                tokio::spawn(async move {
                    let json = match handler.register().await {
                        Ok(registration) => {
                            serde_json::to_vec(&registration).map_err(|error| error.to_string())
                        }
                        Err(error) => Err(error),
                    };
                    match json {
                        Ok(json) => responder.reply(&Payload(json.into())),
                        Err(error) => responder.error(&error),
                    }
                });
            }
            "Plugin.Init" => match request.body.decode::<InitRequest>() {
                Ok(InitRequest {
                    config,
                    host_api_id,
                }) => {
                    let broker = self.broker.clone();
                    tokio::spawn(async move {
                        let host = match host_api_id {
                            0 => None,
                            id => dial(&broker, id).await,
                        };
                        finish(handler.init(config, host).await, responder);
                    });
                }
                Err(error) => responder.error(&error.to_string()),
            },
            "Plugin.Shutdown" => {
                tokio::spawn(async move { finish(handler.shutdown().await, responder) });
            }
            method if method.starts_with("Plugin.") => responder.unknown_method(),
            _ => responder.unknown_service(),
        }
    }
}

/// Success must be exactly a nil interface: anything else kills a Go host.
fn finish(result: Result<(), String>, responder: Responder) {
    match result {
        Ok(()) => responder.reply(&()),
        Err(error) => responder.error(&error),
    }
}

async fn dial(broker: &Broker, id: u32) -> Option<HostApiClient> {
    match broker.dial(id).await {
        Ok(stream) => Some(HostApiClient {
            end: End::Connection(stream.into_rpc_client()),
        }),
        Err(error) => {
            tracing::warn!(%error, "the host API cannot be reached; the plugin runs without it");
            None
        }
    }
}
