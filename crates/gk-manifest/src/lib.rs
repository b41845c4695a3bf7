//! What a GoatKit plugin says about itself: the manifest file `plugin.yaml` ([`Manifest`]) and the
//! answer to `GKRegister` ([`Registration`]), both parsed and validated here, with errors that say
//! where and what to do. And what an operator says about it: the [`policy`].
//!
//! This crate is data and rules only. It starts nothing, opens one file ([`Manifest::load`]), and
//! has no opinion on which permissions a plugin is granted.
//!
//! ```
//! use gk_manifest::Manifest;
//!
//! let text = b"name: my-plugin\nversion: \"1.0.0\"\nruntime: grpc\nresources:\n  call_timeout: 30s\n";
//! let (manifest, warnings) = Manifest::parse("plugins/my-plugin/plugin.yaml", text)?;
//! assert_eq!(manifest.name.as_str(), "my-plugin");
//! assert!(warnings.is_empty());
//!
//! let error = Manifest::parse("plugin.yaml", b"name: My Plugin\nruntime: grpc\n").unwrap_err();
//! assert!(error.to_string().starts_with("plugin.yaml:1:7: error: name: "));
//! # Ok::<(), gk_manifest::ManifestError>(())
//! ```
//!
//! # Limits and errors
//!
//! A file has at most 256 KiB, and its lists, texts and depth have limits, too, all of which
//! [`limits`] names. What is wrong comes as a [`ManifestError`] of [`Diagnostic`]s, up to 64 at
//! once, each with file, line, column, field and remedy; what has no effect, such as an unknown
//! key, comes as warnings. Whether a plugin gets the timeouts, the memory and the permissions it
//! asks for is its host's to say.
//!
//! The manifest needs the feature `yaml`, which is a default. A plugin needs registrations alone.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(feature = "yaml"),
    allow(dead_code, reason = "what manifests alone need")
)]

mod dependency;
mod diagnostic;
mod duration;
mod job;
pub mod limits;
#[cfg(feature = "yaml")]
mod manifest;
mod name;
pub mod policy;
mod registration;
mod resources;
#[cfg(feature = "schema")]
mod schema;
mod validate;
mod wire;

pub use dependency::Dependency;
pub use diagnostic::{Diagnostic, Severity};
pub use duration::{DurationError, GoDuration};
pub use job::{Concurrency, JobOverrides};
#[cfg(feature = "yaml")]
pub use manifest::{
    HealthcheckSpec, Manifest, ManifestError, PluginKind, ReloadSpec, ReloadStrategy, SidecarSpec,
};
pub use name::{NameError, PluginName};
pub use registration::{
    CascadeSpec, CustomFieldSpec, ErrorCodeSpec, GroupSpec, I18nSpec, JobSpec, JsonValue,
    McpToolSpec, MenuItemSpec, Registration, RouteSpec, SetupTaskSpec, TemplateSpec, UiAuthSpec,
    UiBrandingSpec, UiNavItem, UiNavSpec, UiPwaSpec, UiRouteSpec, UiSpec, UiTicketViewSpec,
    WidgetSpec,
};
pub use resources::{Access, Permission, PermissionKind, ResourceRequest};
