//! Containers a plugin would like to have beside it. This crate reads the wish; whoever deploys
//! decides.

use std::collections::{BTreeMap, HashSet};

use super::fields::Fields;
use crate::limits;
use crate::validate::join;

/// A companion container (`sidecars[]`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SidecarSpec {
    /// Name of the container.
    pub name: String,
    /// The image to run.
    pub image: String,
    /// Ports, as the container tool writes them.
    pub ports: Vec<String>,
    /// Environment.
    pub env: BTreeMap<String, String>,
    /// Volumes, each `host:container`.
    pub volumes: Vec<String>,
    /// `true` if it asks for a privileged container.
    pub privileged: bool,
    /// Memory in MiB; 128 when not given.
    pub memory_mb: u32,
    /// Thousandths of a processor; 200 when not given.
    pub cpu_millis: u32,
    /// Check of the container's health.
    pub healthcheck: Option<HealthcheckSpec>,
}

/// Check of a sidecar's health.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthcheckSpec {
    /// Command and arguments.
    pub command: Vec<String>,
    /// Time between checks in Go's duration syntax; `10s` when not given.
    pub interval: String,
}

pub(super) fn read(mut fields: Fields<'_>, field: &str) -> SidecarSpec {
    let name = fields.text("name");
    fields
        .report()
        .unique_id(&join(field, "name"), &name, &mut HashSet::new());
    let image = fields.text("image");
    fields.report().required(
        &join(field, "image"),
        &image,
        limits::PATH_BYTES_MAX,
        "name a container image",
    );
    let mut number = |key: &'static str, default: u32| {
        let value = fields.integer(key);
        match u32::try_from(value) {
            Ok(0) => default,
            Ok(value) => value,
            Err(_) => {
                let path = fields.path(key);
                fields.report().error(
                    &path,
                    format!("{value} is out of range"),
                    format!("leave it out for {default}"),
                );
                default
            }
        }
    };
    let memory_mb = number("memory_mb", 128);
    let cpu_millis = number("cpu_millis", 200);
    let volumes = fields.texts("volumes", limits::LIST_ENTRIES_MAX);
    for (number, volume) in volumes.iter().enumerate() {
        if !volume.contains(':') {
            let path = crate::validate::index(&join(field, "volumes"), number);
            fields.report().error(
                &path,
                "is not `host:container`",
                "write both paths with a colon between them",
            );
        }
    }
    let healthcheck = fields.nested("healthcheck", |mut fields| {
        let command = fields.texts("command", limits::LIST_ENTRIES_MAX);
        let mut interval = fields.text("interval");
        let path = fields.path("interval");
        fields.report().timeout(&path, &interval);
        if interval.is_empty() {
            interval = "10s".into();
        }
        fields.finish();
        HealthcheckSpec { command, interval }
    });
    let spec = SidecarSpec {
        name,
        image,
        ports: fields.texts("ports", limits::LIST_ENTRIES_MAX),
        env: fields.text_map("env", limits::LIST_ENTRIES_MAX),
        volumes,
        privileged: fields.boolean("privileged"),
        memory_mb,
        cpu_millis,
        healthcheck,
    };
    fields.finish();
    spec
}
