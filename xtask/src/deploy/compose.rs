//! The file of Compose: read by docker-compose, then held against the files around it.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::{Programs, settings};
use crate::command::{command, root};

const FILE: &str = "deploy/compose.yaml";
const CONFIGURATION: &str = "deploy/host.toml";
const BALANCER: &str = "deploy/haproxy.cfg";

/// Variables that who starts it sets.
const SECRETS: &[&str] = &[
    "POSTGRES_PASSWORD",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
    "GOATFLOW_SECURE_KEY",
];

/// Services that are plugin hosts.
const HOSTS: &[&str] = &["host1", "host2"];

/// What is mounted from this directory and put there by who starts it.
const BY_OPERATOR: &[&str] = &["plugins"];

/// The part of the file that is looked at; docker-compose checks the rest.
#[derive(Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
}

#[derive(Deserialize)]
struct Service {
    image: String,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    ports: Vec<serde_json::Value>,
    networks: BTreeMap<String, Option<Network>>,
    stop_grace_period: Option<String>,
}

#[derive(Deserialize)]
struct Network {
    ipv4_address: Option<String>,
}

/// The part of host.toml that the file depends on.
#[derive(Deserialize)]
struct Configuration {
    trusted_proxies: Vec<String>,
}

/// Checks the file, and the configuration that it mounts.
pub(super) fn check(programs: &Programs) -> Result<()> {
    for left_out in SECRETS {
        let set: Vec<_> = SECRETS.iter().filter(|name| *name != left_out).collect();
        ensure!(
            read(&set).is_err(),
            "{FILE} starts without {left_out}, which has to come from whoever starts it"
        );
    }
    let compose = read(&SECRETS.iter().collect::<Vec<_>>())?;
    let configuration = text(CONFIGURATION)?;
    settings::is_taken(CONFIGURATION, &programs.host, &configuration)?;
    fits(&compose, &configuration, &text(BALANCER)?)
}

fn text(file: &str) -> Result<String> {
    fs::read_to_string(root().join(file)).with_context(|| format!("cannot read {file}"))
}

/// Lets docker-compose read the file, with variables set.
fn read(variables: &[&&str]) -> Result<Compose> {
    let mut config = command("docker-compose");
    config.args(["--file", "compose.yaml", "config"]);
    // Paths in the file are relative to its directory.
    config.current_dir(root().join("deploy"));
    config
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    config.envs(variables.iter().map(|name| (**name, "placeholder")));
    let said = config.output().context("cannot start docker-compose")?;
    let stderr = String::from_utf8_lossy(&said.stderr);
    ensure!(
        said.status.success(),
        "docker-compose does not take {FILE}: {stderr}"
    );
    let stdout = String::from_utf8_lossy(&said.stdout);
    serde_saphyr::from_str(&stdout).with_context(|| format!("{FILE}: {stdout}"))
}

/// Holds the services against each other, the hosts' configuration and the balancer's.
fn fits(compose: &Compose, configuration: &str, balancer: &str) -> Result<()> {
    for (name, service) in &compose.services {
        let tag = service
            .image
            .rsplit('/')
            .next()
            .and_then(|last| last.split_once(':'));
        ensure!(
            tag.is_some_and(|(_, tag)| tag != "latest"),
            "{FILE}: {name} has the image {} without a version",
            service.image
        );
        for port in &service.ports {
            let is_local = port.to_string().contains("127.0.0.1:");
            ensure!(
                is_local,
                "{FILE}: {name} is reached from other machines, by {port}"
            );
        }
        mounted(name, service)?;
    }
    let service = |name: &str| {
        let found = compose.services.get(name);
        found.with_context(|| format!("{FILE} has no service {name}"))
    };
    let mut data = Vec::new();
    for name in HOSTS {
        let host = service(name)?;
        settings::are_variables(FILE, host.environment.keys().map(String::as_str))?;
        for (variable, value) in &host.environment {
            if let Some(server) = server(value) {
                service(server).with_context(|| format!("{FILE}: {name}: {variable}"))?;
            }
        }
        ensure!(
            host.image == concat!("goatkit:", env!("CARGO_PKG_VERSION")),
            "{FILE}: {name} is of {}, and this is {}",
            host.image,
            env!("CARGO_PKG_VERSION")
        );
        ensure!(
            host.stop_grace_period.as_deref() == Some("45s"),
            "{FILE}: {name} is killed before it has ended in order"
        );
        let volume = host
            .volumes
            .iter()
            .find(|volume| volume.contains(":/var/lib/goatkit/data"));
        data.push(volume.with_context(|| format!("{FILE}: {name} has no data directory"))?);
    }
    data.dedup();
    ensure!(
        data.len() == HOSTS.len(),
        "{FILE}: hosts share a data directory: {data:?}"
    );
    behind(service("proxy")?, configuration, balancer)
}

/// The server that a URL names, if it is a service of the file: one without a dot.
fn server(value: &str) -> Option<&str> {
    let (scheme, rest) = value.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let host = authority.rsplit('@').next()?.split(':').next()?;
    // Of an S3 URL it is the bucket.
    (scheme != "s3" && !host.contains('.')).then_some(host)
}

/// Files that are mounted are there.
fn mounted(name: &str, service: &Service) -> Result<()> {
    let deploy = root().join("deploy");
    for volume in &service.volumes {
        let source = volume.split(':').next().unwrap_or_default();
        let Some(file) = source.strip_prefix(&*deploy.to_string_lossy()) else {
            continue;
        };
        let file = file.trim_start_matches('/');
        ensure!(
            BY_OPERATOR.contains(&file) || deploy.join(file).is_file(),
            "{FILE}: {name} mounts {file}, which is not in deploy/"
        );
    }
    Ok(())
}

/// The balancer has what its configuration asks for, and the hosts believe it.
fn behind(proxy: &Service, configuration: &str, balancer: &str) -> Result<()> {
    for variable in balancer_variables(balancer) {
        ensure!(
            proxy.environment.contains_key(variable),
            "{BALANCER} asks for {variable}, which {FILE} does not set"
        );
    }
    let address = proxy.networks.get("front").and_then(Option::as_ref);
    let address = address.and_then(|network| network.ipv4_address.as_ref());
    let address = address.with_context(|| format!("{FILE}: the proxy has no fixed address"))?;
    let configuration: Configuration = toml::from_str(configuration).context(CONFIGURATION)?;
    if !configuration.trusted_proxies.contains(address) {
        bail!("{CONFIGURATION} does not trust the proxy of {FILE}, {address}");
    }
    Ok(())
}

/// The variables in HAProxy's configuration.
fn balancer_variables(balancer: &str) -> impl Iterator<Item = &str> {
    balancer
        .split("\"$")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> (Compose, String, String) {
        let compose = read(&SECRETS.iter().collect::<Vec<_>>()).unwrap();
        (
            compose,
            text(CONFIGURATION).unwrap(),
            text(BALANCER).unwrap(),
        )
    }

    /// A mistake in the file.
    type Mistake = fn(&mut Compose);

    #[test]
    fn each_mistake_is_found() {
        let (compose, configuration, balancer) = all();
        fits(&compose, &configuration, &balancer).unwrap();
        let mistakes: [(Mistake, &str); 8] = [
            (
                |all| of(all, "redis").image = "docker.io/library/redis".into(),
                "without a version",
            ),
            (
                |all| of(all, "redis").image = "redis:latest".into(),
                "without a version",
            ),
            (
                |all| of(all, "host1").image = "goatkit:0.0.1".into(),
                "and this is",
            ),
            (
                |all| of(all, "host1").stop_grace_period = None,
                "before it has ended",
            ),
            (
                |all| {
                    let shared = of(all, "host2").volumes.clone();
                    of(all, "host1").volumes = shared;
                },
                "share a data directory",
            ),
            (
                |all| {
                    of(all, "host1")
                        .environment
                        .insert("GK_LISTENS".into(), "x".into());
                },
                "GK_LISTENS",
            ),
            (
                |all| {
                    let url = "redis://cache:6379".to_owned();
                    of(all, "host1")
                        .environment
                        .insert("GK_CLUSTER_REDIS_URL".into(), url);
                },
                "no service cache",
            ),
            (
                |all| {
                    of(all, "proxy").environment.remove("GOATKIT_HOST_2");
                },
                "GOATKIT_HOST_2",
            ),
        ];
        for (mistake, what) in mistakes {
            let (mut compose, configuration, balancer) = all();
            mistake(&mut compose);
            let error = fits(&compose, &configuration, &balancer).unwrap_err();
            assert!(format!("{error:#}").contains(what), "{what}: {error:#}");
        }
        let other = configuration.replace("172.30.0.2", "172.30.0.3");
        let error = fits(&compose, &other, &balancer).unwrap_err();
        assert!(format!("{error:#}").contains("does not trust"), "{error:#}");
    }

    fn of<'a>(compose: &'a mut Compose, name: &str) -> &'a mut Service {
        compose.services.get_mut(name).unwrap()
    }

    #[test]
    fn servers_are_found_in_urls() {
        assert_eq!(
            server("postgres://u:p@postgres/db?sslmode=disable"),
            Some("postgres")
        );
        assert_eq!(server("redis://redis:6379"), Some("redis"));
        for other in ["s3://bucket/prefix", "https://s3.example/x", "/etc/x"] {
            assert_eq!(server(other), None, "{other}");
        }
    }
}
