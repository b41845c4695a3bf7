//! The rules of a plugin's UIs.

use std::collections::HashSet;

use super::known;
use crate::diagnostic::quoted;
use crate::limits::{
    ICON_BYTES_MAX, IDENTIFIER_BYTES_MAX, LINE_BYTES_MAX, LIST_ENTRIES_MAX, PATH_BYTES_MAX,
    TEXT_BYTES_MAX,
};
use crate::registration::{UiNavSpec, UiSpec};
use crate::validate::routes::{METHODS, one_of, page_path};
use crate::validate::{Report, index, join, routes};

pub(super) fn ui<'a>(r: &mut Report, field: &str, ui: &'a UiSpec, seen: &mut HashSet<&'a str>) {
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
    pages(r, &join(field, "routes"), ui);
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
        navigation(r, field, nav);
    }
}

/// The pages of a UI, each with a path of its own.
fn pages(r: &mut Report, pages: &str, ui: &UiSpec) {
    if r.count(pages, ui.routes.len(), LIST_ENTRIES_MAX) {
        let mut seen = HashSet::new();
        for (number, route) in ui.routes.iter().enumerate() {
            let field = index(pages, number);
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
}

fn navigation(r: &mut Report, field: &str, nav: &UiNavSpec) {
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
