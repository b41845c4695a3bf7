//! Files from elsewhere.

use std::path::Path;
use std::time::Duration;

use reqwest::Url;

use crate::client::context::is_here;
use crate::failure::{Exit, Failure};
use crate::terminal::Terminal;

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 5;

/// Maximum time without a byte.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Returns `true` if a text names something that is fetched over a network.
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

/// A place for messages: without what may be secret in an URL.
pub(crate) fn shown(place: &str) -> String {
    match Url::parse(place) {
        Ok(mut url) if is_url(place) => {
            // None of them fails for http.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.set_fragment(None);
            url.into()
        }
        _ => place.to_owned(),
    }
}

/// The URL of a package's detached signature.
pub(crate) fn signature_of(place: &str) -> String {
    match Url::parse(place) {
        Ok(mut url) if is_url(place) => {
            let path = format!("{}.sig", url.path());
            url.set_path(&path);
            url.into()
        }
        _ => format!("{place}.sig"),
    }
}

/// Returns `true` if a redirect is followed: from HTTPS to HTTPS, or to the same origin.
fn may_lead(from: &Url, to: &Url) -> bool {
    from.origin() == to.origin() || (from.scheme() == "https" && to.scheme() == "https")
}

fn too_large(place: &str, max: u64) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("{} has more than {max} bytes", shown(place)),
        "check that it is what you mean",
    )
}

/// Fetches over HTTPS, or over HTTP from this machine.
fn fetch(place: &str, max: u64, terminal: &Terminal) -> Result<Vec<u8>, Failure> {
    let name = shown(place);
    let failed = |text: String, exit| {
        Failure::new(
            exit,
            format!("{name}: {text}"),
            "check the URL and the network",
        )
    };
    let url = Url::parse(place).map_err(|error| failed(error.to_string(), Exit::Usage))?;
    let is_local = is_here(&url);
    if url.scheme() == "http" && !is_local {
        return Err(Failure::new(
            Exit::Denied,
            format!("{name} is not fetched: anybody on the way could change it"),
            "use https",
        ));
    }
    let redirects = reqwest::redirect::Policy::custom(move |attempt| {
        let allowed = attempt
            .previous()
            .last()
            .is_some_and(|from| may_lead(from, attempt.url()));
        match allowed && attempt.previous().len() <= REDIRECTS_MAX {
            true => attempt.follow(),
            false => attempt.error(
                "it leads from https, or from this machine, to another place without https, or on and on",
            ),
        }
    });
    let runtime = crate::client::runtime()?;
    terminal.detail(format_args!("fetching {name}"));
    runtime.block_on(async {
        let unreachable = |error: reqwest::Error| {
            let error = error.without_url();
            let source = std::error::Error::source(&error).map(ToString::to_string);
            let text = source.unwrap_or_else(|| error.to_string());
            failed(text, Exit::Unreachable)
        };
        let builder = reqwest::Client::builder()
            .redirect(redirects)
            .connect_timeout(IDLE_TIMEOUT)
            .read_timeout(IDLE_TIMEOUT)
            .user_agent(concat!("gk/", env!("CARGO_PKG_VERSION")));
        // A proxy has no part in what is on this machine, and could change it.
        let builder = match is_local {
            true => builder.no_proxy(),
            false => builder,
        };
        let client = builder.build().map_err(unreachable)?;
        let mut response = client.get(url).send().await.map_err(unreachable)?;
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
                return Err(too_large(place, max));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_does_not_leave_https_or_this_machine() {
        let may =
            |from: &str, to: &str| may_lead(&Url::parse(from).unwrap(), &Url::parse(to).unwrap());
        for (from, to) in [
            ("https://a.example/x", "https://b.example/y"),
            ("https://a.example/x", "https://a.example/y"),
            ("http://127.0.0.1:8080/x", "http://127.0.0.1:8080/y"),
        ] {
            assert!(may(from, to), "{from} {to}");
        }
        for (from, to) in [
            ("https://a.example/x", "http://a.example/x"),
            ("https://a.example/x", "http://localhost/x"),
            ("http://127.0.0.1:8080/x", "http://127.0.0.1:9090/x"),
            ("http://127.0.0.1:8080/x", "http://localhost:8080/x"),
            ("http://127.0.0.1:8080/x", "https://a.example/x"),
            ("https://a.example/x", "file:///etc/passwd"),
        ] {
            assert!(!may(from, to), "{from} {to}");
        }
    }

    #[test]
    fn a_signature_is_beside_the_package_and_no_secret_is_shown() {
        let place = "https://ann:pw@a.example/x.zip?token=secret#there";
        assert_eq!(
            signature_of(place),
            "https://ann:pw@a.example/x.zip.sig?token=secret#there"
        );
        assert_eq!(shown(place), "https://a.example/x.zip");
        assert_eq!(signature_of("dir/x.zip"), "dir/x.zip.sig");
        assert_eq!(shown("dir/x?.zip"), "dir/x?.zip");
    }
}
