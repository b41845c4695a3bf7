//! Each manifest is what Kubernetes takes, and they fit one another, the image and the host.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, Namespace, PodSpec, Probe, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::*;

const DIRECTORY: &str = "deploy/kubernetes";

/// Seconds that the host may take for its end: requests, then plugins, then the rest.
const HOST_ENDS_SECONDS: i64 = 10 + 15 + 5;

/// A file, as data.
fn data(file: &str) -> Value {
    let path = root().join(DIRECTORY).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Data of a type: all of it, so that a key that the type does not know is an error.
fn typed<T: DeserializeOwned + Serialize>(file: &str, data: &Value) -> Result<T, String> {
    let typed: T =
        serde_json::from_value(data.clone()).map_err(|error| format!("{file}: {error}"))?;
    let back = serde_json::to_value(&typed).map_err(|error| format!("{file}: {error}"))?;
    match difference("", data, &back) {
        Some(path) => Err(format!("{file}: Kubernetes does not know {path}")),
        None => Ok(typed),
    }
}

/// Where two values differ.
fn difference(path: &str, one: &Value, other: &Value) -> Option<String> {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: BTreeSet<_> = one.keys().chain(other.keys()).collect();
            keys.into_iter().find_map(|key| {
                let of = |map: &serde_json::Map<String, Value>| {
                    map.get(key).cloned().unwrap_or_default()
                };
                difference(&format!("{path}.{key}"), &of(one), &of(other))
            })
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let mut pairs = one.iter().zip(other).enumerate();
            pairs.find_map(|(at, (one, other))| difference(&format!("{path}[{at}]"), one, other))
        }
        _ => (one != other).then(|| path.to_owned()),
    }
}

fn read<T: DeserializeOwned + Serialize>(file: &str) -> T {
    typed(file, &data(file)).unwrap_or_else(|error| panic!("{error}"))
}

/// The Prometheus operator's object, as far as it is used.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ServiceMonitor {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: ServiceMonitorSpec,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ServiceMonitorSpec {
    selector: LabelSelector,
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Endpoint {
    port: String,
    path: String,
    interval: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Kustomization {
    api_version: String,
    kind: String,
    namespace: String,
    resources: Vec<String>,
    images: Vec<Image>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Image {
    name: String,
    new_name: String,
    new_tag: String,
}

fn deployment() -> (Deployment, PodSpec, Container) {
    let deployment: Deployment = read("deployment.yaml");
    let pod = deployment.spec.clone().unwrap().template.spec.unwrap();
    let [container] = &pod.containers[..] else {
        panic!("a pod has one container");
    };
    let container = container.clone();
    (deployment, pod, container)
}

fn labels() -> BTreeMap<String, String> {
    let (deployment, ..) = deployment();
    let template = deployment.spec.unwrap().template;
    template.metadata.unwrap().labels.unwrap()
}

/// Numbers of the container's ports by their names.
fn ports(container: &Container) -> BTreeMap<String, i32> {
    let ports = container.ports.iter().flatten();
    ports
        .map(|port| (port.name.clone().unwrap(), port.container_port))
        .collect()
}

fn named(port: &IntOrString) -> &str {
    match port {
        IntOrString::String(name) => name,
        IntOrString::Int(number) => panic!("port {number} is given by number"),
    }
}

#[test]
fn a_key_that_kubernetes_does_not_know_is_found() {
    let mut wrong = data("deployment.yaml");
    let pod = wrong["spec"]["template"]["spec"].as_object_mut().unwrap();
    pod.insert("hostUser".into(), false.into());
    let error = typed::<Deployment>("x", &wrong).unwrap_err();
    assert_eq!(
        error,
        "x: Kubernetes does not know .spec.template.spec.hostUser"
    );
    let mut wrong = data("service.yaml");
    wrong["spec"]["ports"][0]["port"] = "http".into();
    assert!(typed::<Service>("x", &wrong).is_err());
    let mut wrong = data("service.yaml");
    wrong["kind"] = "Services".into();
    assert!(typed::<Service>("x", &wrong).is_err());
    let mut wrong = data("service-monitor.yaml");
    wrong["spec"]["endpoints"][0]["scheme"] = "http".into();
    assert!(typed::<ServiceMonitor>("x", &wrong).is_err());
}

#[test]
fn each_manifest_is_what_kubernetes_takes_and_is_listed() {
    let kustomization: Kustomization = read("kustomization.yaml");
    let namespace: Namespace = read("namespace.yaml");
    assert_eq!(namespace.metadata.name, Some(kustomization.namespace));
    let account: ServiceAccount = read("service-account.yaml");
    assert_eq!(account.automount_service_account_token, Some(false));
    let _: ConfigMap = read("config.yaml");
    let _: Secret = read("secret.example.yaml");
    let _: Deployment = read("deployment.yaml");
    let _: Service = read("service.yaml");
    let _: PodDisruptionBudget = read("pod-disruption-budget.yaml");
    let _: NetworkPolicy = read("network-policy.yaml");
    let _: Ingress = read("ingress.yaml");
    let monitor: ServiceMonitor = read("service-monitor.yaml");
    assert_eq!(
        (&*monitor.api_version, &*monitor.kind),
        ("monitoring.coreos.com/v1", "ServiceMonitor")
    );
    let listed: BTreeSet<_> = kustomization.resources.into_iter().collect();
    let files = fs::read_dir(root().join(DIRECTORY)).unwrap();
    let files = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let others = ["kustomization.yaml", "secret.example.yaml"];
    let there: BTreeSet<_> = files.filter(|file| !others.contains(&&**file)).collect();
    assert_eq!(listed, there);
    // A listed file that no line above reads would be checked by nobody.
    assert_eq!(there.len(), 9);
    let [image] = &kustomization.images[..] else {
        panic!("there is one image");
    };
    let (.., container) = deployment();
    assert_eq!(container.image.as_ref(), Some(&image.name));
    assert_eq!(image.new_tag, env!("CARGO_PKG_VERSION"));
}

#[test]
fn selectors_choose_the_pods() {
    let labels = labels();
    let (deployment, pod, _) = deployment();
    let deployment = deployment.spec.unwrap();
    assert!(deployment.replicas.unwrap() >= 2);
    let service: Service = read("service.yaml");
    let service_labels = service.metadata.labels.clone().unwrap();
    let budget: PodDisruptionBudget = read("pod-disruption-budget.yaml");
    let policy: NetworkPolicy = read("network-policy.yaml");
    let monitor: ServiceMonitor = read("service-monitor.yaml");
    let spread = pod.topology_spread_constraints.unwrap();
    let selectors = [
        deployment.selector.match_labels,
        service.spec.unwrap().selector,
        budget.spec.unwrap().selector.unwrap().match_labels,
        policy.spec.unwrap().pod_selector.unwrap().match_labels,
        spread[0].label_selector.clone().unwrap().match_labels,
    ];
    for selector in selectors {
        assert_eq!(selector.as_ref(), Some(&labels));
    }
    assert_eq!(monitor.spec.selector.match_labels, Some(service_labels));
}

#[test]
fn ports_exist_where_they_are_named() {
    let (.., container) = deployment();
    let ports = ports(&container);
    let configuration: toml::Table = configuration().unwrap().parse().unwrap();
    for (name, key) in [("http", "listen"), ("health", "health_listen")] {
        assert_eq!(
            configuration[key].as_str(),
            Some(&*format!(":{}", ports[name]))
        );
    }
    let service: Service = read("service.yaml");
    let service_ports = service.spec.unwrap().ports.unwrap();
    for port in &service_ports {
        assert!(ports.contains_key(named(port.target_port.as_ref().unwrap())));
    }
    let offers = |name: &str| {
        service_ports
            .iter()
            .any(|port| port.name.as_deref() == Some(name))
    };
    let monitor: ServiceMonitor = read("service-monitor.yaml");
    assert!(
        monitor
            .spec
            .endpoints
            .iter()
            .all(|endpoint| offers(&endpoint.port))
    );
    let ingress: Ingress = read("ingress.yaml");
    let rules = ingress.spec.unwrap().rules.unwrap();
    let backend = rules[0].http.clone().unwrap().paths[0]
        .backend
        .service
        .clone()
        .unwrap();
    assert_eq!(Some(backend.name), service.metadata.name);
    assert!(offers(&backend.port.unwrap().name.unwrap()));
    let policy: NetworkPolicy = read("network-policy.yaml");
    for rule in policy.spec.unwrap().ingress.unwrap() {
        for port in rule.ports.unwrap() {
            assert!(ports.contains_key(named(&port.port.unwrap())));
        }
    }
}

#[test]
fn probes_ask_for_endpoints_of_the_host_and_the_end_is_waited_for() {
    let (_, pod, container) = deployment();
    let ports = ports(&container);
    let operations = fs::read_to_string(root().join("docs/operations.md")).unwrap();
    let path = |probe: &Option<Probe>| {
        let asked = probe.clone().unwrap().http_get.unwrap();
        assert!(ports.contains_key(named(&asked.port)));
        let path = asked.path.unwrap();
        assert!(operations.contains(&format!("`GET {path}`")), "{path}");
        path
    };
    // A host that stops lives until it has ended.
    assert_eq!(path(&container.startup_probe), "/livez");
    assert_eq!(path(&container.liveness_probe), "/livez");
    assert_eq!(path(&container.readiness_probe), "/readyz");
    let readiness = container.readiness_probe.unwrap();
    let noticed =
        i64::from(readiness.period_seconds.unwrap() * readiness.failure_threshold.unwrap());
    let stop = container
        .lifecycle
        .unwrap()
        .pre_stop
        .unwrap()
        .sleep
        .unwrap();
    assert!(stop.seconds > noticed);
    let grace = pod.termination_grace_period_seconds.unwrap();
    assert!(grace >= stop.seconds + HOST_ENDS_SECONDS, "{grace}");
}

#[test]
fn variables_and_secrets_are_known() {
    let (.., container) = deployment();
    let variables = container.env.unwrap();
    let names = variables.iter().map(|variable| &*variable.name);
    settings::are_variables("deployment.yaml", names).unwrap();
    let secret: Secret = read("secret.example.yaml");
    let keys = secret.string_data.unwrap();
    let mut used = BTreeSet::new();
    for variable in &variables {
        let source = variable
            .value_from
            .clone()
            .and_then(|from| from.secret_key_ref);
        let Some(source) = source else {
            continue;
        };
        assert_eq!(Some(source.name), secret.metadata.name);
        used.insert(source.key);
    }
    assert_eq!(used, keys.keys().cloned().collect());
    for (key, value) in keys {
        assert!(value.contains("REPLACE"), "{key} looks like a secret");
    }
}

#[test]
fn what_is_mounted_is_where_the_host_looks() {
    let (_, pod, container) = deployment();
    let mounts = container.volume_mounts.unwrap();
    let at = |name: &str| {
        let mount = mounts.iter().find(|mount| mount.name == name);
        mount.map(|mount| mount.mount_path.clone()).unwrap()
    };
    let configuration: toml::Table = configuration().unwrap().parse().unwrap();
    assert_eq!(configuration["data_dir"].as_str(), Some(&*at("data")));
    // Sockets and temporary directories, as the root is read-only.
    assert_eq!(at("tmp"), "/tmp");
    let config = container
        .env
        .unwrap()
        .into_iter()
        .find(|variable| variable.name == "GK_CONFIG");
    assert_eq!(
        config.unwrap().value.unwrap(),
        format!("{}/{KEY}", at("config"))
    );
    let volumes = pod.volumes.unwrap();
    assert_eq!(
        volumes
            .iter()
            .map(|volume| &volume.name)
            .collect::<BTreeSet<_>>(),
        mounts.iter().map(|mount| &mount.name).collect()
    );
    let map: ConfigMap = read("config.yaml");
    let volume = volumes
        .iter()
        .find(|volume| volume.name == "config")
        .unwrap();
    assert_eq!(
        volume.config_map.clone().unwrap().name,
        map.metadata.name.unwrap()
    );
    let image = fs::read_to_string(root().join("deploy/Containerfile")).unwrap();
    let user = pod.security_context.clone().unwrap().run_as_user.unwrap();
    assert!(image.contains(&format!("\nUSER {user}:{user}\n")));
    for directory in [&*at("data"), configuration["plugins_dir"].as_str().unwrap()] {
        assert!(image.contains(directory), "the image has no {directory}");
    }
}

/// What the label of the namespace asks for; the API server would refuse the pods else.
#[test]
fn pods_keep_to_the_restricted_standard() {
    let namespace: Namespace = read("namespace.yaml");
    let labels = namespace.metadata.labels.unwrap();
    assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
    let (_, pod, container) = deployment();
    let of_pod = pod.security_context.unwrap();
    assert_eq!(of_pod.run_as_non_root, Some(true));
    assert_eq!(of_pod.seccomp_profile.unwrap().type_, "RuntimeDefault");
    let of_container = container.security_context.unwrap();
    assert_eq!(of_container.allow_privilege_escalation, Some(false));
    assert_eq!(of_container.read_only_root_filesystem, Some(true));
    assert_eq!(of_container.capabilities.unwrap().drop.unwrap(), ["ALL"]);
    assert!(pod.host_network.is_none() && pod.host_pid.is_none());
    // With Unmasked the standard wants a user namespace for the pod.
    assert!(of_container.proc_mount.is_none() && pod.host_users == Some(false));
    let resources = container.resources.unwrap();
    assert!(resources.limits.unwrap().contains_key("memory"));
    assert_eq!(pod.automount_service_account_token, Some(false));
}
