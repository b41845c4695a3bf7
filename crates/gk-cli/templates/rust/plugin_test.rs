//! The plugin without a host: what it registers, and what its functions answer.

use std::collections::BTreeMap;

use gk_manifest::Manifest;
use gk_protocol::plugin::Call;

#[tokio::test]
async fn functions() {
    let plugin = {{lib}}::plugin().into_handler();
    plugin.init(BTreeMap::new(), None).await.unwrap();
    let call = async |function: &str| {
        let result = plugin.call(Call::new(function, "{}".into(), "")).await?;
        Ok::<serde_json::Value, String>(serde_json::from_slice(&result).unwrap())
    };
    assert_eq!(call("get_status").await.unwrap()["status"], "running");
    assert!(call("render_widget").await.unwrap()["html"].is_string());
    call("nothing").await.unwrap_err();
}

/// The host refuses a plugin whose plugin.yaml says something else than its registration.
#[tokio::test]
async fn the_manifest_agrees_with_the_registration() {
    let registration = {{lib}}::plugin().into_handler().register().await.unwrap();
    let (manifest, warnings) =
        Manifest::parse("plugin.yaml", include_bytes!("../plugin.yaml")).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(registration.name, manifest.name.as_str());
    assert_eq!(registration.version, manifest.version);
    assert_eq!(registration.validate(), []);
}
