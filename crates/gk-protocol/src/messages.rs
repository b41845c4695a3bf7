//! The messages, under their Go names.

use std::collections::BTreeMap;

use gk_wire::gob::Payload;
use serde::{Deserialize, Serialize};

/// The three generations of plugin SDKs. All carry protocol version 1; they differ in what they
/// send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SdkGeneration {
    /// `GKRegister` answers a gob struct; the plugin has no host API.
    G1,
    /// `GKRegister` answers JSON; host requests carry no `CallToken`.
    G2,
    /// As G2, and host requests carry the `CallToken` of the call they belong to.
    G3,
}

/// Argument of `Plugin.Init`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InitRequest {
    /// Configuration that the host gives the plugin.
    #[serde(rename = "Config")]
    pub config: BTreeMap<String, String>,
    /// Broker id of the host API.
    #[serde(rename = "HostAPIID")]
    pub host_api_id: u32,
}

/// Argument of `Plugin.Call`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallRequest {
    /// Name of the function to call.
    #[serde(rename = "Function")]
    pub function: String,
    /// Arguments of the function, JSON.
    #[serde(rename = "Args")]
    pub args: Payload,
    /// Stands for the call in host requests; G1 and G2 plugins ignore it.
    #[serde(rename = "CallToken")]
    pub call_token: String,
}

/// Reply of `Plugin.Call`. An error of the function stands in here; `Response.Error` is the
/// protocol's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallResponse {
    /// Result of the function, JSON.
    #[serde(rename = "Result")]
    pub result: Payload,
    /// Why it failed; empty if it did not.
    #[serde(rename = "Error")]
    pub error: String,
}

/// Argument of `Plugin.Call` (old clients: `HostAPI.Call`) on the host API's stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "HostAPIRPCRequest", default)]
pub struct HostApiRequest {
    /// The method's wire name, as `cache_get`.
    #[serde(rename = "Method")]
    pub method: String,
    /// Arguments of the method, JSON.
    #[serde(rename = "Args")]
    pub args: Payload,
    /// Name that the plugin gives itself. The host ignores it: the connection says whose it is.
    #[serde(rename = "CallerPlugin")]
    pub caller_plugin: String,
    /// The token of the call this belongs to; empty outside of a call.
    #[serde(rename = "CallToken")]
    pub call_token: String,
}

/// Reply of a host API call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "HostAPIRPCResponse", default)]
pub struct HostApiResponse {
    /// Result of the method, JSON.
    #[serde(rename = "Result")]
    pub result: Payload,
    /// Why it failed; empty if it did not.
    #[serde(rename = "Error")]
    pub error: String,
}
