//! OpenTelemetry's variables, as far as the host knows them.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use gk_hostapi::spans::Sampling;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// Time for a request to the collector, unless `OTEL_EXPORTER_OTLP_TIMEOUT` says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Time between two exports of metrics, unless `OTEL_METRIC_EXPORT_INTERVAL` says otherwise.
const METRICS_INTERVAL: Duration = Duration::from_secs(60);

/// Where to send what.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// URLs of the signals; `None` for one that is not sent.
    pub(super) traces: Option<String>,
    pub(super) metrics: Option<String>,
    pub(super) logs: Option<String>,
    /// Headers of all requests. They may hold secrets.
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    pub(super) metrics_interval: Duration,
    pub(super) sampling: Sampling,
    /// Attributes of the host.
    pub(super) resource: Vec<(String, String)>,
}

impl Settings {
    /// Reads the variables; returns `None` if they name no collector, or turn the export off.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let is_off = variable("OTEL_SDK_DISABLED").is_some_and(|off| off == "true");
        let base = variable("OTEL_EXPORTER_OTLP_ENDPOINT");
        let url = |signal: &str, path: &str| -> Result<Option<String>> {
            let own = format!("OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
            let exporter = format!("OTEL_{signal}_EXPORTER");
            match variable(&exporter).as_deref() {
                None | Some("otlp") => {}
                Some("none") => return Ok(None),
                Some(other) => bail!("{exporter} = {other:?}: the host knows otlp and none"),
            }
            let (name, url) = match (variable(&own), &base) {
                (Some(url), _) => (own, url),
                (None, Some(base)) => {
                    let url = format!("{}/v1/{path}", base.trim_end_matches('/'));
                    ("OTEL_EXPORTER_OTLP_ENDPOINT".to_owned(), url)
                }
                (None, None) => return Ok(None),
            };
            let parsed = reqwest::Url::parse(&url).with_context(|| format!("{name} is no URL"))?;
            ensure!(
                ["http", "https"].contains(&parsed.scheme()),
                "{name}: the scheme is neither http nor https"
            );
            Ok(Some(url))
        };
        let [traces, metrics, logs] = [
            url("TRACES", "traces")?,
            url("METRICS", "metrics")?,
            url("LOGS", "logs")?,
        ];
        if is_off || (traces.is_none() && metrics.is_none() && logs.is_none()) {
            return Ok(None);
        }
        let protocol = variable("OTEL_EXPORTER_OTLP_PROTOCOL");
        if let Some(other) = protocol.filter(|protocol| protocol != "http/protobuf") {
            bail!("OTEL_EXPORTER_OTLP_PROTOCOL = {other:?}: the host speaks http/protobuf");
        }
        let milliseconds = |name: &str, default: Duration| match variable(name) {
            None => Ok(default),
            Some(text) => match text.parse() {
                Ok(number) if number > 0 => Ok(Duration::from_millis(number)),
                _ => bail!("{name} = {text:?}: a number of milliseconds, 1 or more"),
            },
        };
        Ok(Some(Self {
            traces,
            metrics,
            logs,
            headers: headers(&variable("OTEL_EXPORTER_OTLP_HEADERS").unwrap_or_default())?,
            timeout: milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT", TIMEOUT)?,
            metrics_interval: milliseconds("OTEL_METRIC_EXPORT_INTERVAL", METRICS_INTERVAL)?,
            sampling: sampling(
                variable("OTEL_TRACES_SAMPLER").as_deref(),
                variable("OTEL_TRACES_SAMPLER_ARG").as_deref(),
            )?,
            resource: resource(
                &variable("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default(),
                variable("OTEL_SERVICE_NAME"),
            )?,
        }))
    }

    /// Returns the client of all requests.
    pub(super) fn client(&self) -> reqwest::Result<reqwest::Client> {
        reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(self.timeout)
            .build()
    }
}

/// Reads a list such as `a=1,b=2`, whose values are percent-encoded. The error does not show it:
/// it may hold secrets.
fn pairs(name: &str, text: &str) -> Result<Vec<(String, String)>> {
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    let pair = |(number, part): (usize, &str)| {
        let (key, value) = part
            .split_once('=')
            .with_context(|| format!("{name}: part {} has no \"=\"", number + 1))?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8();
        let value = value.with_context(|| format!("{name}: part {} is not UTF-8", number + 1))?;
        Ok((key.trim().to_owned(), value.into_owned()))
    };
    parts.enumerate().map(pair).collect()
}

fn headers(text: &str) -> Result<HeaderMap> {
    const NAME: &str = "OTEL_EXPORTER_OTLP_HEADERS";
    let mut headers = HeaderMap::new();
    for (name, value) in pairs(NAME, text)? {
        let name: HeaderName = name
            .parse()
            .with_context(|| format!("{NAME}: a name that no header may have"))?;
        let mut value: HeaderValue = value
            .parse()
            .with_context(|| format!("{NAME}: the value of {name} is none of a header"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

fn resource(text: &str, service: Option<String>) -> Result<Vec<(String, String)>> {
    let mut attributes = pairs("OTEL_RESOURCE_ATTRIBUTES", text)?;
    let mut set = |name: &str, value: String, always: bool| {
        let known = attributes.iter().position(|(known, _)| known == name);
        match known {
            Some(at) if always => attributes[at].1 = value,
            Some(_) => {}
            None => attributes.push((name.to_owned(), value)),
        }
    };
    match service {
        Some(service) => set("service.name", service, true),
        None => set("service.name", "gk-host".to_owned(), false),
    }
    set(
        "service.version",
        env!("CARGO_PKG_VERSION").to_owned(),
        false,
    );
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy().into_owned();
    set("host.name", host, false);
    Ok(attributes)
}

fn sampling(sampler: Option<&str>, argument: Option<&str>) -> Result<Sampling> {
    let ratio = || {
        let text = argument.unwrap_or("1");
        let ratio = text.parse::<f64>().ok();
        let ratio = ratio.filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.with_context(|| format!("OTEL_TRACES_SAMPLER_ARG = {text:?}: a number from 0 to 1"))
    };
    let (follows_parent, kind) = match sampler.unwrap_or("parentbased_always_on") {
        sampler if sampler.starts_with("parentbased_") => (true, &sampler[12..]),
        sampler => (false, sampler),
    };
    let ratio = match kind {
        "always_on" => 1.0,
        "always_off" => 0.0,
        "traceidratio" => ratio()?,
        _ => bail!(
            "OTEL_TRACES_SAMPLER = {:?}: always_on, always_off or traceidratio, also with parentbased_ before it",
            sampler.unwrap_or_default()
        ),
    };
    Ok(Sampling {
        ratio,
        follows_parent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let of = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Settings::read(of).map_err(|error| format!("{error:#}"))
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318/");

    #[test]
    fn an_endpoint_turns_it_on() {
        assert!(read(&[]).unwrap().is_none());
        assert!(
            read(&[ENDPOINT, ("OTEL_SDK_DISABLED", "true")])
                .unwrap()
                .is_none()
        );
        let all = read(&[ENDPOINT]).unwrap().unwrap();
        assert_eq!(
            all.traces.as_deref(),
            Some("http://localhost:4318/v1/traces")
        );
        assert_eq!(all.logs.as_deref(), Some("http://localhost:4318/v1/logs"));
        let of = |name: &str| {
            all.resource
                .iter()
                .find(|(known, _)| known == name)
                .unwrap()
        };
        assert_eq!(of("service.name").1, "gk-host");
        let one = [
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://m.test/x"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%20b, x = 1"),
            ("OTEL_SERVICE_NAME", "goats"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=no,team=a%2Cb"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
        ];
        let one = read(&one).unwrap().unwrap();
        assert_eq!((one.traces, one.logs), (None, None));
        assert_eq!(one.metrics.as_deref(), Some("https://m.test/x"));
        assert_eq!(one.headers["api-key"], "a b");
        assert_eq!(
            (one.headers["x"].clone(), one.timeout),
            (HeaderValue::from_static("1"), Duration::from_millis(250))
        );
        assert_eq!(
            one.resource[..2],
            [
                ("service.name".into(), "goats".into()),
                ("team".into(), "a,b".into())
            ]
        );
        assert!(
            !format!("{:?}", one.headers).contains("a b"),
            "headers may hold secrets"
        );
    }

    #[test]
    fn samplers_are_those_of_the_specification() {
        let of = |sampler, argument| sampling(sampler, argument).unwrap();
        let is = |ratio, follows_parent| Sampling {
            ratio,
            follows_parent,
        };
        assert_eq!(of(None, None), is(1.0, true));
        assert_eq!(of(Some("always_off"), None), is(0.0, false));
        assert_eq!(of(Some("traceidratio"), Some("0.25")), is(0.25, false));
        assert_eq!(
            of(Some("parentbased_traceidratio"), Some("0.5")),
            is(0.5, true)
        );
    }

    #[test]
    fn what_is_not_valid_is_named() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "localhost:4318"),
            ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "::"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1s"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=secret"),
            ("OTEL_RESOURCE_ATTRIBUTES", "x"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_LOGS_EXPORTER", "console"),
        ] {
            let error = read(&[ENDPOINT, (name, value)]).unwrap_err();
            assert!(
                error.contains(name) && !error.contains("secret"),
                "{name}: {error}"
            );
        }
        let ratio = ("OTEL_TRACES_SAMPLER", "traceidratio");
        let error = read(&[ENDPOINT, ratio, ("OTEL_TRACES_SAMPLER_ARG", "2")]).unwrap_err();
        assert!(error.contains("OTEL_TRACES_SAMPLER_ARG"), "{error}");
    }
}
