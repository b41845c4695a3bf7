//! The rules of a policy. A policy is an operator's decision: an entry without a meaning is
//! refused, and never dropped.

use crate::name::PluginName;
use crate::resources::{Permission, PermissionKind};

use super::{
    BODY_MIB_MAX, CALLS_IN_FLIGHT_MAX, CALLS_WAITING_MAX, HTTP_ENTRIES_MAX, MEMORY_MIB_MAX,
    PATTERN_BYTES_MAX, PERMISSIONS_MAX, Policy, PolicyError, RATE_MAX, SCOPE_ENTRIES_MAX,
};

impl Policy {
    /// Checks everything but the syntax of the JSON, and of what only a host can read: the scopes
    /// of `http`, `email` and `config`.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn check(&self) -> Result<(), PolicyError> {
        let invalid = |text: String| Err(PolicyError(text));
        if self.permissions.len() > PERMISSIONS_MAX {
            return invalid(format!(
                "a policy has at most {PERMISSIONS_MAX} permissions"
            ));
        }
        for rate in [
            self.max_calls_per_second,
            self.max_db_queries_per_min,
            self.max_http_req_per_min,
        ] {
            if rate > RATE_MAX {
                return invalid(format!("a rate is at most {RATE_MAX}; 0 is unlimited"));
            }
        }
        for (name, timeout) in [
            ("call_timeout", self.call_timeout),
            ("job_timeout", self.job_timeout),
            ("init_timeout", self.init_timeout),
            ("shutdown_timeout", self.shutdown_timeout),
        ] {
            if timeout.is_some_and(|timeout| timeout.as_nanos() <= 0) {
                return invalid(format!("{name} must be more than 0s"));
            }
        }
        if self.memory_mb > MEMORY_MIB_MAX {
            return invalid(format!(
                "memory_mb is at most {MEMORY_MIB_MAX}; 0 leaves it to what the plugin asks for"
            ));
        }
        for (name, calls, most) in [
            (
                "max_calls_in_flight",
                self.max_calls_in_flight,
                CALLS_IN_FLIGHT_MAX,
            ),
            (
                "max_calls_waiting",
                self.max_calls_waiting,
                CALLS_WAITING_MAX,
            ),
        ] {
            if calls > most {
                return invalid(format!("{name} is at most {most}; 0 is the host's default"));
            }
        }
        self.check_http()?;
        for (number, permission) in self.permissions.iter().enumerate() {
            check_permission(permission)
                .map_err(|problem| PolicyError(format!("permissions[{number}]: {problem}")))?;
        }
        Ok(())
    }

    /// Checks the rules for routes, bodies and headers.
    fn check_http(&self) -> Result<(), PolicyError> {
        let invalid = |text: String| Err(PolicyError(text));
        if self.body_limit_mb > BODY_MIB_MAX {
            return invalid(format!(
                "body_limit_mb is at most {BODY_MIB_MAX}; 0 is the host's default"
            ));
        }
        if self.routes.len() > HTTP_ENTRIES_MAX || self.response_headers.len() > HTTP_ENTRIES_MAX {
            return invalid(format!(
                "routes and response_headers have at most {HTTP_ENTRIES_MAX} entries each"
            ));
        }
        for path in &self.routes {
            let plain = path.strip_suffix("/*").unwrap_or(path);
            let fits = plain.len() > 1
                && plain.len() <= PATTERN_BYTES_MAX
                && plain.starts_with('/')
                && plain
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && !b"*?#%\\".contains(&byte))
                && !plain.split('/').any(|part| part == "." || part == "..");
            if !fits {
                return invalid(format!(
                    "routes: {path:?} is no path such as \"/webhook\", or \"/shop/*\" for all below"
                ));
            }
        }
        for name in &self.response_headers {
            let fits = !name.is_empty()
                && name.len() <= 128
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            if !fits {
                return invalid(format!("response_headers: {name:?} is no header's name"));
            }
        }
        Ok(())
    }
}

fn check_permission(permission: &Permission) -> Result<(), String> {
    let Some(kind) = permission.kind() else {
        let known = PermissionKind::ALL.map(PermissionKind::as_str).join(", ");
        return Err(format!(
            "there is no permission type {:?}; the types are {known}",
            permission.kind_name
        ));
    };
    let accesses = kind.accesses();
    let access = permission.access();
    // The access of the other kinds does not matter, but it must be one.
    let known = match accesses {
        [] => permission.access.is_empty() || access.is_some(),
        accesses => access.is_some_and(|access| accesses.contains(&access)),
    };
    if !known {
        let known: Vec<_> = accesses.iter().map(|access| access.as_str()).collect();
        return Err(match known.as_slice() {
            [] => format!(
                "{} has no access {:?}; leave it out",
                kind.as_str(),
                permission.access
            ),
            known => format!(
                "the access of {} is one of {}, not {:?}",
                kind.as_str(),
                known.join(", "),
                permission.access
            ),
        });
    }
    if !kind.has_scope() && !permission.scope.is_empty() {
        return Err(format!("{} has no scope; leave it out", kind.as_str()));
    }
    if permission.scope.len() > SCOPE_ENTRIES_MAX {
        return Err(format!("a scope has at most {SCOPE_ENTRIES_MAX} patterns"));
    }
    for pattern in &permission.scope {
        if pattern.is_empty() || pattern.len() > PATTERN_BYTES_MAX {
            return Err(format!(
                "a pattern of a scope has 1 to {PATTERN_BYTES_MAX} bytes; leave scope out for everything of the type"
            ));
        }
        check_pattern(kind, pattern)
            .map_err(|why| format!("the scope {pattern:?} can never match: {why}"))?;
    }
    Ok(())
}

/// Checks that a pattern can match. The scopes of `http`, `email` and `config` are checked by the
/// types that compile them.
fn check_pattern(kind: PermissionKind, pattern: &str) -> Result<(), String> {
    if pattern.trim() != pattern || pattern.contains(char::is_control) {
        return Err("it has white space around it, or a control character in it".into());
    }
    match kind {
        PermissionKind::Db => check_tables(pattern),
        PermissionKind::Cache => match pattern.strip_suffix('*').unwrap_or(pattern).contains('*') {
            true => {
                Err("a scope of cache is a prefix of keys; `*` may stand at its end only".into())
            }
            false => Ok(()),
        },
        PermissionKind::PluginCall if pattern == "*" => Ok(()),
        PermissionKind::PluginCall => PluginName::new(pattern)
            .map(drop)
            .map_err(|_| format!("write `*` or a plugin's name: {}", PluginName::RULE)),
        PermissionKind::Entity => {
            let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            match pattern.chars().all(sane) {
                true => Ok(()),
                false => Err("write an entity's type, or leave scope out for all types".into()),
            }
        }
        _ => Ok(()),
    }
}

/// `[@database:][schema.]table`.
fn check_tables(pattern: &str) -> Result<(), String> {
    let tables = match pattern.strip_prefix('@') {
        None => pattern,
        Some(named) => {
            let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
            match named.split_once(':') {
                Some((name, tables)) if !name.is_empty() && name.chars().all(sane) => tables,
                _ => {
                    return Err(
                        "write `@name:pattern` with the name that the database has in the host's configuration"
                            .into(),
                    );
                }
            }
        }
    };
    let mut parts = tables.split('.');
    let named = |part: Option<&str>| part.is_some_and(|part| !part.is_empty());
    let quoted = tables.contains(['"', '`', '\'', '[', ']', ';', '\\']);
    let has_table = named(parts.next()) && parts.next().is_none_or(|table| !table.is_empty());
    if !has_table || parts.next().is_some() || quoted {
        return Err(
            "write a table's name, or schema.table, without quotes; `*` is any run of characters"
                .into(),
        );
    }
    Ok(())
}
