//! `plugin_call`: calls from plugin to plugin.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use gk_manifest::{PermissionKind, PluginName};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::api::{CallPlugins, OutgoingCall};
use crate::caller::{CallInfo, EnvelopeValue, User};
use crate::chain::Chain;
use crate::error::HostError;
use crate::guard::Granted;
use crate::json::{read, write};
use crate::method::ServiceMethod;
use crate::policy::{Counter, Rate};
use crate::spec::MethodSpec;

/// The longest name of a function, in bytes.
const FUNCTION_BYTES_MAX: usize = 256;

/// The supervisor that calls other plugins, once it is there.
pub(crate) type OtherPlugins = OnceLock<Arc<dyn CallPlugins>>;

const SPEC: MethodSpec = MethodSpec::needing(
    "plugin_call",
    PermissionKind::PluginCall,
    None,
    "plugin-to-plugin calls not granted",
)
.limited(Rate::Calls)
.counted(Counter::Calls);

/// The method.
pub(crate) const METHODS: &[ServiceMethod<OtherPlugins>] =
    &[ServiceMethod::new(SPEC, |plugins, granted, args| {
        Box::pin(call(plugins, granted, args))
    })];

#[derive(Deserialize)]
struct PluginCall<'a> {
    #[serde(borrow)]
    plugin: Cow<'a, str>,
    #[serde(borrow)]
    function: Cow<'a, str>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
}

async fn call(
    plugins: &OtherPlugins,
    granted: &Granted<'_>,
    args: Bytes,
) -> Result<Bytes, HostError> {
    let wanted: PluginCall<'_> = read(&args)?;
    let target = PluginName::new(&*wanted.plugin)
        .map_err(|error| HostError::invalid(format!("plugin: {error}")))?;
    if wanted.function.is_empty() || wanted.function.len() > FUNCTION_BYTES_MAX {
        return Err(HostError::invalid(format!(
            "function: 1 to {FUNCTION_BYTES_MAX} bytes, not {}",
            wanted.function.len()
        )));
    }
    if !granted.grants().plugin_call.plugin(&target) {
        return Err(HostError::denied(format!(
            "not permitted to call plugin \"{target}\""
        )));
    }
    let caller = granted.caller();
    let calls = caller.candidates();
    let candidates: Vec<_> = calls.iter().map(|call| &call.chain).collect();
    let chain = Chain::extend(&caller.plugin, &candidates, &target, &wanted.function)
        .map_err(|error| granted.refused(SPEC.name, &error))?;
    let info = granted.call();
    let args = match wanted.args {
        None => Bytes::new(),
        Some(args) => plugin_arguments(args, info)?,
    };
    let user = info.and_then(|call| call.user.clone());
    let language = info.and_then(|call| call.language.clone());
    let request_id = info.and_then(|call| call.request_id.clone());
    let call = OutgoingCall::new(chain, granted.deadline().into_std(), user, language)
        .with_request_id(request_id)
        .with_trace(info.and_then(|call| call.trace.clone()));
    let plugins = plugins.get();
    plugins
        .ok_or_else(|| HostError::unavailable("plugin manager not available"))?
        .call_plugin(&target, &wanted.function, args, call)
        .await
}

/// The arguments of a call from plugin to plugin: what the caller sends under the host's own keys
/// is dropped, and what the host knows of the running call's user is written, as it is for a
/// request over HTTP.
fn plugin_arguments(args: &RawValue, call: Option<&CallInfo>) -> Result<Bytes, HostError> {
    if !args.get().starts_with('{') {
        return Ok(Bytes::copy_from_slice(args.get().as_bytes()));
    }
    let text = |key, text| (key, EnvelopeValue::Text(text));
    let language = call.and_then(|call| call.language.as_deref());
    let request_id = call.and_then(|call| call.request_id.as_ref());
    let envelope = User::envelope(call.and_then(|call| call.user.as_ref()))
        .chain(language.map(|language| text("_lang", language)))
        .chain(request_id.map(|id| text("_request_id", id.as_str())))
        .map(|(key, value)| Ok((key, to_raw_value(&value)?)))
        .collect::<Result<Vec<_>, serde_json::Error>>()
        .map_err(|error| HostError::failed(error.to_string()))?;
    let mut members: BTreeMap<String, &RawValue> = read(args.get().as_bytes())?;
    members.retain(|key, _| !key.starts_with('_'));
    members.extend(
        envelope
            .iter()
            .map(|(key, value)| ((*key).to_owned(), &**value)),
    );
    write(&members)
}
