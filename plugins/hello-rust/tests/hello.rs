//! The plugin without a process: what it registers and what its functions answer.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use gk_manifest::Manifest;
use gk_plugin::testing::{TestHost, TestPlugin, User};
use serde_json::{Value, json};

async fn start() -> TestPlugin {
    TestHost::new().start(hello_rust::plugin()).await.unwrap()
}

#[tokio::test]
async fn it_is_what_the_manifest_says() {
    let plugin = start().await;
    let registration = plugin.registration();
    let (manifest, warnings) =
        Manifest::parse("plugin.yaml", include_bytes!("../plugin.yaml")).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(
        (&*registration.name, &*registration.version),
        (manifest.name.as_str(), &*manifest.version)
    );
    assert_eq!(registration.validate(), []);
    let route = &registration.routes[0];
    assert_eq!(
        (&*route.method, &*route.path),
        ("GET", "/api/plugins/hello-rust/status")
    );
    assert_eq!(route.middleware, ["auth"]);
}

#[tokio::test]
async fn the_route_is_for_those_who_are_known() {
    let plugin = start().await;
    let request = || plugin.get("/api/plugins/hello-rust/status");
    let status: Value = request().as_user(User::customer()).send().await.unwrap();
    assert_eq!(status, json!({"status": "running", "version": "1.0.0"}));
    let nobody = request().send::<Value>().await.unwrap_err();
    assert_eq!(nobody.status(), Some(401));
}

#[tokio::test]
async fn the_widget_and_the_echo_answer() {
    let plugin = start().await;
    assert!(
        plugin
            .widget("my-widget")
            .html()
            .await
            .unwrap()
            .contains("Rust")
    );
    let echoed: Value = plugin.call("echo", &[1, 2]).await.unwrap();
    assert_eq!(echoed, json!([1, 2]));
    let unknown = plugin.call::<Value>("nothing", &()).await.unwrap_err();
    assert_eq!(unknown.to_string(), "unknown function: nothing");
    plugin.shutdown().await.unwrap();
}
