//! gk-wire alone against HashiCorp's library: the greeter of its `examples/basic`, hosts and plugins in Go and Rust,
//! with and without AutoMTLS.

use std::path::Path;

use crate::program;

pub(crate) fn greeting(host: &Path, arguments: &[&Path]) -> String {
    greeting_with("", host, arguments)
}

/// The same, with this `GREETER_TLS`.
#[expect(
    clippy::disallowed_methods,
    reason = "a host is under test, not a plugin"
)]
fn greeting_with(tls: &str, host: &Path, arguments: &[&Path]) -> String {
    let mut command = std::process::Command::new(host);
    if !tls.is_empty() {
        command.env("GREETER_TLS", tls);
    }
    let output = command.args(arguments).output().unwrap();
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

/// A certificate that both sides were given beforehand: in Go by `TLSProvider` and `TLSConfig`.
#[test]
fn hosts_and_plugins_speak_under_tls_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let made = |name: &str| {
        let names = vec!["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let (cert, key) = (
            dir.path().join(format!("{name}.pem")),
            dir.path().join(format!("{name}.key")),
        );
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (cert, key)
    };
    let ((cert, key), (other, _)) = (made("one"), made("other"));
    let files = format!("{}:{}", cert.display(), key.display());
    let (go, rust) = (program("greeterhost"), program("rust-greeterhost"));
    for plugin in [program("greeter"), program("rust-greeter")] {
        let with = |cert: &Path| format!("--tls={}", cert.display());
        let trusting = with(&cert);
        let said = greeting_with(
            &files,
            &go,
            &[Path::new("-tls"), cert.as_path(), plugin.as_path()],
        );
        assert!(said.contains("Hello!"), "{plugin:?}: {said}");
        let said = greeting_with(&files, &rust, &[plugin.as_path(), Path::new(&trusting)]);
        assert!(said.contains("Hello!"), "{plugin:?}: {said}");
        // Somebody else's certificate, and none at all.
        for option in [Some(with(&other)), None] {
            let mut arguments = vec![plugin.as_path()];
            arguments.extend(option.as_deref().map(Path::new));
            let refused = std::panic::catch_unwind(|| greeting_with(&files, &rust, &arguments));
            assert!(refused.is_err(), "{plugin:?} {option:?}: {refused:?}");
        }
    }
}
