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
    /// What the host tells the plugin.
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
    /// The function.
    #[serde(rename = "Function")]
    pub function: String,
    /// Its arguments, JSON.
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
    /// What the function returned, JSON.
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
    /// Its arguments, JSON.
    #[serde(rename = "Args")]
    pub args: Payload,
    /// Who the plugin says it is. Never believed: the connection tells.
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
    /// What the method returned, JSON.
    #[serde(rename = "Result")]
    pub result: Payload,
    /// Why it failed; empty if it did not.
    #[serde(rename = "Error")]
    pub error: String,
}
