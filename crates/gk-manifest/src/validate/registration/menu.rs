//! The rules of menu items.

use std::collections::HashSet;

use super::{known, local_path};
use crate::limits::{
    ICON_BYTES_MAX, IDENTIFIER_BYTES_MAX, LINE_BYTES_MAX, LIST_ENTRIES_MAX, MENU_DEPTH_MAX,
    PATH_BYTES_MAX,
};
use crate::registration::MenuItemSpec;
use crate::validate::{Report, index, join};

pub(super) fn menu<'a>(
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
