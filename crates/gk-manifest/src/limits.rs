//! Every limit of this crate, by name. Sizes are bytes of UTF-8 unless a name says otherwise.

use std::time::Duration;

/// Largest `plugin.yaml` that is read; checked before anything is parsed.
pub const MANIFEST_BYTES_MAX: usize = 256 * 1024;
/// Deepest nesting of lists and mappings in a manifest. The format itself needs four levels.
pub const YAML_DEPTH_MAX: usize = 32;
/// Most YAML nodes in a manifest, counted after aliases are expanded.
pub const YAML_NODES_MAX: usize = 50_000;
/// Most YAML aliases (`*name`) in a manifest.
pub const YAML_ALIASES_MAX: usize = 256;
/// Most diagnostics kept for one document; further ones are counted, not stored.
pub const DIAGNOSTICS_MAX: usize = 64;

/// Longest plugin name.
pub const NAME_BYTES_MAX: usize = 63;
/// Longest identifier: widget, job, menu item, user interface, handler, error code, dependency.
pub const IDENTIFIER_BYTES_MAX: usize = 128;
/// Longest one-line text: version, title, label, author, licence.
pub const LINE_BYTES_MAX: usize = 512;
/// Longest free text: a description.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Longest icon; an icon may be inline SVG.
pub const ICON_BYTES_MAX: usize = 64 * 1024;
/// Longest route path, file path or URL.
pub const PATH_BYTES_MAX: usize = 1024;

/// Most entries of one list of a registration or manifest (routes, widgets, jobs, permissions …).
pub const LIST_ENTRIES_MAX: usize = 512;
/// Most patterns in the scope of one permission.
pub const SCOPE_ENTRIES_MAX: usize = 256;
/// Deepest nesting of menu items.
pub const MENU_DEPTH_MAX: usize = 8;
/// Most translated texts over all languages.
pub const TRANSLATIONS_MAX: usize = 50_000;
/// Most segments of a route path.
pub const ROUTE_SEGMENTS_MAX: usize = 32;

/// Longest timeout a plugin may ask for.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Shortest starting deadline of a job.
pub const STARTING_DEADLINE_MIN: Duration = Duration::from_secs(1);
/// Most repetitions of a run of a job that failed.
pub const RETRIES_MAX: i64 = 20;
/// Longest time that calls wait while a plugin is replaced (`reload.wait`).
pub const RELOAD_WAIT_MAX: Duration = Duration::from_secs(60);
/// Most memory a plugin may ask for, in MiB (1 TiB).
pub const MEMORY_MIB_MAX: i64 = 1024 * 1024;
