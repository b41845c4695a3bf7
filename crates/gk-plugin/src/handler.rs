//! From a typed function to one on JSON bytes.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Context, Error};

type Running = Pin<Box<dyn Future<Output = Result<Bytes, Error>> + Send>>;

/// A function of the plugin.
pub(crate) type Handler = Arc<dyn Fn(Context, Bytes) -> Running + Send + Sync>;

pub(crate) fn raw<F, Fut>(function: F) -> Handler
where
    F: Fn(Context, Bytes) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Bytes, Error>> + Send + 'static,
{
    Arc::new(move |context, args| Box::pin(function(context, args)))
}

pub(crate) fn typed<T, R, E, F, Fut>(function: F) -> Handler
where
    T: DeserializeOwned,
    R: Serialize,
    E: Into<Error>,
    F: Fn(Context, T) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
{
    Arc::new(move |context, args| match parse(&context, &args) {
        Ok(args) => {
            let running = function(context, args);
            Box::pin(async move { to_json(&running.await.map_err(Into::into)?) })
        }
        Err(error) => Box::pin(std::future::ready(Err(error))),
    })
}

pub(crate) fn blocking<T, R, E, F>(function: F) -> Handler
where
    T: DeserializeOwned,
    R: Serialize,
    E: Into<Error>,
    F: Fn(Context, T) -> Result<R, E> + Send + Sync + 'static,
{
    let function = Arc::new(function);
    Arc::new(move |context, args| {
        let function = Arc::clone(&function);
        Box::pin(async move {
            let run = move || {
                let args = parse(&context, &args)?;
                to_json(&function(context, args).map_err(Into::into)?)
            };
            match tokio::task::spawn_blocking(run).await {
                Ok(result) => result,
                // The panic goes on where it is contained.
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(error) => Err(error.into()),
                },
            }
        })
    })
}

/// Arguments are JSON, or nothing at all, which is as good as `null` or `{}`.
fn parse<T: DeserializeOwned>(context: &Context, args: &[u8]) -> Result<T, Error> {
    let parsed = match args {
        b"" | b"null" => serde_json::from_slice(b"null").or_else(|_| serde_json::from_slice(b"{}")),
        args => serde_json::from_slice(args).or_else(|error| {
            // A function that wants no arguments takes whatever the host adds.
            serde_json::from_slice(b"null")
                .ok()
                .filter(|_| size_of::<T>() == 0)
                .ok_or(error)
        }),
    };
    let function = context.function();
    parsed.map_err(|error| Error::with_status(400, format!("arguments of {function}: {error}")))
}

fn to_json(result: &impl Serialize) -> Result<Bytes, Error> {
    Ok(serde_json::to_vec(result)?.into())
}

/// Runs a call and turns a panic into an error.
pub(crate) struct Contained(pub(crate) Running);

impl Future for Contained {
    type Output = Result<Bytes, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(cx))) {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(panicked(&*panic))),
        }
    }
}

/// Starts a call; a handler may panic before it has made a future.
pub(crate) fn start(handler: &Handler, context: Context, args: Bytes) -> Contained {
    match catch_unwind(AssertUnwindSafe(|| handler(context, args))) {
        Ok(running) => Contained(running),
        Err(panic) => Contained(Box::pin(std::future::ready(Err(panicked(&*panic))))),
    }
}

pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    // The text may hold what is nobody's business; it is for the log.
    tracing::error!(panic = text.unwrap_or("(no text)"), "a function panicked");
    Error::new("the function panicked; the plugin's log says why")
}
