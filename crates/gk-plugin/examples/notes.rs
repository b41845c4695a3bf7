//! A plugin that keeps notes, and uses all that its host offers.
//!
//! It needs a policy with `db`, `cache`, `file`, `config` and `plugin_call`; start the host with
//! `--trust-declared-permissions` to grant what its plugin.yaml asks for.

use std::collections::BTreeMap;
use std::time::Duration;

use gk_plugin::{Context, Error, Plugin, Route};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, Serialize, Deserialize)]
struct Note {
    id: i64,
    text: String,
}

/// `POST /api/plugins/notes/notes`: adds a note.
async fn add(context: Context, note: Note) -> Result<Note, Error> {
    let host = context.host();
    host.db()
        .execute(
            "INSERT INTO notes_note (id, text) VALUES (?, ?)",
            (note.id, &note.text),
        )
        .await?;
    host.cache().delete("count").await?;
    host.publish_event("notes", "note.added", &note).await?;
    Ok(note)
}

/// `GET /api/plugins/notes/notes`: all notes, however many, a page at a time.
async fn all(context: Context, _: Value) -> Result<Vec<Note>, Error> {
    let query = "SELECT id, text FROM notes_note ORDER BY id";
    let mut rows = context.host().db().rows(query, ())?.page_rows(2);
    let mut notes = Vec::new();
    while let Some(note) = rows.next().await? {
        notes.push(note);
    }
    Ok(notes)
}

/// How many notes there are, from the cache where it knows.
async fn count(context: Context, _: Value) -> Result<Value, Error> {
    #[derive(Deserialize)]
    struct Count {
        notes: i64,
    }
    let host = context.host();
    if let Some(cached) = host.cache().get("count").await? {
        return Ok(json!({ "notes": String::from_utf8_lossy(&cached), "cached": true }));
    }
    let count: Option<Count> = host
        .db()
        .first("SELECT COUNT(*) AS notes FROM notes_note", ())
        .await?;
    let text = count.map_or(0, |count| count.notes).to_string();
    host.cache()
        .set("count", text.as_bytes(), Some(Duration::from_secs(60)))
        .await?;
    Ok(json!({ "notes": text, "cached": false }))
}

/// One of everything else.
async fn tour(context: Context, _: Value) -> Result<Value, Error> {
    let host = context.host();
    host.kv().set("visits", b"1").await?;
    let mut keys = host.kv().keys("");
    let key = keys.next().await?;
    let visits = host.kv().get("visits").await?;
    host.kv().delete("visits").await?;

    let metadata = BTreeMap::from([("content-type".to_owned(), "text/plain".to_owned())]);
    host.files()
        .store("a/note.txt", b"hello", &metadata)
        .await?;
    let file = host.files().get("a/note.txt").await?;
    let files = host.files().list("a/").await?;
    host.files().delete("a/note.txt").await?;

    host.set_secure_config("key", "hush").await?;
    let echoed: Value = host
        .plugin_call("hello-go", "echo", &json!({ "n": 1 }))
        .await?;
    let refused = host.http("GET", "http://127.0.0.1:1/").send().await;
    Ok(json!({
        "key": key,
        "visits": visits.map(|visits| String::from_utf8_lossy(&visits).into_owned()),
        "file": String::from_utf8_lossy(&file.data),
        "files": files.len(),
        "secret": host.secure_config("key").await?,
        "app": host.config("app.name").await?,
        "text": host.translate("greeting", ("Ann",)).await?,
        "year": host.time_now().await?.year(),
        "echoed": echoed,
        "refused": refused.err().map(|error| error.to_string()),
    }))
}

fn plugin() -> Plugin {
    Plugin::new("notes", "1.0.0")
        .registration(|registration| {
            let texts = json!({ "translations": { "en": { "greeting": "Hello, {0}" }, "de": { "greeting": "Hallo, {0}" } } });
            registration.i18n = serde_json::from_value(texts).ok();
        })
        .route(Route::post("/api/plugins/notes/notes").auth(), "add", add)
        .route(Route::get("/api/plugins/notes/notes").auth(), "all", all)
        .function("count", count)
        .function("tour", tour)
        .on_init(async |context| {
            let table = "CREATE TABLE IF NOT EXISTS notes_note (id BIGINT PRIMARY KEY, text TEXT NOT NULL)";
            context.host().db().execute(table, ()).await?;
            Ok(())
        })
}

fn main() -> std::process::ExitCode {
    plugin().run()
}

/// `cargo test -p gk-plugin --example notes`.
#[cfg(test)]
mod tests {
    use gk_plugin::testing::{Answer, TestHost, TestPlugin, User};

    use super::*;

    const PATH: &str = "/api/plugins/notes/notes";

    async fn start(host: &TestHost) -> Result<TestPlugin, Error> {
        host.on_execute(
            "CREATE TABLE IF NOT EXISTS notes_note (id BIGINT PRIMARY KEY, text TEXT NOT NULL)",
            0,
        );
        host.start(plugin()).await
    }

    #[tokio::test]
    async fn a_note_is_stored_and_told() -> Result<(), Error> {
        let host = TestHost::new();
        let plugin = start(&host).await?;
        host.on_execute("INSERT INTO notes_note (id, text) VALUES (?, ?)", 1);
        host.set_cached("count", "3");
        let note = json!({ "id": 7, "text": "buy hay" });
        let added: Note = plugin
            .post(PATH)
            .json(&note)
            .as_user(User::agent())
            .send()
            .await?;
        assert_eq!((added.id, &*added.text), (7, "buy hay"));
        assert_eq!(host.cached("count"), None, "the cached count is stale");
        let event = &host.events()[0];
        assert_eq!(
            (&*event.channel, &*event.event_type),
            ("notes", "note.added")
        );
        assert_eq!(serde_json::from_str::<Value>(&event.data)?, note);
        assert_eq!(
            host.calls_to("db_exec")[1].args["args"],
            json!([7, "buy hay"])
        );
        Ok(())
    }

    #[tokio::test]
    async fn all_notes_come_page_by_page() -> Result<(), Error> {
        let host = TestHost::new();
        let plugin = start(&host).await?;
        host.on_statement(|statement| {
            let page = match statement.query.rsplit_once("OFFSET ")?.1 {
                "0" => json!([{ "id": 1, "text": "a" }, { "id": 2, "text": "b" }]),
                _ => json!([{ "id": 3, "text": "c" }]),
            };
            Some(Ok(Answer::rows(page)))
        });
        let notes: Vec<Note> = plugin.get(PATH).as_user(User::agent()).send().await?;
        let ids: Vec<_> = notes.iter().map(|note| note.id).collect();
        assert_eq!(ids, [1, 2, 3]);
        assert_eq!(host.calls_to("db_query").len(), 2);
        Ok(())
    }

    #[tokio::test]
    async fn the_count_is_cached_for_a_minute() -> Result<(), Error> {
        let host = TestHost::new();
        host.on_query(
            "SELECT COUNT(*) AS notes FROM notes_note",
            json!([{ "notes": 3 }]),
        );
        let asked = async || count(host.context("count"), Value::Null).await;
        assert_eq!(asked().await?, json!({ "notes": "3", "cached": false }));
        assert_eq!(asked().await?, json!({ "notes": "3", "cached": true }));
        host.advance(Duration::from_secs(60));
        assert_eq!(asked().await?["cached"], json!(false));
        host.advance(Duration::from_secs(60));
        host.deny("db_query");
        let refused = asked().await.map_err(|error| error.to_string());
        assert_eq!(
            refused,
            Err("host: plugin \"test\": database read access not granted".to_owned())
        );
        Ok(())
    }

    #[tokio::test]
    async fn the_tour_uses_everything_else() -> Result<(), Error> {
        let host = TestHost::new();
        let plugin = start(&host).await?;
        host.set_setting("app.name", "Test");
        host.on_plugin_call("hello-go", "echo", |args| Ok(args["n"].clone()));
        host.fail("http_request", "not an address for plugins");
        let told: Value = plugin.call("tour", &()).await?;
        assert_eq!(
            told,
            json!({
                "key": "visits", "visits": "1", "file": "hello", "files": 1, "secret": "hush", "app": "Test",
                "text": "Hello, Ann", "year": 2026, "echoed": 1, "refused": "host: not an address for plugins",
            })
        );
        assert_eq!((host.kv("visits"), host.file("a/note.txt")), (None, None));
        Ok(())
    }
}
