//! A plugin of which tests make further versions, by writing over the version in the program. It
//! has some of the functions of the Go reference plugin `gen3`, so that one can be replaced by the
//! other.

use std::hint::black_box;
use std::path::Path;

use bytes::Bytes;
use gk_plugin::{Context, Error, Plugin};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// What `version` answers. Tests replace these characters in the program.
const VERSION: &str = "GK_TEST_VERSION_000000";

/// The version, read from where it is in the program.
fn version() -> &'static str {
    black_box(VERSION)
}

/// What `ask_host` is to ask; by default the time.
#[derive(Deserialize)]
struct Question {
    method: String,
    args: Box<RawValue>,
}

async fn ask_host(context: Context, args: Bytes) -> Result<Bytes, Error> {
    let (method, args) = match serde_json::from_slice::<Option<Question>>(&args) {
        Ok(Some(Question { method, args })) => (method, Bytes::from(args.get().to_owned())),
        _ => ("time_now".to_owned(), Bytes::from_static(b"{}")),
    };
    context.host_call_raw(&method, args).await
}

/// The place of the call in a trace.
async fn trace(context: Context, _: Value) -> Result<Value, Error> {
    let (parent, state) = (context.traceparent(), context.tracestate());
    Ok(
        json!({ "traceparent": parent.unwrap_or_default(), "tracestate": state.unwrap_or_default() }),
    )
}

/// Tells the listeners of the channel `versions` which version this is.
async fn announce(context: Context, _: Value) -> Result<&'static str, Error> {
    let host = context.host();
    let data = json!({ "version": version() });
    host.publish_event("versions", "version", &data).await?;
    Ok(version())
}

/// The registered name: that of the executable.
fn name() -> String {
    let program = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn main() -> std::process::ExitCode {
    Plugin::new(&name(), "1.0.0")
        .function("version", async |_, _: Value| Ok::<_, Error>(version()))
        .function("announce", announce)
        .function("trace", trace)
        .raw_function("ask_host", ask_host)
        .run()
}
