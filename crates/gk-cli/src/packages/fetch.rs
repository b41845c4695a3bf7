//! Files from elsewhere.

use std::path::Path;
use std::time::Duration;

use crate::failure::{Exit, Failure};
use crate::terminal::Terminal;

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 5;

/// How long nothing may come.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether a text names something that is fetched over a network.
pub(crate) fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}

/// The content of an URL or a file, of at most `max` bytes.
pub(crate) fn read(place: &str, max: u64, terminal: &Terminal) -> Result<Vec<u8>, Failure> {
    match is_url(place) {
        true => fetch(place, max, terminal),
        false => {
            let path = Path::new(place);
            let failed = |error| Failure::file("read", path, &error);
            let size = std::fs::metadata(path).map_err(failed)?.len();
            if size > max {
                return Err(too_large(place, max));
            }
            std::fs::read(path).map_err(failed)
        }
    }
}

fn too_large(place: &str, max: u64) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("{place} has more than {max} bytes"),
        "check that it is what you mean",
    )
}

/// Fetches over HTTPS, or over HTTP from this machine. A redirect leads to HTTPS, or to the same host.
fn fetch(url: &str, max: u64, terminal: &Terminal) -> Result<Vec<u8>, Failure> {
    let failed = |text: String, exit| {
        Failure::new(
            exit,
            format!("{url}: {text}"),
            "check the URL and the network",
        )
    };
    let parsed =
        reqwest::Url::parse(url).map_err(|error| failed(error.to_string(), Exit::Usage))?;
    let is_here =
        |url: &reqwest::Url| matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    if parsed.scheme() == "http" && !is_here(&parsed) {
        return Err(Failure::new(
            Exit::Denied,
            format!("{url} is not fetched: anybody on the way could change it"),
            "use https",
        ));
    }
    let redirects = reqwest::redirect::Policy::custom(move |attempt| {
        let allowed = attempt.url().scheme() == "https" || is_here(attempt.url());
        match allowed && attempt.previous().len() <= REDIRECTS_MAX {
            true => attempt.follow(),
            false => attempt.error("it leads elsewhere than to https, or on and on"),
        }
    });
    let runtime = crate::client::runtime()?;
    terminal.detail(format_args!("fetching {url}"));
    runtime.block_on(async {
        let unreachable = |error: reqwest::Error| {
            let mut text = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                text = source.to_string();
            }
            failed(text, Exit::Unreachable)
        };
        let client = reqwest::Client::builder()
            .redirect(redirects)
            .connect_timeout(IDLE_TIMEOUT)
            .read_timeout(IDLE_TIMEOUT)
            .user_agent(concat!("gk/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(unreachable)?;
        let mut response = client.get(parsed).send().await.map_err(unreachable)?;
        let status = response.status();
        if !status.is_success() {
            let exit = match status.as_u16() {
                404 | 410 => Exit::NotFound,
                401 | 403 => Exit::Denied,
                _ => Exit::Failed,
            };
            return Err(failed(format!("the server answers {status}"), exit));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if (bytes.len() + chunk.len()) as u64 > max {
                return Err(too_large(url, max));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    })
}
