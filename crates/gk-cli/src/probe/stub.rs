//! A host API that answers as an empty host does: tables have no rows, what is written to cache and
//! store is there again, nothing leaves the machine. What a plugin makes of real tables needs a
//! real host.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use gk_protocol::host::{HostApiHandler, HostRequest};
use serde_json::{Value, json};

/// The stub, which counts what it is asked.
#[derive(Debug, Default)]
pub(crate) struct Stub(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    asked: u64,
    cache: BTreeMap<String, Value>,
    kv: BTreeMap<String, Value>,
}

impl Stub {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Number of requests.
    pub(crate) fn asked(&self) -> u64 {
        self.state().asked
    }
}

#[async_trait]
impl HostApiHandler for Stub {
    async fn call(&self, request: HostRequest) -> Result<Bytes, String> {
        let args: Value = serde_json::from_slice(&request.args).unwrap_or_default();
        let mut state = self.state();
        state.asked += 1;
        let answer = state.answer(&request.method, &args)?;
        Ok(Bytes::from(answer.to_string()))
    }
}

impl State {
    fn answer(&mut self, method: &str, args: &Value) -> Result<Value, String> {
        let key = args
            .get("key")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        let value = args.get("value").cloned().unwrap_or_default();
        let found = |value: Option<&Value>| json!({ "found": value.is_some(), "value": value });
        Ok(match method {
            "db_query" | "list_files" => json!([]),
            "db_exec" => json!({ "affected": 0 }),
            "db_batch" => {
                let statements = args.get("statements").and_then(Value::as_array);
                let statements = statements.map_or(0, Vec::len);
                (0..statements)
                    .map(|_| json!({ "affected": 0, "rows": [] }))
                    .collect()
            }
            "cache_get" => found(self.cache.get(&key)),
            "cache_set" => {
                self.cache.insert(key, value);
                json!({ "ok": true })
            }
            "cache_delete" => {
                self.cache.remove(&key);
                json!({ "ok": true })
            }
            "kv_get" => found(self.kv.get(&key)),
            "kv_set" => {
                self.kv.insert(key, value);
                json!({ "ok": true })
            }
            "kv_delete" => {
                self.kv.remove(&key);
                json!({ "ok": true })
            }
            "kv_list" => json!({ "keys": self.kv.keys().collect::<Vec<_>>(), "next": null }),
            "translate" => json!({ "value": key }),
            "time_now" => json!({ "now": jiff::Timestamp::now().to_string() }),
            "log" | "publish_event" | "send_email" | "store_file" | "delete_file"
            | "secure_config_set" => json!({ "status": "ok", "ok": true }),
            method => {
                return Err(format!(
                    "{method}: there is no host here; gk dev starts one"
                ));
            }
        })
    }
}
