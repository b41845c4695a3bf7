//! The object store: how it is found, and how long it may take.

use std::time::Duration;

use gk_hostapi::HostError;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use tokio::time::timeout;

/// Maximum time of an operation of the object store, with its repetitions.
const OBJECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time for making a connection to the object store.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The bucket, as these variables have it.
pub(super) fn s3(
    bucket: &str,
    variables: impl IntoIterator<Item = (String, String)>,
) -> object_store::Result<AmazonS3> {
    let mut builder = AmazonS3Builder::new();
    let mut endpoint = String::new();
    for (name, value) in variables {
        if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>()
            && name.starts_with("AWS_")
        {
            if key == AmazonS3ConfigKey::Endpoint {
                endpoint.clone_from(&value);
            }
            builder = builder.with_config(key, value);
        }
    }
    let options = ClientOptions::new()
        .with_timeout(OBJECT_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_allow_http(endpoint.starts_with("http://"));
    let retry = RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: 3,
        retry_timeout: OBJECT_TIMEOUT,
    };
    builder
        .with_bucket_name(bucket)
        .with_client_options(options)
        .with_retry(retry)
        .build()
}

/// Why the object store gave nothing.
pub(super) enum Unanswered {
    NotThere,
    Failed(HostError),
}

impl Unanswered {
    pub(super) fn told(self) -> HostError {
        match self {
            Self::NotThere => HostError::not_found("there is no such object"),
            Self::Failed(error) => error,
        }
    }
}

/// Does work of the object store within its time.
pub(super) async fn within<T>(
    work: impl Future<Output = object_store::Result<T>>,
) -> Result<T, Unanswered> {
    let late = || HostError::timeout("the store of files did not answer in time");
    match timeout(OBJECT_TIMEOUT, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(object_store::Error::NotFound { .. })) => Err(Unanswered::NotThere),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the store of files failed");
            let failed = "the store of files failed; the host's log says why";
            Err(Unanswered::Failed(HostError::unavailable(failed)))
        }
        Err(_) => {
            tracing::warn!("the store of files did not answer within {OBJECT_TIMEOUT:?}");
            Err(Unanswered::Failed(late()))
        }
    }
}
