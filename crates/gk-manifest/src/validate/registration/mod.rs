//! The rules of a registration.

mod entries;
mod job;
mod menu;
mod ui;

use std::collections::HashSet;

use super::{Report, index, join, routes};
use crate::diagnostic::{Diagnostic, quoted};
use crate::limits::{
    ICON_BYTES_MAX, IDENTIFIER_BYTES_MAX, LINE_BYTES_MAX, LIST_ENTRIES_MAX, PATH_BYTES_MAX,
    TEXT_BYTES_MAX, TRANSLATIONS_MAX,
};
use crate::name::PluginName;
use crate::registration::{CustomFieldSpec, I18nSpec, Registration};

impl Registration {
    /// Checks everything the contract demands. The plugin may be used when none of the findings is
    /// an error.
    ///
    /// Findings name the field by its JSON key: `routes[2].path`.
    pub fn validate(&self) -> Vec<Diagnostic> {
        let mut report = Report::default();
        let r = &mut report;
        if let Err(error) = PluginName::new(&*self.name) {
            r.error("name", error.to_string(), PluginName::RULE);
        }
        r.version("version", &self.version);
        r.text("description", &self.description, TEXT_BYTES_MAX);
        r.line("author", &self.author, LINE_BYTES_MAX);
        r.line("license", &self.license, LINE_BYTES_MAX);
        r.line("homepage", &self.homepage, PATH_BYTES_MAX);
        r.text("icon", &self.icon, ICON_BYTES_MAX);
        routes::check(r, &self.routes);
        menu::menu(r, "menu_items", &self.menu_items, 1, &mut HashSet::new());
        each(r, "widgets", &self.widgets, entries::widget);
        each(r, "jobs", &self.jobs, job::job);
        each(r, "templates", &self.templates, entries::template);
        if let Some(spec) = &self.i18n {
            translations(r, spec);
        }
        each(r, "error_codes", &self.error_codes, entries::error_code);
        r.line(
            "event_authorizer",
            &self.event_authorizer,
            IDENTIFIER_BYTES_MAX,
        );
        hidden_items(r, &self.hide_menu_items);
        if !self.landing_page.is_empty() {
            local_path(r, "landing_page", &self.landing_page);
        }
        each(r, "groups", &self.groups, entries::group);
        each(
            r,
            "custom_fields",
            &self.custom_fields,
            entries::custom_field,
        );
        distinct_fields(r, &self.custom_fields);
        each(r, "uis", &self.uis, ui::ui);
        each(r, "cascades", &self.cascades, entries::cascade);
        each(r, "mcp_tools", &self.mcp_tools, entries::mcp_tool);
        each(r, "setup_tasks", &self.setup_tasks, entries::setup_task);
        min_host_version(r, &self.min_host_version);
        if !self.permissions.is_empty() {
            r.warning(
                "permissions",
                "this list is never evaluated",
                "ask for permissions in `resources.permissions`",
            );
        }
        if let Some(resources) = &self.resources {
            resources.check(r, "resources");
        }
        report.finish()
    }
}

/// Checks every entry of a list, which share one set of ids.
fn each<'a, T>(
    report: &mut Report,
    field: &str,
    entries: &'a [T],
    check: impl Fn(&mut Report, &str, &'a T, &mut HashSet<&'a str>),
) {
    if !report.count(field, entries.len(), LIST_ENTRIES_MAX) {
        return;
    }
    let mut seen = HashSet::new();
    for (number, entry) in entries.iter().enumerate() {
        check(report, &index(field, number), entry, &mut seen);
    }
}

fn translations(r: &mut Report, spec: &I18nSpec) {
    r.line("i18n.namespace", &spec.namespace, IDENTIFIER_BYTES_MAX);
    if r.count("i18n.languages", spec.languages.len(), LIST_ENTRIES_MAX) {
        for (number, language) in spec.languages.iter().enumerate() {
            r.required(
                &index("i18n.languages", number),
                language,
                IDENTIFIER_BYTES_MAX,
                "name a language, such as `de`",
            );
        }
    }
    let count = spec.translations.values().map(|texts| texts.len()).sum();
    if r.count("i18n.translations", count, TRANSLATIONS_MAX) {
        for (language, texts) in &spec.translations {
            for (key, text) in texts {
                let field = join(&join("i18n.translations", language), key);
                r.required(&field, key, LINE_BYTES_MAX, "name the text");
                r.text(&field, text, TEXT_BYTES_MAX);
            }
        }
    }
}

/// The host's menu items that a plugin hides.
fn hidden_items(r: &mut Report, ids: &[String]) {
    if r.count("hide_menu_items", ids.len(), LIST_ENTRIES_MAX) {
        for (number, id) in ids.iter().enumerate() {
            r.required(
                &index("hide_menu_items", number),
                id,
                IDENTIFIER_BYTES_MAX,
                "name a menu item of the host",
            );
        }
    }
}

/// Custom fields of one entity type have distinct names.
fn distinct_fields(r: &mut Report, specs: &[CustomFieldSpec]) {
    let mut fields = HashSet::new();
    for (number, spec) in specs.iter().enumerate().take(LIST_ENTRIES_MAX) {
        if !fields.insert((&spec.entity_type, &spec.name)) {
            let message = format!(
                "{} occurs twice for {}",
                quoted(&spec.name),
                quoted(&spec.entity_type)
            );
            r.error(
                &join(&index("custom_fields", number), "name"),
                message,
                "give each field a name of its own",
            );
        }
    }
}

fn min_host_version(r: &mut Report, min: &str) {
    if !min.is_empty() && semver::Version::parse(min.strip_prefix('v').unwrap_or(min)).is_err() {
        let message = format!("{} is not a semantic version", quoted(min));
        r.error(
            "min_host_version",
            message,
            "write three numbers, such as \"0.1.0\", or leave it out",
        );
    }
}

/// A word that should be one of a set, and may be empty.
fn known(r: &mut Report, field: &str, what: &str, word: &str, known: &[&str], effect: &str) {
    if !word.is_empty() && !known.contains(&word) {
        r.unknown_word(field, what, word, known, Some(effect));
    }
}

/// A path of this host that people are sent to.
fn local_path(r: &mut Report, field: &str, path: &str) {
    r.line(field, path, PATH_BYTES_MAX);
    if !path.starts_with('/') || path.starts_with("//") || path.contains('\\') {
        r.error(
            field,
            format!("{} is not a path of this host", quoted(path)),
            "start it with one `/`",
        );
    }
}

#[cfg(test)]
mod tests;
