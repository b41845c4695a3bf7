//! Methods of the host application, and requests that run.

use super::*;

#[derive(Debug)]
struct OrgId;

#[async_trait]
impl Method for OrgId {
    fn spec(&self) -> MethodSpec {
        let access = Some(Access::Read);
        MethodSpec::needing(
            "org_id",
            PermissionKind::Entity,
            access,
            "entity read access not granted",
        )
    }

    async fn call(&self, granted: &Granted<'_>, _: Bytes) -> Result<Bytes, HostError> {
        let scope = granted
            .grants()
            .scope(PermissionKind::Entity, Some(Access::Read));
        let Some(Scope::Only(scope)) = scope else {
            return Err(HostError::failed(format!("{scope:?}")));
        };
        Ok(Bytes::from(
            json!({"plugin": granted.plugin(), "scope": scope}).to_string(),
        ))
    }
}

#[tokio::test]
async fn a_host_application_adds_methods_behind_the_same_guard() {
    let mut rig = Rig::trusting(&[permission("entity", "read", &["ticket"])]).await;
    let error = rig.ask("org_id", json!({})).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotProvided);
    assert_eq!(
        error.to_string(),
        "method \"org_id\" is not provided by this host"
    );
    let error = rig.ask("orgid", json!({})).await.unwrap_err();
    assert_eq!(error.to_string(), "unknown host API method: orgid");
    rig.host.add(Arc::new(OrgId)).unwrap();
    assert!(rig.host.add(Arc::new(OrgId)).is_err());
    let answer = rig.ask("org_id", json!({})).await.unwrap();
    assert_eq!(answer, json!({"plugin": "goat", "scope": ["ticket"]}));
    rig.register("sheep", &[]).await.unwrap();
    let error = rig
        .ask_as(&rig.caller("sheep"), "org_id", json!({}))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

#[tokio::test]
async fn a_plugin_has_so_many_requests_under_way_and_no_more() {
    use gk_hostapi::policy::HTTP_IN_FLIGHT_MAX;
    let rig = Arc::new(Rig::trusting(&[permission("http", "", &["127.0.0.1:*"])]).await);
    // A server that takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let mut requests = tokio::task::JoinSet::new();
    let mut held = Vec::new();
    for _ in 0..HTTP_IN_FLIGHT_MAX {
        let (rig, args) = (Arc::clone(&rig), json!({ "url": url }));
        requests.spawn(async move { rig.ask("http_request", args).await });
        held.push(silent.accept().await.unwrap());
    }
    let error = rig
        .ask("http_request", json!({ "url": url }))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    // One that ends makes room.
    drop(held.pop());
    requests.join_next().await.unwrap().unwrap().unwrap_err();
    let (again, args) = (Arc::clone(&rig), json!({ "url": url }));
    requests.spawn(async move { again.ask("http_request", args).await });
    silent.accept().await.unwrap();
}

/// While all places are taken, what cannot run is refused, and not kept waiting with its arguments.
#[tokio::test(flavor = "multi_thread")]
async fn too_many_arguments_are_refused_unread() {
    let rig = Arc::new(Rig::trusting(&[permission("db", "readwrite", &[])]).await);
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000) \
                   SELECT COUNT(*) FROM n";
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let rig = Arc::clone(&rig);
        running.spawn(async move { rig.ask("db_query", json!({ "query": endless })).await });
    }
    let refused = async |method: &str, args: Value| {
        let asked = tokio::time::timeout(Duration::from_secs(10), rig.ask(method, args));
        let error = asked.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{method}: {error}");
    };
    let many = vec![0; 1000];
    for method in ["db_query", "db_exec"] {
        refused(method, json!({"query": "SELECT 1", "args": many})).await;
        refused(
            method,
            json!({"query": "SELECT 1", "args": vec![0; 65_000]}),
        )
        .await;
    }
    let statement = json!({"query": "SELECT ?", "args": many});
    refused(
        "db_batch",
        json!({"statements": [{"query": "SELECT 1"}, statement]}),
    )
    .await;
    refused(
        "db_batch",
        json!({"statements": vec![json!({"query": "SELECT 1"}); 101]}),
    )
    .await;
}

/// A method that never answers.
#[derive(Debug, Default)]
struct Endless {
    began: tokio::sync::Notify,
    dropped: Arc<std::sync::atomic::AtomicBool>,
}

struct Dropped(Arc<std::sync::atomic::AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Release);
    }
}

#[async_trait]
impl Method for Endless {
    fn spec(&self) -> MethodSpec {
        MethodSpec::free("endless")
    }

    async fn call(&self, _: &Granted<'_>, _: Bytes) -> Result<Bytes, HostError> {
        let _dropped = Dropped(Arc::clone(&self.dropped));
        self.began.notify_one();
        std::future::pending().await
    }
}

/// Row 20: upstream lets what runs go on when a plugin is blocked.
#[tokio::test]
async fn a_block_ends_requests_that_run() {
    let mut rig = Rig::trusting(&[]).await;
    let endless = Arc::new(Endless::default());
    rig.host.add(endless.clone()).unwrap();
    let (set, asked) = tokio::join!(
        async {
            endless.began.notified().await;
            // Another policy ends nothing.
            let approved = Policy::from_json(br#"{"status":"approved"}"#).unwrap();
            let policies = rig.host.policies();
            policies.set(&name("goat"), approved).await.unwrap();
            assert!(!endless.dropped.load(std::sync::atomic::Ordering::Acquire));
            let blocked = Policy::from_json(br#"{"status":"blocked"}"#).unwrap();
            policies.set(&name("goat"), blocked).await
        },
        tokio::time::timeout(Duration::from_secs(20), rig.ask("endless", json!({}))),
    );
    set.unwrap();
    let error = asked.expect("the request goes on").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(
        error.to_string().contains("blocked by its policy while"),
        "{error}"
    );
    assert!(endless.dropped.load(std::sync::atomic::Ordering::Acquire));
}
