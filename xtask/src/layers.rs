//! `cargo xtask layers`: who may import whom, proven from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand};

use crate::command::{root, say};
use crate::modules;

/// Crates of the workspace that a crate may import.
enum May {
    /// Only these.
    Import(&'static [&'static str]),
    /// Everything of floors 0 to 2 but the SDK and the services.
    ImportBelowRuntime,
    /// Everything that may be imported at all.
    ImportAll,
}

/// The floors: number, crate, what it imports. A crate that is not listed is an error: a new room
/// needs a floor.
///
/// Tests (dev-dependencies) may import every lower floor: a plugin's test plays the host, and the
/// other way round.
const FLOORS: &[(u8, &str, May)] = &[
    (0, "gk-manifest", May::Import(&[])),
    (0, "gk-wire", May::Import(&[])),
    (0, "gk-sandbox", May::Import(&[])),
    (0, "gk-sign", May::Import(&[])),
    (0, "gk-package", May::Import(&[])),
    (0, "gk-sqlguard", May::Import(&[])),
    // Servers for tests: only those import it.
    (0, "gk-servers", May::Import(&[])),
    // Helpers of tests: any crate's tests may import it.
    (0, "gk-testkit", May::Import(&[])),
    (1, "gk-protocol", May::Import(&["gk-manifest", "gk-wire"])),
    (1, "gk-api", May::Import(&["gk-manifest"])),
    (1, "gk-jobs", May::Import(&["gk-manifest"])),
    (
        2,
        "gk-hostapi",
        May::Import(&["gk-manifest", "gk-sqlguard"]),
    ),
    // Beside the runtime, which knows the interface alone.
    (
        2,
        "gk-services",
        May::Import(&["gk-hostapi", "gk-jobs", "gk-manifest", "gk-sqlguard"]),
    ),
    (
        2,
        "gk-plugin",
        May::Import(&["gk-protocol", "gk-manifest", "gk-wire"]),
    ),
    // Implements the stores' interfaces, which the services have.
    (
        3,
        "gk-cluster",
        May::Import(&["gk-hostapi", "gk-jobs", "gk-manifest", "gk-services"]),
    ),
    (3, "gk-runtime", May::ImportBelowRuntime),
    (
        4,
        "gk-gateway",
        May::Import(&[
            "gk-runtime",
            "gk-hostapi",
            "gk-services",
            "gk-jobs",
            "gk-cluster",
            "gk-api",
            "gk-manifest",
        ]),
    ),
    (
        4,
        "gk-cli",
        // The wire and the sandbox for plugins that it starts itself, without a host.
        May::Import(&[
            "gk-api",
            "gk-manifest",
            "gk-package",
            "gk-protocol",
            "gk-sandbox",
            "gk-sign",
            "gk-wire",
        ]),
    ),
    (5, "gk-host", May::ImportAll),
    (6, "gk-bench", May::ImportAll),
    (6, "gk-e2e", May::ImportAll),
    (6, "xtask", May::ImportAll),
    // A plugin sees the SDK and nothing else.
    (3, "hello-rust", May::Import(&["gk-plugin"])),
];

/// Crates that only tests import, whatever their floor.
const FOR_TESTS: &[&str] = &["gk-servers", "gk-testkit"];

/// Floors 0 to 2 without the SDK and the services: what the runtime may import. Both are beside it: a
/// supervisor knows neither its plugins' side nor databases.
const BELOW_RUNTIME: &[&str] = &[
    "gk-manifest",
    "gk-wire",
    "gk-sandbox",
    "gk-sign",
    "gk-package",
    "gk-sqlguard",
    "gk-protocol",
    "gk-jobs",
    "gk-hostapi",
];

/// Crates nobody imports.
const ROOFS: &[&str] = &["gk-host", "gk-cli", "gk-bench", "gk-e2e", "xtask"];

/// HTTP types stay at the gateway and above it.
const HTTP: &[&str] = &[
    "http",
    "http-body",
    "hyper",
    "hyper-util",
    "axum",
    "tower-http",
];
const HTTP_ALLOWED: &[&str] = &[
    "gk-servers",
    "gk-gateway",
    "gk-host",
    "gk-cli",
    "gk-e2e",
    "xtask",
];

/// Crates that run without an async runtime, whatever they import and however indirectly.
const NO_TOKIO: &[&str] = &["gk-manifest", "gk-sign", "gk-package", "gk-sqlguard"];

/// The only part of gk-wire that may know of sockets, clocks and tasks.
const WIRE_ADAPTER: &str = "net";
const IMPURE: &[&str] = &[
    "tokio::",
    "rustix::",
    "std::net",
    "std::os::",
    "std::thread",
    "Instant::now",
    "SystemTime",
];

/// The imports of the workspace.
#[derive(Default)]
struct Graph {
    /// Crate of the workspace → what it imports directly, for itself or its build script.
    direct: BTreeMap<String, BTreeSet<String>>,
    /// Crate of the workspace → what its tests import besides.
    tests: BTreeMap<String, BTreeSet<String>>,
    /// Crate of the workspace → everything in its normal build, however indirect.
    reachable: BTreeMap<String, BTreeSet<String>>,
    /// Crates of the workspace whose build script starts a program.
    commanding_build_scripts: BTreeSet<String>,
}

/// Checks the workspace.
pub(crate) fn run() -> Result<()> {
    let metadata = MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .features(CargoOpt::AllFeatures)
        .exec()
        .context("cannot read the workspace's metadata")?;
    let graph = read(&metadata)?;
    let mut violations = check(&graph);
    violations.extend(impure_core(&root().join("crates/gk-wire/src"))?);
    for package in metadata.workspace_packages() {
        let dir = package.manifest_path.parent().context("no directory")?;
        for circle in modules::circles(dir.join("src").as_std_path())? {
            violations.push(format!(
                "{} has modules that import each other in a circle:\n{}",
                package.name, circle.arrows
            ));
        }
    }
    if violations.is_empty() {
        say(format!(
            "layers: {} crates are on their floors",
            graph.direct.len()
        ));
        return Ok(());
    }
    bail!("{}\nsee docs/architecture.md", violations.join("\n"));
}

fn read(metadata: &Metadata) -> Result<Graph> {
    let resolve = metadata
        .resolve
        .as_ref()
        .context("cargo metadata has no resolved graph")?;
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let names: BTreeMap<_, _> = metadata
        .packages
        .iter()
        .map(|p| (&p.id, p.name.to_string()))
        .collect();
    let mut graph = Graph::default();
    for package in metadata.workspace_packages() {
        let name = package.name.to_string();
        let imports = |tests: bool| {
            let imports = package.dependencies.iter();
            let imports = imports.filter(|d| (d.kind == DependencyKind::Development) == tests);
            imports.map(|dependency| dependency.name.clone()).collect()
        };
        graph.tests.insert(name.clone(), imports(true));
        graph.direct.insert(name.clone(), imports(false));
        let mut seen = BTreeSet::new();
        let mut queue = vec![&package.id];
        while let Some(id) = queue.pop() {
            let node = nodes
                .get(id)
                .with_context(|| format!("{id} is not in the resolved graph"))?;
            for dependency in &node.deps {
                let normal = dependency
                    .dep_kinds
                    .iter()
                    .any(|kind| kind.kind == DependencyKind::Normal);
                if normal && seen.insert(&dependency.pkg) {
                    queue.push(&dependency.pkg);
                }
            }
        }
        let reachable = seen
            .into_iter()
            .filter_map(|id| names.get(id).cloned())
            .collect();
        graph.reachable.insert(name.clone(), reachable);
        for target in package
            .targets
            .iter()
            .filter(|target| target.is_custom_build())
        {
            let source = fs::read_to_string(&target.src_path)
                .with_context(|| format!("cannot read {}", target.src_path))?;
            if source.contains("Command") {
                graph.commanding_build_scripts.insert(name.clone());
            }
        }
    }
    Ok(graph)
}

/// Every violation, one sentence each.
fn check(graph: &Graph) -> Vec<String> {
    let mut violations = Vec::new();
    for (name, imports) in &graph.direct {
        let Some((floor, _, may)) = FLOORS.iter().find(|(_, known, _)| known == name) else {
            violations.push(format!(
                "{name} has no floor: give it one in xtask/src/layers.rs and docs/architecture.md"
            ));
            continue;
        };
        for import in imports {
            let inside = graph.direct.contains_key(import);
            let allowed = match may {
                _ if !inside => true,
                _ if ROOFS.contains(&import.as_str()) => false,
                May::Import(list) => list.contains(&import.as_str()),
                May::ImportBelowRuntime => BELOW_RUNTIME.contains(&import.as_str()),
                May::ImportAll => true,
            };
            if !allowed {
                violations.push(format!(
                    "{name} imports {import}, which its floor does not allow"
                ));
            }
            if HTTP.contains(&import.as_str()) && !HTTP_ALLOWED.contains(&name.as_str()) {
                violations.push(format!(
                    "{name} imports {import}: HTTP types stay at the gateway and above"
                ));
            }
        }
        for import in graph.tests.get(name).into_iter().flatten() {
            let inside = graph.direct.contains_key(import);
            let lower = FLOORS
                .iter()
                .any(|(below, known, _)| known == import && below < floor);
            let lower = lower || FOR_TESTS.contains(&import.as_str());
            if inside && (!lower || ROOFS.contains(&import.as_str())) {
                violations.push(format!(
                    "{name}'s tests import {import}, which is not on a lower floor"
                ));
            }
        }
    }
    for name in NO_TOKIO {
        if graph
            .reachable
            .get(*name)
            .is_some_and(|all| all.contains("tokio"))
        {
            violations.push(format!(
                "{name} brings in tokio: it has to work without a runtime"
            ));
        }
    }
    for name in &graph.commanding_build_scripts {
        violations.push(format!(
            "{name} starts a program from its build script: xtask builds what is not Rust"
        ));
    }
    violations
}

/// Lines of gk-wire's core that know of sockets, clocks or tasks.
fn impure_core(source: &Path) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    let mut queue = vec![source.to_owned()];
    while let Some(directory) = queue.pop() {
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("cannot read {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            let inside = path.strip_prefix(source)?;
            if inside.starts_with(WIRE_ADAPTER) {
                continue;
            }
            if path.is_dir() {
                queue.push(path);
                continue;
            }
            for (number, line) in fs::read_to_string(&path)?.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                if let Some(word) = IMPURE.iter().find(|word| code.contains(**word)) {
                    let place = format!("gk-wire/src/{}:{}", inside.display(), number + 1);
                    violations.push(format!(
                        "{place} uses {word}: the core has no sockets, clocks or tasks"
                    ));
                }
            }
        }
    }
    violations.sort();
    Ok(violations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> Graph {
        let mut graph = Graph::default();
        for (name, imports) in edges {
            let imports: BTreeSet<_> = imports.iter().map(|import| (*import).to_owned()).collect();
            graph.reachable.insert((*name).to_owned(), imports.clone());
            graph.direct.insert((*name).to_owned(), imports);
        }
        graph
    }

    #[test]
    fn the_blueprint_itself_is_fine() {
        let graph = graph(&[
            ("gk-manifest", &["serde"]),
            ("gk-wire", &["tokio"]),
            ("gk-sandbox", &["rustix"]),
            ("gk-sign", &[]),
            ("gk-package", &["miniz_oxide"]),
            ("gk-protocol", &["gk-manifest", "gk-wire"]),
            ("gk-sqlguard", &["sqlparser"]),
            ("gk-hostapi", &["gk-manifest", "gk-sqlguard"]),
            ("gk-services", &["gk-hostapi", "gk-sqlguard", "reqwest"]),
            ("gk-plugin", &["gk-protocol"]),
            (
                "gk-runtime",
                &[
                    "gk-protocol",
                    "gk-sandbox",
                    "gk-sign",
                    "gk-hostapi",
                    "gk-manifest",
                ],
            ),
            ("gk-gateway", &["gk-runtime", "gk-manifest", "axum"]),
            ("gk-cli", &["gk-manifest", "gk-sign", "gk-package"]),
            (
                "gk-host",
                &["gk-gateway", "gk-runtime", "gk-sandbox", "gk-services"],
            ),
            ("gk-e2e", &["gk-wire", "gk-plugin"]),
            ("hello-rust", &["gk-plugin", "serde_json"]),
            ("xtask", &["clap"]),
        ]);
        assert_eq!(check(&graph), Vec::<String>::new());
    }

    #[test]
    fn every_never_is_found() {
        for (edges, expected) in [
            (
                &[("gk-manifest", &["gk-wire"][..]), ("gk-wire", &[])][..],
                "gk-manifest imports gk-wire",
            ),
            (
                &[("gk-wire", &["gk-protocol"]), ("gk-protocol", &[])],
                "gk-wire imports gk-protocol",
            ),
            (
                &[("gk-plugin", &["gk-runtime"]), ("gk-runtime", &[])],
                "gk-plugin imports gk-runtime",
            ),
            (
                &[("gk-plugin", &["gk-sandbox"]), ("gk-sandbox", &[])],
                "gk-plugin imports gk-sandbox",
            ),
            (
                &[("gk-runtime", &["gk-plugin"]), ("gk-plugin", &[])],
                "gk-runtime imports gk-plugin",
            ),
            (
                &[("gk-runtime", &["gk-gateway"]), ("gk-gateway", &[])],
                "gk-runtime imports gk-gateway",
            ),
            (
                &[("gk-runtime", &["gk-services"]), ("gk-services", &[])],
                "gk-runtime imports gk-services",
            ),
            (
                &[("gk-hostapi", &["gk-services"]), ("gk-services", &[])],
                "gk-hostapi imports gk-services",
            ),
            (
                &[("gk-sqlguard", &["gk-manifest"]), ("gk-manifest", &[])],
                "gk-sqlguard imports gk-manifest",
            ),
            (
                &[("gk-sandbox", &["gk-manifest"]), ("gk-manifest", &[])],
                "gk-sandbox imports gk-manifest",
            ),
            (
                &[("gk-cli", &["gk-runtime"]), ("gk-runtime", &[])],
                "gk-cli imports gk-runtime",
            ),
            (
                &[("gk-e2e", &["gk-host"]), ("gk-host", &[])],
                "gk-e2e imports gk-host",
            ),
            (
                &[("gk-host", &["xtask"]), ("xtask", &[])],
                "gk-host imports xtask",
            ),
            (
                &[("hello-rust", &["gk-wire"]), ("gk-wire", &[])],
                "hello-rust imports gk-wire",
            ),
            (
                &[("gk-runtime", &["axum"])],
                "gk-runtime imports axum: HTTP types",
            ),
            (
                &[("gk-manifest", &["tokio"])],
                "gk-manifest brings in tokio",
            ),
            (&[("gk-attic", &[])], "gk-attic has no floor"),
        ] {
            let found = check(&graph(edges));
            assert!(
                found.iter().any(|violation| violation.contains(expected)),
                "{expected}: {found:?}"
            );
        }
        let mut upward = graph(&[
            ("gk-wire", &[]),
            ("gk-runtime", &[]),
            ("hello-rust", &["gk-plugin"]),
            ("gk-plugin", &[]),
        ]);
        let tests = |of: &str, import: &str| (of.to_owned(), BTreeSet::from([import.to_owned()]));
        upward.tests = BTreeMap::from([
            tests("gk-runtime", "gk-plugin"),
            tests("hello-rust", "gk-wire"),
        ]);
        assert_eq!(check(&upward), Vec::<String>::new());
        upward.tests = BTreeMap::from([tests("gk-wire", "gk-runtime")]);
        assert_eq!(
            check(&upward),
            ["gk-wire's tests import gk-runtime, which is not on a lower floor"]
        );
        let mut graph = graph(&[("gk-host", &[])]);
        graph.commanding_build_scripts.insert("gk-host".to_owned());
        assert_eq!(check(&graph).len(), 1);
    }

    #[test]
    fn sockets_in_the_core_are_found() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("net")).unwrap();
        fs::create_dir_all(temp.path().join("gob")).unwrap();
        fs::write(
            temp.path().join("net/mod.rs"),
            "use tokio::net::UnixStream;\n",
        )
        .unwrap();
        fs::write(
            temp.path().join("gob/mod.rs"),
            "// tokio::spawn is not used here\nlet now = Instant::now();\n",
        )
        .unwrap();
        let found = impure_core(temp.path()).unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("gk-wire/src/gob/mod.rs:2 uses Instant::now"));
    }

    #[test]
    fn this_workspace_keeps_its_floors() {
        run().unwrap();
    }
}
