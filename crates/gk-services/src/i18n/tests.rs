//! Namespaces, languages and arguments.

use serde_json::json;

use super::*;
use gk_hostapi::ErrorKind;

fn plugin(name: &str) -> PluginName {
    PluginName::new(name).unwrap()
}

fn spec(namespace: &str, texts: &[(&str, &str, &str)]) -> I18nSpec {
    let mut spec = I18nSpec {
        namespace: namespace.to_owned(),
        ..I18nSpec::default()
    };
    for (language, key, text) in texts {
        let texts = spec.translations.entry((*language).to_owned()).or_default();
        texts.insert((*key).to_owned(), (*text).to_owned());
    }
    spec
}

/// As for a generation that serves at once.
fn register(
    catalogue: &Catalogue,
    plugin: &PluginName,
    generation: u64,
    spec: &I18nSpec,
) -> Result<(), gk_hostapi::HostError> {
    catalogue.prepare(plugin, generation, Some(spec))?;
    catalogue.commit(plugin, generation);
    Ok(())
}

fn say(catalogue: &Catalogue, language: &str, key: &str) -> String {
    catalogue.translate(&plugin("reader"), language, key, &[])
}

#[test]
fn languages_fall_back() {
    let catalogue = Catalogue::new();
    let texts = [
        ("de", "a", "de a"),
        ("de-AT", "a", "de-AT a"),
        ("de", "b", "de b"),
        ("en", "b", "en b"),
        ("en", "c.d", "en c.d"),
    ];
    register(&catalogue, &plugin("p"), 1, &spec("", &texts)).unwrap();
    for (language, key, expected) in [
        ("de-AT", "p.a", "de-AT a"),
        ("DE_at", "p.a", "de-AT a"),
        ("de-CH", "p.a", "de a"),
        ("de-Latn-AT", "p.a", "de a"),
        ("de-AT", "p.b", "de b"),
        ("fr", "p.b", "en b"),
        ("", "p.b", "en b"),
        ("fr", "p.a", "p.a"),
        ("de", "p.c.d", "en c.d"),
        ("de", "p.nothing", "p.nothing"),
        ("de", "nothing", "nothing"),
        ("de", "b", "b"),
    ] {
        assert_eq!(say(&catalogue, language, key), expected, "{language} {key}");
    }
    // A plugin may leave its own namespace out.
    assert_eq!(catalogue.translate(&plugin("p"), "de", "b", &[]), "de b");
    assert_eq!(
        catalogue.translate(&plugin("p"), "de", "c.d", &[]),
        "en c.d"
    );
}

#[test]
fn a_namespace_cannot_be_taken() {
    let catalogue = Catalogue::new();
    let (p, q) = (plugin("p"), plugin("q"));
    register(&catalogue, &p, 1, &spec("shared", &[("en", "k", "p's")])).unwrap();
    let taken = register(&catalogue, &q, 1, &spec("shared", &[("en", "k", "q's")]));
    assert_eq!(taken.unwrap_err().kind(), ErrorKind::Denied);
    assert_eq!(say(&catalogue, "en", "shared.k"), "p's");
    // Nobody can sit on another plugin's name.
    register(&catalogue, &p, 2, &spec("q", &[("en", "k", "squatter")])).unwrap();
    assert_eq!(say(&catalogue, "en", "q.k"), "squatter");
    register(&catalogue, &q, 1, &spec("", &[("en", "k", "owner")])).unwrap();
    assert_eq!(say(&catalogue, "en", "q.k"), "owner");
    let again = register(&catalogue, &p, 3, &spec("q", &[]));
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Denied);
    for bad in ["a.b", "a b", "ä", &"n".repeat(NAMESPACE_BYTES_MAX + 1)] {
        let error = register(&catalogue, &p, 4, &spec(bad, &[])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
    }
}

#[test]
fn texts_come_and_go_with_their_generation() {
    let catalogue = Catalogue::new();
    let p = plugin("p");
    register(
        &catalogue,
        &p,
        1,
        &spec("", &[("en", "k", "one"), ("en", "old", "old")]),
    )
    .unwrap();
    register(&catalogue, &p, 2, &spec("", &[("en", "k", "two")])).unwrap();
    assert_eq!(say(&catalogue, "en", "p.old"), "p.old");
    catalogue.remove(&p, 1);
    register(&catalogue, &p, 1, &spec("", &[("en", "k", "late")])).unwrap();
    assert_eq!(say(&catalogue, "en", "p.k"), "two");
    catalogue.remove(&p, 2);
    assert_eq!(say(&catalogue, "en", "p.k"), "p.k");
}

/// The next generation's texts are nobody's business before it serves, nor when it fails.
#[test]
fn texts_of_a_generation_that_fails_leave_the_others() {
    let catalogue = Catalogue::new();
    let p = plugin("p");
    let texts = [("en", "k", "one"), ("en", "old", "old")];
    register(&catalogue, &p, 1, &spec("", &texts)).unwrap();
    let new = spec("new", &[("en", "k", "two")]);
    catalogue.prepare(&p, 2, Some(&new)).unwrap();
    assert_eq!(say(&catalogue, "en", "p.old"), "old");
    assert_eq!(say(&catalogue, "en", "new.k"), "new.k");
    catalogue.remove(&p, 2);
    catalogue.commit(&p, 2);
    assert_eq!(say(&catalogue, "en", "p.k"), "one");
    // One without texts takes the former one's away, once it serves.
    catalogue.prepare(&p, 3, None).unwrap();
    assert_eq!(say(&catalogue, "en", "p.k"), "one");
    catalogue.commit(&p, 3);
    assert_eq!(say(&catalogue, "en", "p.k"), "p.k");
    catalogue.remove(&p, 1);
    // A name that somebody else took meanwhile is theirs.
    catalogue.prepare(&p, 4, Some(&new)).unwrap();
    register(&catalogue, &plugin("q"), 1, &new).unwrap();
    catalogue.commit(&p, 4);
    catalogue.remove(&plugin("q"), 1);
    assert_eq!(say(&catalogue, "en", "new.k"), "new.k");
}

#[test]
fn arguments_are_put_in_once() {
    for (text, args, expected) in [
        ("{0} of {1}", json!([3, "many"]), "3 of many"),
        ("%d of %s, %v", json!([3, "many", true]), "3 of many, true"),
        ("{1}{0}{1}", json!(["a", "b"]), "bab"),
        ("100 %% of {0}", json!(["x"]), "100 % of x"),
        // What an argument holds is text and nothing else.
        ("{0}{1}", json!(["{1}%s", "x"]), "{1}%sx"),
        ("%s%s", json!(["%s{0}%%", "x"]), "%s{0}%%x"),
        // Places without an argument, and what is no place.
        ("{0} {1} %s %s", json!(["a"]), "a {1} a %s"),
        (
            "{} {x} {00000} { {0 %q % %",
            json!(["a"]),
            "{} {x} {00000} { {0 %q % %",
        ),
        ("100% {0}", json!(["ü"]), "100% ü"),
        ("{99}", json!(["a"]), "{99}"),
        ("%s", json!([{"a": 1.5}]), "{\"a\":1.5}"),
        ("[%v]", json!([null]), "[]"),
        ("50%% {0}", json!([]), "50%% {0}"),
    ] {
        let args = args.as_array().unwrap();
        assert_eq!(substitute(text, args), expected, "{text}");
    }
}

#[test]
fn the_limits_hold_at_the_limit() {
    let catalogue = Catalogue::new();
    let p = plugin("p");
    let register = |key: usize, text: usize, count: usize| {
        let (key, text) = ("k".repeat(key), "t".repeat(text));
        let languages: Vec<_> = (0..count).map(|n| format!("l{n}")).collect();
        let texts: Vec<_> = languages
            .iter()
            .map(|l| (l.as_str(), &*key, &*text))
            .collect();
        register(&catalogue, &p, 1, &spec("", &texts)).is_ok()
    };
    assert!(register(KEY_BYTES_MAX, TEXT_BYTES_MAX, 1));
    assert!(!register(KEY_BYTES_MAX + 1, 1, 1));
    assert!(!register(1, TEXT_BYTES_MAX + 1, 1));
    let fitting = CATALOGUE_BYTES_MAX / TEXT_BYTES_MAX;
    assert!(register(16, TEXT_BYTES_MAX - 16, fitting));
    assert!(!register(16, TEXT_BYTES_MAX - 16, fitting + 1));
    let long = Value::String("ü".repeat(OUTPUT_BYTES_MAX));
    let cut = substitute("x{0}{0}", &[long]);
    assert_eq!(cut.len(), OUTPUT_BYTES_MAX - 1);
    // Not even a key without a text comes back longer.
    let echoed = substitute(&"k".repeat(OUTPUT_BYTES_MAX + 1), &[]);
    assert_eq!(echoed.len(), OUTPUT_BYTES_MAX);
    let many: Vec<_> = (0..40).map(Value::from).collect();
    assert_eq!(substitute("{31} {32}", &many), "31 {32}");
}
