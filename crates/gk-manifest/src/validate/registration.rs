//! The rules of a registration.

use std::collections::HashSet;

use super::routes::{METHODS, one_of, page_path};
use super::{Report, index, join, routes};
use crate::diagnostic::{Diagnostic, quoted};
use crate::duration::GoDuration;
use crate::limits::{
    ICON_BYTES_MAX, IDENTIFIER_BYTES_MAX, LINE_BYTES_MAX, LIST_ENTRIES_MAX, MENU_DEPTH_MAX,
    PATH_BYTES_MAX, TEXT_BYTES_MAX, TRANSLATIONS_MAX,
};
use crate::name::PluginName;
use crate::registration::{
    CustomFieldSpec, I18nSpec, JobSpec, MenuItemSpec, Registration, UiSpec, WidgetSpec,
};

impl Registration {
    /// Checks everything the contract demands. The plugin may be used when none of the findings is an error.
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
        menu(r, "menu_items", &self.menu_items, 1, &mut HashSet::new());
        each(r, "widgets", &self.widgets, widget);
        each(r, "jobs", &self.jobs, job);
        each(
            r,
            "templates",
            &self.templates,
            |r, field, template, seen| {
                let name = join(field, "name");
                if r.required(
                    &name,
                    &template.name,
                    PATH_BYTES_MAX,
                    "name the template of the host",
                ) {
                    r.unique(&name, &template.name, seen);
                }
                r.line(&join(field, "path"), &template.path, PATH_BYTES_MAX);
            },
        );
        if let Some(spec) = &self.i18n {
            translations(r, spec);
        }
        each(
            r,
            "error_codes",
            &self.error_codes,
            |r, field, code, seen| {
                r.unique_id(&join(field, "code"), &code.code, seen);
                r.text(&join(field, "message"), &code.message, TEXT_BYTES_MAX);
                if !(400..=599).contains(&code.http_status) {
                    let message = format!("{} is not an error status", code.http_status);
                    r.error(
                        &join(field, "http_status"),
                        message,
                        "write a status from 400 to 599",
                    );
                }
            },
        );
        r.line(
            "event_authorizer",
            &self.event_authorizer,
            IDENTIFIER_BYTES_MAX,
        );
        if r.count(
            "hide_menu_items",
            self.hide_menu_items.len(),
            LIST_ENTRIES_MAX,
        ) {
            for (number, id) in self.hide_menu_items.iter().enumerate() {
                r.required(
                    &index("hide_menu_items", number),
                    id,
                    IDENTIFIER_BYTES_MAX,
                    "name a menu item of the host",
                );
            }
        }
        if !self.landing_page.is_empty() {
            local_path(r, "landing_page", &self.landing_page);
        }
        each(r, "groups", &self.groups, |r, field, group, seen| {
            let name = join(field, "name");
            if r.required(&name, &group.name, IDENTIFIER_BYTES_MAX, "name the group") {
                r.unique(&name, &group.name, seen);
            }
            r.text(
                &join(field, "description"),
                &group.description,
                TEXT_BYTES_MAX,
            );
        });
        each(r, "custom_fields", &self.custom_fields, custom_field);
        let mut fields = HashSet::new();
        for (number, spec) in self.custom_fields.iter().enumerate().take(LIST_ENTRIES_MAX) {
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
        each(r, "uis", &self.uis, ui);
        each(r, "cascades", &self.cascades, |r, field, cascade, seen| {
            let entity = join(field, "entity_type");
            if r.required(
                &entity,
                &cascade.entity_type,
                IDENTIFIER_BYTES_MAX,
                "name an entity type, such as `ticket`",
            ) {
                r.unique(&entity, &cascade.entity_type, seen);
            }
            if cascade.on_soft_delete.is_empty() && cascade.on_hard_delete.is_empty() {
                r.warning(
                    field,
                    "calls no function",
                    "set `on_soft_delete` or `on_hard_delete`",
                );
            }
            r.line(
                &join(field, "on_soft_delete"),
                &cascade.on_soft_delete,
                IDENTIFIER_BYTES_MAX,
            );
            r.line(
                &join(field, "on_hard_delete"),
                &cascade.on_hard_delete,
                IDENTIFIER_BYTES_MAX,
            );
        });
        each(r, "mcp_tools", &self.mcp_tools, |r, field, tool, seen| {
            r.unique_id(&join(field, "name"), &tool.name, seen);
            r.handler(&join(field, "handler"), &tool.handler);
            r.text(
                &join(field, "description"),
                &tool.description,
                TEXT_BYTES_MAX,
            );
            if !tool.input_schema.0.is_null() && !tool.input_schema.0.is_object() {
                r.error(
                    &join(field, "input_schema"),
                    "is not a JSON object",
                    "write a JSON Schema, or leave it out",
                );
            }
        });
        each(
            r,
            "setup_tasks",
            &self.setup_tasks,
            |r, field, task, seen| {
                r.unique_id(&join(field, "id"), &task.id, seen);
                r.handler(&join(field, "handler"), &task.handler);
                r.line(&join(field, "title"), &task.title, LINE_BYTES_MAX);
                r.text(
                    &join(field, "description"),
                    &task.description,
                    TEXT_BYTES_MAX,
                );
                r.text(&join(field, "icon"), &task.icon, ICON_BYTES_MAX);
                r.line(
                    &join(field, "category"),
                    &task.category,
                    IDENTIFIER_BYTES_MAX,
                );
            },
        );
        let min = &self.min_host_version;
        if !min.is_empty() && semver::Version::parse(min.strip_prefix('v').unwrap_or(min)).is_err()
        {
            let message = format!("{} is not a semantic version", quoted(min));
            r.error(
                "min_host_version",
                message,
                "write three numbers, such as \"0.1.0\", or leave it out",
            );
        }
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

fn menu<'a>(
    r: &mut Report,
    field: &str,
    items: &'a [MenuItemSpec],
    depth: usize,
    seen: &mut HashSet<&'a str>,
) {
    if items.is_empty() || !r.count(field, items.len(), LIST_ENTRIES_MAX) {
        return;
    }
    if depth > MENU_DEPTH_MAX {
        r.error(
            field,
            format!("more than {MENU_DEPTH_MAX} levels of menu items"),
            "flatten the menu",
        );
        return;
    }
    for (number, item) in items.iter().enumerate() {
        let field = index(field, number);
        r.unique_id(&join(&field, "id"), &item.id, seen);
        r.required(
            &join(&field, "label"),
            &item.label,
            LINE_BYTES_MAX,
            "write what people shall read",
        );
        r.text(&join(&field, "icon"), &item.icon, ICON_BYTES_MAX);
        r.line(&join(&field, "parent"), &item.parent, IDENTIFIER_BYTES_MAX);
        // The path becomes a link: `javascript:` and the like have no place in a host's menu.
        let external = ["https://", "http://"]
            .iter()
            .any(|scheme| item.path.starts_with(scheme));
        if external {
            r.line(&join(&field, "path"), &item.path, PATH_BYTES_MAX);
        } else if !item.path.is_empty() {
            local_path(r, &join(&field, "path"), &item.path);
        }
        let locations = ["agent", "admin", "customer", "profile"];
        known(
            r,
            &join(&field, "location"),
            "menu",
            &item.location,
            &locations,
            "the item appears nowhere",
        );
        menu(
            r,
            &join(&field, "children"),
            &item.children,
            depth + 1,
            seen,
        );
    }
}

fn widget<'a>(r: &mut Report, field: &str, widget: &'a WidgetSpec, seen: &mut HashSet<&'a str>) {
    r.unique_id(&join(field, "id"), &widget.id, seen);
    r.handler(&join(field, "handler"), &widget.handler);
    r.line(&join(field, "title"), &widget.title, LINE_BYTES_MAX);
    r.text(
        &join(field, "description"),
        &widget.description,
        TEXT_BYTES_MAX,
    );
    r.line(
        &join(field, "location"),
        &widget.location,
        IDENTIFIER_BYTES_MAX,
    );
    let sizes = ["small", "medium", "large", "full"];
    known(
        r,
        &join(field, "size"),
        "size",
        &widget.size,
        &sizes,
        "the host chooses one",
    );
    if !(0..=86_400).contains(&widget.refresh_sec) {
        let message = format!("{} seconds", widget.refresh_sec);
        r.error(
            &join(field, "refresh_sec"),
            message,
            "write a number of seconds from 0 (never) to 86400",
        );
    }
}

fn job<'a>(r: &mut Report, field: &str, job: &'a JobSpec, seen: &mut HashSet<&'a str>) {
    r.unique_id(&join(field, "id"), &job.id, seen);
    r.handler(&join(field, "handler"), &job.handler);
    r.text(
        &join(field, "description"),
        &job.description,
        TEXT_BYTES_MAX,
    );
    r.timeout(&join(field, "timeout"), &job.timeout);
    if let Err((message, remedy)) = schedule(&job.schedule) {
        r.error(&join(field, "schedule"), message, remedy);
    }
}

/// Checks the form of a schedule; the values of its fields are the scheduler's to judge.
fn schedule(text: &str) -> Result<(), (String, String)> {
    const DESCRIPTORS: [&str; 7] = [
        "@yearly",
        "@annually",
        "@monthly",
        "@weekly",
        "@daily",
        "@midnight",
        "@hourly",
    ];
    const REMEDY: &str =
        "write five cron fields such as `*/5 * * * *`, or a descriptor such as `@hourly`";
    if text.trim().is_empty() {
        return Err(("the job has no schedule".into(), REMEDY.into()));
    }
    let plain = match text.split_once(' ') {
        Some((zone, rest)) if zone.starts_with("TZ=") || zone.starts_with("CRON_TZ=") => {
            rest.trim()
        }
        _ => text.trim(),
    };
    if let Some(interval) = plain.strip_prefix("@every ") {
        return match interval.trim().parse::<GoDuration>() {
            Ok(interval) if interval.as_nanos() > 0 => Ok(()),
            Ok(interval) => Err((
                format!("{interval} is not an interval"),
                GoDuration::SYNTAX.into(),
            )),
            Err(error) => Err((error.to_string(), GoDuration::SYNTAX.into())),
        };
    }
    if plain.starts_with('@') {
        if DESCRIPTORS.contains(&plain) {
            return Ok(());
        }
        return Err((
            format!("{} is not a descriptor", quoted(plain)),
            one_of(plain, &DESCRIPTORS),
        ));
    }
    let fields = plain.split_whitespace().count();
    if fields != 5
        || !plain
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || " \t*/,-?#".contains(c))
    {
        return Err((
            format!("{} is not a cron expression with five fields", quoted(text)),
            REMEDY.into(),
        ));
    }
    Ok(())
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

fn custom_field<'a>(
    r: &mut Report,
    field: &str,
    spec: &'a CustomFieldSpec,
    _: &mut HashSet<&'a str>,
) {
    // Fields of different entities may share a name, so the entries are compared by both, by the caller.
    r.unique_id(&join(field, "name"), &spec.name, &mut HashSet::new());
    r.required(
        &join(field, "entity_type"),
        &spec.entity_type,
        IDENTIFIER_BYTES_MAX,
        "name an entity type, such as `ticket`",
    );
    r.required(
        &join(field, "field_type"),
        &spec.field_type,
        IDENTIFIER_BYTES_MAX,
        "name the kind of value, such as `text`",
    );
    r.line(&join(field, "label"), &spec.label, LINE_BYTES_MAX);
    r.line(&join(field, "section"), &spec.section, IDENTIFIER_BYTES_MAX);
    r.text(
        &join(field, "description"),
        &spec.description,
        TEXT_BYTES_MAX,
    );
    r.line(
        &join(field, "placeholder"),
        &spec.placeholder,
        LINE_BYTES_MAX,
    );
}

fn ui<'a>(r: &mut Report, field: &str, ui: &'a UiSpec, seen: &mut HashSet<&'a str>) {
    r.unique_id(&join(field, "id"), &ui.id, seen);
    r.line(&join(field, "name"), &ui.name, LINE_BYTES_MAX);
    r.text(&join(field, "description"), &ui.description, TEXT_BYTES_MAX);
    r.text(&join(field, "icon"), &ui.icon, ICON_BYTES_MAX);
    let kinds = [
        "admin_page",
        "agent_app",
        "customer_app",
        "public_page",
        "kiosk",
    ];
    // The type decides who may open the pages, so a mistyped one is refused.
    if !kinds.contains(&ui.kind.as_str()) {
        r.error(
            &join(field, "type"),
            format!("{} is not a type", quoted(&ui.kind)),
            one_of(&ui.kind, &kinds),
        );
    }
    known(
        r,
        &join(field, "shell"),
        "shell",
        &ui.shell,
        &["none", "minimal", "standard"],
        "the type's default is used",
    );
    let scopes = ["self", "org", "all"];
    if !ui.data_scope.is_empty() && !scopes.contains(&ui.data_scope.as_str()) {
        let message = format!("{} is not a data scope", quoted(&ui.data_scope));
        r.error(
            &join(field, "data_scope"),
            message,
            one_of(&ui.data_scope, &scopes),
        );
    }
    if ui.rate_limit < 0 {
        r.error(
            &join(field, "rate_limit"),
            format!("{} is negative", ui.rate_limit),
            "write requests per minute",
        );
    }
    let pages = join(field, "routes");
    if r.count(&pages, ui.routes.len(), LIST_ENTRIES_MAX) {
        let mut seen = HashSet::new();
        for (number, route) in ui.routes.iter().enumerate() {
            let field = index(&pages, number);
            page_path(r, &join(&field, "path"), &route.path);
            r.handler(&join(&field, "handler"), &route.handler);
            let method = if route.method.is_empty() {
                METHODS[0]
            } else {
                &route.method
            };
            routes::method(r, &join(&field, "method"), method);
            if let Ok(shape) = routes::shape(&route.path)
                && !seen.insert((method, shape))
            {
                r.error(
                    &join(&field, "path"),
                    format!("{method} {} occurs twice", route.path),
                    "remove one of the two",
                );
            }
        }
    }
    if let Some(auth) = &ui.auth {
        let methods = ["session", "token", "none", ""];
        if !methods.contains(&auth.method.as_str()) {
            let message = format!("{} is not a way to authenticate", quoted(&auth.method));
            r.error(
                &join(field, "auth.method"),
                message,
                one_of(&auth.method, &methods[..3]),
            );
        }
    }
    if let Some(nav) = &ui.nav {
        let items = join(field, "nav.items");
        let positions = ["bottom", "top", "side"];
        known(
            r,
            &join(field, "nav.position"),
            "position",
            &nav.position,
            &positions,
            "the host chooses one",
        );
        if r.count(&items, nav.items.len(), LIST_ENTRIES_MAX) {
            for (number, item) in nav.items.iter().enumerate() {
                let item_field = index(&items, number);
                r.required(
                    &join(&item_field, "label"),
                    &item.label,
                    LINE_BYTES_MAX,
                    "write what people shall read",
                );
                r.line(&join(&item_field, "path"), &item.path, PATH_BYTES_MAX);
                r.line(
                    &join(&item_field, "badge"),
                    &item.badge,
                    IDENTIFIER_BYTES_MAX,
                );
            }
        }
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
#[path = "registration_tests.rs"]
mod tests;
