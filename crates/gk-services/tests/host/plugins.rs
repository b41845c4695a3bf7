//! Several plugins, and several generations of one.

use super::*;

#[tokio::test]
async fn calls_from_plugin_to_plugin_are_bounded_by_their_caller() {
    let rig = Rig::trusting(&[permission("plugin_call", "", &[])]).await;
    let chain = Chain::new().then(name("goat"), "f");
    let mut call = CallInfo::new(Instant::now() + Duration::from_secs(70), chain.clone());
    call.user = Some(User::new(7, "alice@a.example", UserRole::Agent));
    call.language = Some("de".into());
    call.request_id = RequestId::new(b"r-1");
    let caller = rig.caller("goat").with_call(Some(call));
    let args = json!({"plugin": "other", "function": "g"});
    let answer = rig
        .ask_as(&caller, "plugin_call", args.clone())
        .await
        .unwrap();
    assert_eq!(
        (&answer["chain"], &answer["user"]),
        (&json!("goat.f"), &json!("alice@a.example"))
    );
    assert!(answer["seconds"].as_u64().unwrap() < 70);
    // What a caller says of itself under the host's keys does not arrive; what the host knows does.
    let forged = json!({"a": [1, 2.50], "_is_admin": true, "_user_role": "Admin", "_user_id": 1, "_any": 1,
            "_request_id": "r-2"});
    let forge = |args: &Value| json!({"plugin": "other", "function": "g", "args": args});
    let answer = rig
        .ask_as(&caller, "plugin_call", forge(&forged))
        .await
        .unwrap();
    let told = json!({"a": [1, 2.50], "_is_admin": false, "_user_role": "Agent", "_user_id": 7,
        "_user_login": "alice@a.example", "_user_email": "alice@a.example", "_lang": "de",
        "_request_id": "r-1"});
    assert_eq!(answer["args"], told);
    // Without a running call there is no user; what is no object has no keys.
    let answer = rig.ask("plugin_call", forge(&forged)).await.unwrap();
    assert_eq!(answer["args"], json!({"a": [1, 2.50], "_is_admin": false}));
    let answer = rig.ask("plugin_call", forge(&json!([1]))).await.unwrap();
    assert_eq!(answer["args"], json!([1]));
    // A circle, with a token and without.
    let there = chain.then(name("other"), "g").then(name("goat"), "f");
    let inner = CallInfo::new(Instant::now() + Duration::from_secs(70), there);
    let caller = rig.caller("goat").with_call(Some(inner.clone()));
    let error = rig
        .ask_as(&caller, "plugin_call", args.clone())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("circle"), "{error}");
    rig.process.running.lock().push(inner);
    let error = rig.ask("plugin_call", args.clone()).await.unwrap_err();
    assert!(error.to_string().contains("circle"), "{error}");
    // Too deep, where no function comes twice.
    let deep = (0..11).fold(Chain::new(), |chain, number| {
        chain.then(name("goat"), &format!("f{number}"))
    });
    *rig.process.running.lock() = vec![CallInfo::new(Instant::now(), deep)];
    let error = rig.ask("plugin_call", args).await.unwrap_err();
    assert!(
        error.to_string().contains("depth exceeded (max 10)"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::Limit);
}

#[tokio::test]
async fn plugins_see_nothing_of_each_other() {
    let all = [
        permission("cache", "readwrite", &[]),
        permission("file", "readwrite", &[]),
    ];
    let rig = Rig::new(true);
    rig.register("goat", &all).await.unwrap();
    rig.register("sheep", &all).await.unwrap();
    let texts = I18nSpec {
        translations: serde_json::from_value(json!({"en": {"hello": "bleat"}})).unwrap(),
        ..I18nSpec::default()
    };
    let registration = Registration {
        i18n: Some(texts),
        ..Registration::default()
    };
    rig.host
        .prepare(&name("goat"), 2, &registration, &request(&all))
        .await
        .unwrap();
    for (method, args) in [
        ("cache_set", json!({"key": "k", "value": "AQ=="})),
        ("kv_set", json!({"key": "k", "value": "AQ=="})),
        ("store_file", json!({"key": "k", "data": "AQ=="})),
        ("secure_config_set", json!({"key": "k", "value": "hush"})),
    ] {
        rig.ask(method, args).await.unwrap();
    }
    let sheep = rig.caller("sheep");
    // A namespace that another plugin was quicker to take keeps nobody from starting.
    let mut taken = registration.clone();
    if let Some(texts) = &mut taken.i18n {
        texts.namespace = "goat".to_owned();
    }
    rig.host
        .prepare(&name("sheep"), 2, &taken, &request(&all))
        .await
        .unwrap();
    let key = json!({"key": "k"});
    let nothing = json!({"value": null, "found": false});
    assert_eq!(
        rig.ask_as(&sheep, "cache_get", key.clone()).await.unwrap(),
        nothing
    );
    assert_eq!(
        rig.ask_as(&sheep, "kv_get", key.clone()).await.unwrap(),
        nothing
    );
    assert_eq!(
        rig.ask_as(&sheep, "kv_list", json!({})).await.unwrap()["keys"],
        json!([])
    );
    assert_eq!(
        rig.ask_as(&sheep, "list_files", json!({})).await.unwrap(),
        json!([])
    );
    for method in ["get_file", "secure_config_get"] {
        let error = rig.ask_as(&sheep, method, key.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{method}: {error}");
    }
    let events = &rig.services.events;
    let mut theirs = events.subscribe(&name("sheep"), "c", None).unwrap();
    rig.ask(
        "publish_event",
        json!({"channel": "c", "event_type": "t", "data": 1}),
    )
    .await
    .unwrap();
    rig.ask_as(
        &sheep,
        "publish_event",
        json!({"channel": "c", "event_type": "own", "data": 2}),
    )
    .await
    .unwrap();
    let Delivery::Event(event) = theirs.next().await else {
        panic!("no event")
    };
    assert_eq!(event.event_type(), "own");
    // A plugin's texts go with its process.
    let hello = json!({"key": "hello"});
    assert_eq!(
        rig.ask("translate", hello.clone()).await.unwrap()["value"],
        "bleat"
    );
    rig.host.ended(&name("goat"), 2);
    assert_eq!(rig.ask("translate", hello).await.unwrap()["value"], "hello");
}

/// Grants, texts and streams are those of the generation that serves, until another one does.
#[tokio::test]
async fn a_generation_that_fails_changes_nothing() {
    let rig = Rig::new(true);
    let goat = name("goat");
    let cache = [permission("cache", "readwrite", &[])];
    let of = |generation| Caller::new(goat.clone(), generation, Arc::clone(&rig.process) as _);
    let get = json!({"key": "k"});
    let text = async |rig: &Rig| {
        let hello = json!({"key": "goat.hello"});
        rig.ask("translate", hello).await.unwrap()["value"].clone()
    };
    let saying = |hello: &str| Registration {
        i18n: Some(I18nSpec {
            translations: serde_json::from_value(json!({"en": {"hello": hello}})).unwrap(),
            ..I18nSpec::default()
        }),
        ..Registration::default()
    };
    let prepare = |generation: u64, hello: &str, wants: &[Permission]| {
        let (registration, wants) = (saying(hello), request(wants));
        let (host, goat) = (&rig.host, &goat);
        async move { host.prepare(goat, generation, &registration, &wants).await }
    };
    prepare(1, "bleat", &cache).await.unwrap();
    rig.host.commit(&goat, 1);
    let events = &rig.services.events;
    let mut stream = events.subscribe(&goat, "c", None).unwrap();

    // The next one asks for less and says something else. It has what it asks for, and nobody else
    // notices.
    prepare(2, "moo", &[]).await.unwrap();
    rig.ask_as(&of(1), "cache_get", get.clone()).await.unwrap();
    let refused = rig.ask_as(&of(2), "cache_get", get.clone()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Denied);
    let view = rig.host.policies().view(&goat).unwrap();
    assert_eq!(view.requested.permissions, cache);
    assert_eq!(text(&rig).await, "bleat");
    rig.host.ended(&goat, 2);
    rig.ask_as(&of(1), "cache_get", get.clone()).await.unwrap();
    assert_eq!(text(&rig).await, "bleat");
    events
        .publish(&goat, "c", "t", &json!("still here"))
        .await
        .unwrap();
    let Delivery::Event(event) = stream.next().await else {
        panic!("the stream ended with a generation that never served")
    };
    assert_eq!(event.data(), "still here");

    // One that serves takes over, and the old one's end is not its end.
    prepare(3, "moo", &[]).await.unwrap();
    rig.host.commit(&goat, 3);
    assert_eq!(text(&rig).await, "moo");
    assert!(
        rig.host
            .policies()
            .view(&goat)
            .unwrap()
            .requested
            .permissions
            .is_empty()
    );
    rig.ask_as(&of(1), "cache_get", get.clone()).await.unwrap();
    let refused = rig.ask_as(&of(3), "cache_get", get.clone()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Denied);
    rig.host.ended(&goat, 1);
    assert_eq!(text(&rig).await, "moo");
    events.publish(&goat, "c", "t", &json!("on")).await.unwrap();
    assert!(matches!(stream.next().await, Delivery::Event(_)));
    // It may be started again: who listens, listens on until nothing of the plugin comes any more.
    rig.host.ended(&goat, 3);
    events
        .publish(&goat, "c", "t", &json!("later"))
        .await
        .unwrap();
    assert!(matches!(stream.next().await, Delivery::Event(_)));
    rig.host.stopped(&goat);
    assert!(matches!(stream.next().await, Delivery::Closed));
}
