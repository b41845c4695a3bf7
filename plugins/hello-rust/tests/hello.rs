//! The plugin without a process: what it registers and what its functions answer.

use std::collections::BTreeMap;

use gk_manifest::Manifest;
use gk_protocol::plugin::Call;
use serde_json::{Value, json};

#[tokio::test]
async fn it_is_what_the_tutorial_says() {
    let plugin = hello_rust::plugin().into_handler();
    let registration = plugin.register().await.unwrap();
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

    plugin.init(BTreeMap::new(), None).await.unwrap();
    let call = async |function: &str, args: &str| -> Result<Value, String> {
        let result = plugin
            .call(Call::new(function, args.to_owned().into(), ""))
            .await?;
        Ok(serde_json::from_slice(&result).unwrap())
    };
    let status = call("get_status", r#"{"_method":"GET"}"#).await.unwrap();
    assert_eq!(status, json!({"status": "running", "version": "1.0.0"}));
    assert!(
        call("render_widget", "").await.unwrap()["html"]
            .as_str()
            .unwrap()
            .contains("Rust")
    );
    assert_eq!(call("echo", "[1,2]").await.unwrap(), json!([1, 2]));
    assert_eq!(
        call("nothing", "").await,
        Err("unknown function: nothing".to_owned())
    );
}
