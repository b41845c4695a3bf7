//! Handlers: arguments, errors, panics, and the host API from inside of a call.

use std::collections::BTreeMap;
use std::sync::Arc;

use gk_plugin::{Context, Error, Plugin};
use gk_protocol::plugin::{Call, PluginHandler};
use serde::Deserialize;

#[derive(Deserialize)]
struct Add {
    a: i64,
    #[serde(default)]
    b: i64,
}

fn plugin() -> Plugin {
    Plugin::new("test", "1.0.0")
        .function("add", async |_: Context, add: Add| {
            Ok::<_, Error>(add.a + add.b)
        })
        .function("none", async |_: Context, _: ()| Ok::<_, Error>("ok"))
        .function("missing", async |_: Context, _: ()| {
            Err::<(), _>(Error::with_status(404, "no such thing"))
        })
        .function("io", async |_: Context, _: ()| {
            std::fs::read_to_string("/nowhere/at/all")
                .map_err(Error::from)
                .map(|_| ())
        })
        .function("panics", async |_: Context, _: ()| -> Result<(), Error> {
            panic!("at the {}", "disco")
        })
        .blocking_function("slow", |_: Context, n: u32| -> Result<u32, Error> {
            if n == 0 { panic!("zero") } else { Ok(n * 2) }
        })
}

async fn call(
    plugin: &Arc<dyn PluginHandler>,
    function: &str,
    args: &str,
) -> Result<String, String> {
    let reply = plugin
        .call(Call::new(function, args.to_owned().into(), ""))
        .await?;
    Ok(String::from_utf8(reply.to_vec()).unwrap())
}

#[tokio::test]
async fn arguments_and_results_are_typed() {
    let plugin = plugin().into_handler();
    assert_eq!(
        call(&plugin, "add", r#"{"a":1,"b":2,"_user_id":7}"#)
            .await
            .unwrap(),
        "3"
    );
    assert_eq!(call(&plugin, "none", "").await.unwrap(), "\"ok\"");
    assert_eq!(
        call(&plugin, "none", r#"{"_path":"/x"}"#).await.unwrap(),
        "\"ok\""
    );
    let wrong = call(&plugin, "add", r#"{"a":"x"}"#).await.unwrap();
    assert!(
        wrong.contains("\"status\":400") && wrong.contains("arguments of add"),
        "{wrong}"
    );
    let absent = call(&plugin, "add", "").await.unwrap();
    assert!(absent.contains("missing field `a`"), "{absent}");
    let malformed = call(&plugin, "none", "{").await;
    assert_eq!(
        malformed.as_deref(),
        Ok("\"ok\""),
        "a function without arguments does not look at them"
    );
}

#[tokio::test]
async fn errors_are_texts_and_may_carry_a_status() {
    let plugin = plugin().into_handler();
    assert_eq!(
        call(&plugin, "missing", "").await.unwrap(),
        r#"{"error":"no such thing","status":404}"#
    );
    assert!(
        call(&plugin, "io", "")
            .await
            .unwrap_err()
            .contains("No such file")
    );
    assert_eq!(
        call(&plugin, "other", "").await.unwrap_err(),
        "unknown function: other"
    );
}

#[tokio::test]
async fn a_panic_is_contained_to_its_call() {
    let plugin = plugin().into_handler();
    assert_eq!(
        call(&plugin, "panics", "").await.unwrap_err(),
        "function \"panics\" panicked; the plugin's log says why"
    );
    assert_eq!(
        call(&plugin, "slow", "0").await.unwrap_err(),
        "function \"slow\" panicked; the plugin's log says why"
    );
    assert_eq!(call(&plugin, "slow", "21").await.unwrap(), "42");
    assert_eq!(call(&plugin, "none", "").await.unwrap(), "\"ok\"");
}

#[tokio::test]
async fn init_happens_once_and_may_refuse() {
    let refuses = Plugin::new("test", "1.0.0").on_init(async |context| {
        let key = context
            .config("key")
            .ok_or_else(|| Error::new("no key"))?
            .to_owned();
        Err(Error::new(format!("key is {key}")))
    });
    let plugin = refuses.into_handler();
    let config = BTreeMap::from([("key".to_owned(), "v".to_owned())]);
    assert_eq!(plugin.init(config, None).await, Err("key is v".to_owned()));
    assert_eq!(
        plugin.init(BTreeMap::new(), None).await,
        Err("the plugin is initialised already".to_owned())
    );
    let without_host = Plugin::new("test", "1.0.0")
        .function("ask", async |context: Context, _: ()| {
            context.host_call::<String>("time_now", &()).await
        })
        .into_handler();
    assert_eq!(
        call(&without_host, "ask", "").await,
        Err("the host offers no host API".to_owned())
    );
}

#[tokio::test]
async fn text_of_a_request_becomes_what_a_function_wants() {
    let plugin = plugin().into_handler();
    let args = r#"{"a":"1","b":"2","_method":"GET"}"#;
    assert_eq!(call(&plugin, "add", args).await.unwrap(), "3");
    assert_eq!(call(&plugin, "slow", "\"21\"").await.unwrap(), "42");
    let wrong = call(&plugin, "add", r#"{"a":"x"}"#).await.unwrap();
    assert!(wrong.contains("expected i64"), "{wrong}");
}

#[tokio::test]
async fn two_functions_of_one_name_are_an_error() {
    let twice = plugin().function("add", async |_: Context, _: ()| Ok::<_, Error>(1));
    let error = twice.into_handler().register().await.unwrap_err();
    assert!(error.contains("\"add\""), "{error}");
    plugin().into_handler().register().await.unwrap();
}
