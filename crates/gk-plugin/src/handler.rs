//! From a typed function to one on JSON bytes.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Context, Error, lenient};

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
            let name = Arc::clone(&context.function);
            let run = move || {
                as_function(&name, || {
                    let args = parse(&context, &args)?;
                    to_json(&function(context, args).map_err(Into::into)?)
                })
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
        args => lenient::from_slice(args).or_else(|error| {
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

thread_local! {
    /// The function that runs on this thread at this moment, for whoever reports its panic.
    static RUNNING: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// The function that runs on this thread.
pub(crate) fn running() -> Option<Arc<str>> {
    RUNNING.with(|running| running.try_borrow().ok()?.clone())
}

/// Does work as this function.
fn as_function<T>(function: &Arc<str>, work: impl FnOnce() -> T) -> T {
    struct Before(Option<Arc<str>>);

    impl Drop for Before {
        fn drop(&mut self) {
            RUNNING.with(|running| *running.borrow_mut() = self.0.take());
        }
    }

    let before = RUNNING.with(|running| running.replace(Some(Arc::clone(function))));
    let _before = Before(before);
    work()
}

/// Runs a call and turns a panic into an error.
pub(crate) struct Contained {
    function: Arc<str>,
    running: Running,
}

impl Contained {
    pub(crate) fn new(function: Arc<str>, running: Running) -> Self {
        Contained { function, running }
    }
}

impl Future for Contained {
    type Output = Result<Bytes, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let polled = catch_unwind(AssertUnwindSafe(|| {
            as_function(&this.function, || this.running.as_mut().poll(cx))
        }));
        match polled {
            Ok(poll) => poll,
            Err(panic) => Poll::Ready(Err(panicked(&this.function, &*panic))),
        }
    }
}

/// Starts a call; a handler may panic before it has made a future.
pub(crate) fn start(handler: &Handler, context: Context, args: Bytes) -> Contained {
    let function = Arc::clone(&context.function);
    let started = catch_unwind(AssertUnwindSafe(|| {
        as_function(&function, || handler(context, args))
    }));
    let running = match started {
        Ok(running) => running,
        Err(panic) => Box::pin(std::future::ready(Err(panicked(&function, &*panic)))),
    };
    Contained::new(function, running)
}

pub(crate) fn panicked(function: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    // The text may hold what is nobody's business; it is for the log.
    tracing::error!(
        function,
        panic = panic_text(panic),
        "a function panicked: this call fails, the plugin goes on"
    );
    Error::new(format!(
        "function {function:?} panicked; the plugin's log says why"
    ))
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("(no text)")
}
