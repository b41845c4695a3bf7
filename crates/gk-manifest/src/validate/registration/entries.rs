//! The rules of a registration's smaller lists: one function for an entry of each.

use std::collections::HashSet;

use super::known;
use crate::limits::{
    ICON_BYTES_MAX, IDENTIFIER_BYTES_MAX, LINE_BYTES_MAX, PATH_BYTES_MAX, TEXT_BYTES_MAX,
};
use crate::registration::{
    CascadeSpec, CustomFieldSpec, ErrorCodeSpec, GroupSpec, McpToolSpec, SetupTaskSpec,
    TemplateSpec, WidgetSpec,
};
use crate::validate::{Report, join};

pub(super) fn widget<'a>(
    r: &mut Report,
    field: &str,
    widget: &'a WidgetSpec,
    seen: &mut HashSet<&'a str>,
) {
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

pub(super) fn template<'a>(
    r: &mut Report,
    field: &str,
    template: &'a TemplateSpec,
    seen: &mut HashSet<&'a str>,
) {
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
}

pub(super) fn error_code<'a>(
    r: &mut Report,
    field: &str,
    code: &'a ErrorCodeSpec,
    seen: &mut HashSet<&'a str>,
) {
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
}

pub(super) fn group<'a>(
    r: &mut Report,
    field: &str,
    group: &'a GroupSpec,
    seen: &mut HashSet<&'a str>,
) {
    let name = join(field, "name");
    if r.required(&name, &group.name, IDENTIFIER_BYTES_MAX, "name the group") {
        r.unique(&name, &group.name, seen);
    }
    r.text(
        &join(field, "description"),
        &group.description,
        TEXT_BYTES_MAX,
    );
}

pub(super) fn cascade<'a>(
    r: &mut Report,
    field: &str,
    cascade: &'a CascadeSpec,
    seen: &mut HashSet<&'a str>,
) {
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
}

pub(super) fn mcp_tool<'a>(
    r: &mut Report,
    field: &str,
    tool: &'a McpToolSpec,
    seen: &mut HashSet<&'a str>,
) {
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
}

pub(super) fn setup_task<'a>(
    r: &mut Report,
    field: &str,
    task: &'a SetupTaskSpec,
    seen: &mut HashSet<&'a str>,
) {
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
}

pub(super) fn custom_field<'a>(
    r: &mut Report,
    field: &str,
    spec: &'a CustomFieldSpec,
    _: &mut HashSet<&'a str>,
) {
    // Fields of different entities may share a name, so the entries are compared by both, by the
    // caller.
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
