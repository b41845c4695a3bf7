//! A plugin that asks its host: `cache_get` and `db_query`, beside a plain call and the same query
//! without plugin and guard.
//!
//! The plugin is this program itself, started by the host with the protocol's cookie in its
//! environment.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use bytes::Bytes;
use gk_hostapi::Host;
use gk_hostapi::policy::{Policies, Policy};
use gk_manifest::PluginName;
use gk_plugin::Plugin;
use gk_runtime::{CallContext, ProcessLauncher, Runtime, RuntimeConfig};
use gk_services::Services;
use gk_services::cache::{Cache, CacheConfig};
use gk_services::config::{AppSettings, Config};
use gk_services::db::{DatabaseConfig, Databases, DatabasesConfig};
use gk_services::events::Events;
use gk_services::files::Files;
use gk_services::http::{HttpClient, HttpConfig};
use gk_services::i18n::Catalogue;
use gk_services::kv::{Kv, KvQuota};
use gk_services::secure::SecureConfig;
use gk_services::store::Store;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::measure::{median, payload, print};

const NAME: &str = "bench";
const PAYLOAD_BYTES: usize = 64;
const POLICY: &[u8] = br#"{"status":"approved","max_db_queries_per_min":0,
    "permissions":[{"type":"cache","access":"readwrite"},{"type":"db","access":"readwrite"}]}"#;
const QUERY: &str = "SELECT id, title FROM bench_ticket WHERE id = ?";
const ROWS: usize = 1000;

/// A row, as a plugin reads it.
#[derive(Deserialize)]
struct Ticket {
    id: i64,
    title: String,
}

impl Ticket {
    fn is_whole(&self) -> bool {
        self.title == format!("ticket {}", self.id)
    }
}

/// The plugin's side.
pub(crate) fn plugin() -> Plugin {
    Plugin::new(NAME, "1.0.0")
        .raw_function("echo", async |_, args| Ok(args))
        .function("prepare", async |context: gk_plugin::Context, _: Value| {
            let (cache, db) = (context.host().cache(), context.host().db());
            cache.set("key", &payload(PAYLOAD_BYTES), None).await?;
            let table = "CREATE TABLE bench_ticket (id INTEGER PRIMARY KEY, title TEXT NOT NULL)";
            db.execute(table, ()).await?;
            for id in 0..ROWS {
                let insert = "INSERT INTO bench_ticket (id, title) VALUES (?, ?)";
                db.execute(insert, (id, format!("ticket {id}"))).await?;
            }
            Ok::<_, gk_plugin::Error>(Value::Null)
        })
        .function(
            "cache_get",
            async |context: gk_plugin::Context, count: usize| {
                let host = context.host().clone();
                let mut times = Vec::with_capacity(count);
                for _ in 0..count {
                    let start = Instant::now();
                    let value = host.cache().get("key").await?;
                    times.push(start.elapsed().as_secs_f64());
                    debug_assert!(value.is_some());
                }
                Ok::<_, gk_plugin::Error>(median_us(times))
            },
        )
        .function(
            "db_query",
            async |context: gk_plugin::Context, count: usize| {
                let host = context.host().clone();
                let mut times = Vec::with_capacity(count);
                for number in 0..count {
                    let start = Instant::now();
                    let rows: Vec<Ticket> = host.db().query(QUERY, (number % ROWS,)).await?;
                    times.push(start.elapsed().as_secs_f64());
                    debug_assert!(rows.iter().all(Ticket::is_whole) && rows.len() == 1);
                }
                Ok::<_, gk_plugin::Error>(median_us(times))
            },
        )
}

fn median_us(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or_default() * 1e6
}

/// The host's side: prints one line with the medians of each, the rounds interleaved.
pub(crate) async fn run(rounds: usize, count: usize) -> Result<()> {
    let data = tempfile::tempdir()?;
    let dir = data.path().join("plugins").join(NAME);
    std::fs::create_dir_all(&dir)?;
    let manifest =
        format!("name: {NAME}\nversion: 1.0.0\nruntime: grpc\nresources:\n  call_timeout: 5m\n");
    std::fs::write(dir.join("plugin.yaml"), manifest)?;
    std::fs::copy(std::env::current_exe()?, dir.join(NAME))?;
    std::fs::set_permissions(dir.join(NAME), PermissionsExt::from_mode(0o755))?;

    let host = host(data.path()).await?;
    let config = RuntimeConfig::new(data.path().join("plugins"), data.path(), "0.0.0");
    let launcher = ProcessLauncher::new(&config)?;
    let runtime = Runtime::start_with(config, Arc::new(launcher), Arc::clone(&host) as _)?;
    host.connect(Arc::new(runtime.downgrade()));
    runtime.settled().await;
    let call = async |function: &str, args: Value| -> Result<Value> {
        let args = Bytes::from(args.to_string());
        let result = runtime
            .call(NAME, function, args, CallContext::new())
            .await?;
        Ok(serde_json::from_slice(&result)?)
    };
    call("prepare", Value::Null).await.context("preparing")?;
    let args = Bytes::from(payload(PAYLOAD_BYTES));
    let plain = async || -> Result<f64> {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let start = Instant::now();
            runtime
                .call(NAME, "echo", args.clone(), CallContext::new())
                .await?;
            times.push(start.elapsed().as_secs_f64());
        }
        Ok(median_us(times))
    };
    let database = data.path().join("plugins.db");
    let (mut calls, mut caches, mut queries, mut in_process) = (vec![], vec![], vec![], vec![]);
    for _ in 0..rounds {
        calls.push(plain().await?);
        for (function, into) in [("cache_get", &mut caches), ("db_query", &mut queries)] {
            let median = call(function, count.into()).await?;
            into.push(median.as_f64().context("no median")?);
        }
        in_process.push(query_in_process(&database, count)?);
    }
    runtime.shutdown().await;
    print(&json!({
        "call_us": median(calls),
        "cache_get_us": median(caches),
        "db_query_us": median(queries),
        "in_process_query_us": median(in_process),
    }))
}

/// The same query with the same outcome, rows as JSON, by the engine alone.
fn query_in_process(database: &Path, count: usize) -> Result<f64> {
    let connection = rusqlite::Connection::open(database)?;
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        let start = Instant::now();
        let mut statement = connection.prepare_cached(QUERY)?;
        let id = i64::try_from(number % ROWS)?;
        let row = statement.query_row([id], |row| {
            Ok(json!({ "id": row.get::<_, i64>(0)?, "title": row.get::<_, String>(1)? }))
        })?;
        let text = serde_json::to_vec(&[row])?;
        times.push(start.elapsed().as_secs_f64());
        debug_assert!(!text.is_empty());
    }
    Ok(median_us(times))
}

async fn host(data: &Path) -> Result<Arc<Host>> {
    let store = Store::open(&data.join("hostapi.db"))?;
    let policies = Policies::new(store.clone(), false);
    let plugin = PluginName::new(NAME)?;
    policies.set(&plugin, Policy::from_json(POLICY)?).await?;
    let mut databases = DatabasesConfig::default();
    let url = format!("sqlite:{}", data.join("plugins.db").display());
    databases.default = Some(DatabaseConfig::new(url));
    let app = AppSettings {
        name: "bench".into(),
        timezone: "UTC".into(),
        env: "bench".into(),
    };
    let services = Services {
        db: Databases::open(&databases)?.into(),
        cache: Cache::memory(CacheConfig::default()).into(),
        http: HttpClient::new(HttpConfig::default())?.into(),
        mail: None,
        config: Config::new(app, Default::default()).into(),
        secure: SecureConfig::new(store.clone(), None).into(),
        i18n: Catalogue::new().into(),
        files: Files::open(&data.join("files"))?.into(),
        kv: Kv::new(store, KvQuota::default()).into(),
        events: Events::new().into(),
    };
    let mut host = Host::new(Arc::new(policies));
    services.install(&mut host)?;
    Ok(Arc::new(host))
}
