//! The rules of resources that a plugin asks for.

use super::{Report, index, join};
use crate::limits;
use crate::resources::{Permission, PermissionKind, ResourceRequest};

impl ResourceRequest {
    pub(crate) fn check(&self, report: &mut Report, field: &str) {
        let memory = join(field, "memory_mb");
        if !(0..=limits::MEMORY_MIB_MAX).contains(&self.memory_mb) {
            report.error(
                &memory,
                format!(
                    "{} MiB is not between 0 and {}",
                    self.memory_mb,
                    limits::MEMORY_MIB_MAX
                ),
                "write the limit in MiB, such as 256, or leave it out",
            );
        }
        if self.max_file_storage_bytes < 0 {
            report.error(
                &join(field, "max_file_storage_bytes"),
                format!("{} is negative", self.max_file_storage_bytes),
                "write the quota in bytes, or leave it out",
            );
        }
        for (name, value) in [
            ("call_timeout", &self.call_timeout),
            ("init_timeout", &self.init_timeout),
            ("shutdown_timeout", &self.shutdown_timeout),
        ] {
            report.timeout(&join(field, name), value);
        }
        let permissions = join(field, "permissions");
        if report.count(
            &permissions,
            self.permissions.len(),
            limits::LIST_ENTRIES_MAX,
        ) {
            for (number, permission) in self.permissions.iter().enumerate() {
                permission.check(report, &index(&permissions, number));
            }
        }
    }
}

impl Permission {
    fn check(&self, report: &mut Report, field: &str) {
        let kinds = PermissionKind::ALL.map(PermissionKind::as_str);
        if self.kind_name.is_empty() {
            let remedy = format!("write one of {}", kinds.join(", "));
            report.error(&join(field, "type"), "the permission has no type", remedy);
            return;
        }
        let Some(kind) = self.kind() else {
            report.unknown_word(
                &join(field, "type"),
                "permission type",
                &self.kind_name,
                &kinds,
                None,
            );
            return;
        };
        let accesses: Vec<_> = kind
            .accesses()
            .iter()
            .map(|access| access.as_str())
            .collect();
        let known = self
            .access()
            .is_some_and(|access| kind.accesses().contains(&access));
        if !accesses.is_empty() && !self.access.is_empty() && !known {
            let what = format!("access for {}", kind.as_str());
            report.unknown_word(&join(field, "access"), &what, &self.access, &accesses, None);
        }
        if !accesses.is_empty() && self.access.is_empty() {
            report.warning(
                &join(field, "access"),
                format!(
                    "the {} permission has no access: it grants nothing",
                    kind.as_str()
                ),
                format!("write one of {}", accesses.join(", ")),
            );
        }
        let scope = join(field, "scope");
        if report.count(&scope, self.scope.len(), limits::SCOPE_ENTRIES_MAX) {
            for (number, pattern) in self.scope.iter().enumerate() {
                report.required(
                    &index(&scope, number),
                    pattern,
                    limits::LINE_BYTES_MAX,
                    "write a pattern or remove the entry",
                );
            }
        }
    }
}
