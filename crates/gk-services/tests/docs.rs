//! docs/hostapi.md says of each method what the code does.

use gk_hostapi::policy::Rate;
use gk_hostapi::{MethodSpec, NOT_PROVIDED, own_methods};

const DOCUMENT: &str = include_str!("../../../docs/hostapi.md");

/// The tables of the hosts in memory that the SDKs give to plugins' tests, and how a method and its
/// denial stand there.
const TEST_HOSTS: [(&str, &str, [&str; 3]); 2] = [
    (
        "plugins/sdk-go/pkg/plugin/plugintest/methods.go",
        include_str!("../../../plugins/sdk-go/pkg/plugin/plugintest/methods.go"),
        ["\"", "\":\"", "\""],
    ),
    (
        "crates/gk-plugin/src/testing/serve.rs",
        include_str!("../../gk-plugin/src/testing/serve.rs"),
        ["(\"", "\",\"", "\""],
    ),
];

/// The methods that a host of all services has.
fn methods() -> impl Iterator<Item = MethodSpec> {
    own_methods().chain(gk_services::methods())
}

/// The line that a method's section must have.
fn line(spec: &MethodSpec) -> String {
    let permission = match spec.permission {
        None => "none".to_owned(),
        Some(needs) => match needs.access {
            None => format!("`{}`", needs.kind.as_str()),
            Some(access) => format!("`{}` `{}`", needs.kind.as_str(), access.as_str()),
        },
    };
    let rate = match spec.rate {
        None => "none",
        Some(Rate::Db) => "DB queries per minute",
        Some(Rate::Http) => "HTTP requests per minute",
        Some(Rate::Mail) => "mails per minute",
        Some(Rate::Calls) => "calls per second",
    };
    format!("- Permission: {permission} · Rate: {rate}\n")
}

#[test]
fn every_method_has_its_section_and_no_other() {
    let sections: Vec<&str> = DOCUMENT.split("\n### `").skip(1).collect();
    let mut documented = Vec::new();
    for section in &sections {
        let (name, text) = section.split_once("`\n").unwrap();
        let spec = methods().find(|spec| spec.name == name);
        let spec =
            spec.unwrap_or_else(|| panic!("docs/hostapi.md has {name}, which does not exist"));
        let line = line(&spec);
        assert!(
            text.contains(&line),
            "docs/hostapi.md, {name}: there must be the line {line:?}"
        );
        for part in [
            "\n- Arguments: ",
            "\n- Result: ",
            "\n- Errors: ",
            "\n```go\n",
            "\n```rust\n",
        ] {
            assert!(
                text.contains(part),
                "docs/hostapi.md, {name}: {part:?} is missing"
            );
        }
        documented.push(name);
    }
    let missing = methods().map(|spec| spec.name);
    let missing: Vec<_> = missing.filter(|name| !documented.contains(name)).collect();
    assert!(
        missing.is_empty(),
        "docs/hostapi.md has no section of {missing:?}"
    );
    for name in NOT_PROVIDED {
        assert!(
            DOCUMENT.contains(&format!("`{name}`")),
            "docs/hostapi.md does not mention {name}"
        );
    }
}

/// A plugin's unit test meets the host's own words.
#[test]
fn the_test_hosts_of_the_sdks_have_every_method_and_its_denial() {
    let bare = |text: &str| text.split_whitespace().collect::<String>();
    let mut missing = Vec::new();
    for (path, source, [before, between, after]) in TEST_HOSTS {
        let source = bare(source);
        for spec in methods() {
            let (name, denied) = (spec.name, bare(spec.denied));
            let entry = match denied.is_empty() {
                true => format!("\"{name}\""),
                false => format!("{before}{name}{between}{denied}{after}"),
            };
            if !source.contains(&entry) {
                missing.push(format!("{path} lacks {entry}"));
            }
        }
        for name in NOT_PROVIDED {
            if !source.contains(&format!("\"{name}\"")) {
                missing.push(format!("{path} lacks {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}
