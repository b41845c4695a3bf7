//! gk-wire alone against HashiCorp's library: the greeter of its `examples/basic`, hosts and plugins in Go and Rust,
//! with and without AutoMTLS.

use std::path::Path;

use crate::program;

#[expect(
    clippy::disallowed_methods,
    reason = "a host is under test, not a plugin"
)]
pub(crate) fn greeting(host: &Path, arguments: &[&Path]) -> String {
    let output = std::process::Command::new(host)
        .args(arguments)
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{host:?} {arguments:?}: {}\n{stdout}{stderr}",
        output.status
    );
    stdout.into_owned()
}

#[test]
fn hosts_and_plugins_of_both_libraries_understand_each_other() {
    let plugins = [program("greeter"), program("rust-greeter")];
    for plugin in &plugins {
        let go = program("greeterhost");
        let rust = program("rust-greeterhost");
        for (host, arguments) in [
            (&go, vec![plugin.as_path()]),
            (&go, vec![Path::new("-automtls"), plugin]),
            (&rust, vec![plugin.as_path()]),
            (&rust, vec![plugin, Path::new("--automtls")]),
        ] {
            let said = greeting(host, &arguments);
            assert!(said.contains("Hello!"), "{host:?} {arguments:?}: {said}");
        }
    }
}
