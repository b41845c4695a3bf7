//! A connection over net/rpc, the protocol of native plugins.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gk_manifest::Registration;
use gk_protocol::RpcError;
use gk_protocol::host::{
    ConnectError, ConnectOptions, FunctionError, HostApiHandler, PluginConnection, RegisterError,
    connect,
};
use gk_wire::Handshake;
use tokio::net::UnixStream;

use super::{Connected, Connection, ConnectionError, ConnectionLimits};
use crate::error::{PluginError, Step};
use crate::log::{LogSource, WorkerOutput};

/// Connects over a socket to a plugin that printed `handshake`.
pub(super) async fn connect_over(
    socket: UnixStream,
    handshake: &Handshake,
    host_api: Arc<dyn HostApiHandler>,
    limits: ConnectionLimits,
) -> Result<Connected, PluginError> {
    let mut options = ConnectOptions::default();
    options.limits.memory = limits.memory;
    options.limits.max_calls = limits.calls;
    let (connection, output) = connect(socket, handshake, host_api, options)
        .await
        .map_err(|error| match error {
            ConnectError::Dispense(RpcError::Closed(reason)) => PluginError::Crashed {
                step: Some(Step::Connect),
                reason: reason.as_ref().to_owned(),
            },
            other => PluginError::Connect(other.into()),
        })?;
    let output = vec![
        WorkerOutput::new(LogSource::Stdout, Box::new(output.stdout)),
        WorkerOutput::new(LogSource::Stderr, Box::new(output.stderr)),
    ];
    Ok(Connected::new(Arc::new(connection), output))
}

impl From<RpcError> for ConnectionError {
    fn from(error: RpcError) -> Self {
        match error {
            RpcError::Closed(reason) => Self::Closed(reason),
            RpcError::TooManyCalls(calls) => Self::TooManyCalls(calls),
            RpcError::NoMemory(bytes) => Self::NoMemory(bytes),
            other => Self::Protocol(other.into()),
        }
    }
}

impl From<FunctionError> for ConnectionError {
    fn from(error: FunctionError) -> Self {
        match error {
            FunctionError::Application(message) => Self::Plugin(message),
            FunctionError::Rpc(error) => error.into(),
            other => Self::Protocol(other.into()),
        }
    }
}

impl From<RegisterError> for ConnectionError {
    fn from(error: RegisterError) -> Self {
        match error {
            RegisterError::Rpc(error) => error.into(),
            other => Self::Protocol(other.into()),
        }
    }
}

/// The error of a method whose remote error is the plugin's own word.
fn answered(error: RpcError) -> ConnectionError {
    match error {
        RpcError::Remote(message) => ConnectionError::Plugin(message),
        other => other.into(),
    }
}

#[async_trait]
impl Connection for PluginConnection {
    async fn register(&self) -> Result<Registration, ConnectionError> {
        Ok(Self::register(self).await?)
    }

    async fn init(&self, config: &BTreeMap<String, String>) -> Result<(), ConnectionError> {
        Self::init(self, config).await.map_err(answered)
    }

    async fn call(
        &self,
        function: &str,
        args: Bytes,
        call_token: &str,
    ) -> Result<Bytes, ConnectionError> {
        Ok(Self::call(self, function, args, call_token).await?)
    }

    async fn ping(&self) -> Result<(), ConnectionError> {
        Ok(Self::ping(self).await?)
    }

    async fn shutdown(&self) -> Result<(), ConnectionError> {
        Self::shutdown(self).await.map_err(answered)
    }

    async fn quit(&self) -> Result<(), ConnectionError> {
        Ok(Self::quit(self).await?)
    }

    fn close(&self) {
        Self::close(self);
    }

    async fn closed(&self) -> String {
        Self::closed(self).await
    }
}
