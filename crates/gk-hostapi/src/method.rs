//! Methods and services.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use gk_manifest::{PluginName, Registration};

use crate::error::HostError;
use crate::guard::Granted;
use crate::spec::MethodSpec;

/// A method of the host API, of a service or of a host application.
///
/// Before a request reaches [`call`](Self::call), the guard has checked the method's permission,
/// counted the request and taken a permit of the method's queue. The scope of a permission is for
/// the method to enforce: it is in [`Granted::grants`].
#[async_trait]
pub trait Method: Send + Sync + fmt::Debug + 'static {
    /// The method's name, and what the guard has to know.
    fn spec(&self) -> MethodSpec;

    /// Refuses arguments that are too large to wait for a permit with. Called before the guard
    /// takes the permit of [`MethodSpec::queue`]. Returns how many requests the arguments stand for
    /// beyond one: they count against [`MethodSpec::rate`], too.
    ///
    /// # Errors
    /// The text is what the plugin gets.
    fn check(&self, _args: &[u8]) -> Result<usize, HostError> {
        Ok(0)
    }

    /// Serves a request: JSON in, JSON out.
    ///
    /// # Errors
    /// The text is what the plugin gets.
    async fn call(&self, granted: &Granted<'_>, args: Bytes) -> Result<Bytes, HostError>;
}

/// A service: some methods, and what the service keeps of plugins.
pub trait Service: Send + Sync + fmt::Debug + 'static {
    /// The methods that it serves.
    fn methods(self: Arc<Self>) -> Vec<Arc<dyn Method>>;

    /// A generation of a plugin has registered. What the service takes of the registration holds
    /// once the generation is [committed](Self::commit).
    ///
    /// # Errors
    /// The generation must not start.
    fn prepare(
        &self,
        _plugin: &PluginName,
        _generation: u64,
        _registration: &Registration,
    ) -> Result<(), HostError> {
        Ok(())
    }

    /// A generation that was prepared serves from now on, in place of the one that did.
    fn commit(&self, _plugin: &PluginName, _generation: u64) {}

    /// A generation has ended, whether it served or not.
    fn ended(&self, _plugin: &PluginName, _generation: u64) {}

    /// No generation of a plugin serves, and none is being started.
    fn stopped(&self, _plugin: &PluginName) {}
}

/// The future of a method's answer.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<Bytes, HostError>> + Send + 'a>>;

/// A method of the service `S` as an entry of a table: its spec together with its handler.
///
/// ```
/// use bytes::Bytes;
/// use gk_hostapi::{Granted, HostError, MethodSpec, ServiceMethod};
///
/// #[derive(Debug)]
/// struct Greeter(String);
///
/// async fn greet(service: &Greeter, granted: &Granted<'_>, _: Bytes) -> Result<Bytes, HostError> {
///     Ok(Bytes::from(format!("\"{} {}\"", service.0, granted.plugin())))
/// }
///
/// const METHODS: &[ServiceMethod<Greeter>] = &[ServiceMethod::new(
///     MethodSpec::free("greet"),
///     |service, granted, args| Box::pin(greet(service, granted, args)),
/// )];
/// assert_eq!(METHODS[0].spec().name, "greet");
/// ```
pub struct ServiceMethod<S: 'static> {
    spec: MethodSpec,
    check: fn(&[u8]) -> Result<usize, HostError>,
    handler: Handler<S>,
}

type Handler<S> = for<'a> fn(&'a S, &'a Granted<'a>, Bytes) -> Answer<'a>;

impl<S> ServiceMethod<S> {
    /// An entry of a table.
    pub const fn new(spec: MethodSpec, handler: Handler<S>) -> Self {
        Self {
            spec,
            check: |_| Ok(0),
            handler,
        }
    }

    /// The same method, whose arguments are checked by [`Method::check`].
    #[must_use]
    pub const fn checked(mut self, check: fn(&[u8]) -> Result<usize, HostError>) -> Self {
        self.check = check;
        self
    }

    /// The method's spec.
    pub const fn spec(&self) -> MethodSpec {
        self.spec
    }
}

impl<S: Send + Sync + fmt::Debug> ServiceMethod<S> {
    /// The methods of a table, served by `service`.
    pub fn all(table: &'static [Self], service: &Arc<S>) -> Vec<Arc<dyn Method>> {
        let served = |method| {
            let service = Arc::clone(service);
            Arc::new(Served { method, service }) as Arc<dyn Method>
        };
        table.iter().map(served).collect()
    }
}

impl<S> fmt::Debug for ServiceMethod<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceMethod").field(&self.spec).finish()
    }
}

/// A method of a table, with the service that serves it.
#[derive(Debug)]
struct Served<S: 'static> {
    method: &'static ServiceMethod<S>,
    service: Arc<S>,
}

impl<S: Send + Sync + fmt::Debug> Method for Served<S> {
    fn spec(&self) -> MethodSpec {
        self.method.spec
    }

    fn check(&self, args: &[u8]) -> Result<usize, HostError> {
        (self.method.check)(args)
    }

    // As `async_trait` writes it; the attribute would box the handler's future once more.
    fn call<'this, 'granted, 'caller, 'answer>(
        &'this self,
        granted: &'granted Granted<'caller>,
        args: Bytes,
    ) -> Answer<'answer>
    where
        'this: 'answer,
        'granted: 'answer,
        'caller: 'answer,
        Self: 'answer,
    {
        (self.method.handler)(&self.service, granted, args)
    }
}
