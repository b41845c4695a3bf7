//! Any value of any shape comes back as it was.

use super::*;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Inner {
    flag: bool,
    small: i8,
    text: String,
    payload: Payload,
    raw: Vec<u8>,
    rune: char,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Outer {
    int: i64,
    uint: u64,
    float: f64,
    single: f32,
    texts: Vec<String>,
    inners: Vec<Inner>,
    by_name: BTreeMap<String, Inner>,
    by_number: BTreeMap<i32, Vec<u16>>,
    perhaps: Option<Inner>,
    boxed: Box<Inner>,
    triple: [i32; 3],
    pairs: Vec<(u32, u32)>,
    nested: Vec<Vec<Vec<bool>>>,
    nothing: (),
}

/// A type that contains itself by a slice, a map and an option.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Tree {
    name: String,
    children: Vec<Tree>,
    named: BTreeMap<String, Vec<Tree>>,
    next: Option<Box<Tree>>,
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z]{0,8}",
        "\\PC{0,20}",
        Just("Größe \u{1f980}".to_owned())
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        (8_000_usize..20_000, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ]
}

fn inner() -> impl Strategy<Value = Inner> {
    (
        any::<bool>(),
        any::<i8>(),
        text(),
        bytes(),
        bytes(),
        any::<char>(),
    )
        .prop_map(|(flag, small, text, payload, raw, rune)| Inner {
            flag,
            small,
            text,
            payload: Payload(payload.into()),
            raw,
            rune,
        })
}

fn outer() -> impl Strategy<Value = Outer> {
    let few = 0..4;
    let numbers = (
        any::<i64>(),
        any::<u64>(),
        any::<f64>(),
        any::<f32>(),
        any::<[i32; 3]>(),
    );
    let inners = (
        proptest::collection::vec(inner(), few.clone()),
        proptest::collection::btree_map(text(), inner(), few.clone()),
        proptest::option::of(inner()),
        inner(),
    );
    let others = (
        proptest::collection::vec(text(), few.clone()),
        proptest::collection::btree_map(
            any::<i32>(),
            proptest::collection::vec(any::<u16>(), 0..4),
            few.clone(),
        ),
        proptest::collection::vec(any::<(u32, u32)>(), few.clone()),
        proptest::collection::vec(
            proptest::collection::vec(proptest::collection::vec(any::<bool>(), 0..3), 0..3),
            few,
        ),
    );
    (numbers, inners, others).prop_map(|(numbers, inners, others)| {
        let (int, uint, float, single, triple) = numbers;
        let (list, by_name, perhaps, boxed) = inners;
        let (texts, by_number, pairs, nested) = others;
        Outer {
            int,
            uint,
            float,
            single,
            texts,
            inners: list,
            by_name,
            by_number,
            perhaps,
            boxed: Box::new(boxed),
            triple,
            pairs,
            nested,
            nothing: (),
        }
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = text().prop_map(|name| Tree {
        name,
        ..Tree::default()
    });
    leaf.prop_recursive(4, 24, 4, |tree| {
        let children = proptest::collection::vec(tree.clone(), 0..4);
        let named = proptest::collection::btree_map(
            text(),
            proptest::collection::vec(tree.clone(), 0..3),
            0..3,
        );
        (text(), children, named, proptest::option::of(tree)).prop_map(
            |(name, children, named, next)| Tree {
                name,
                children,
                named,
                next: next.map(Box::new),
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn nested_values_come_back(value in outer()) {
        prop_assume!(!value.float.is_nan() && !value.single.is_nan());
        prop_assert_eq!(round_trip(&value), value);
    }

    #[test]
    fn recursive_values_come_back(value in tree()) {
        prop_assert_eq!(round_trip(&value), value);
    }

    #[test]
    fn top_level_values_come_back(
        number: i64, unsigned: u64, bits: u64, text in text(), flag: bool,
        list in proptest::collection::vec(text(), 0..5),
        map in proptest::collection::btree_map(text(), any::<u32>(), 0..5),
    ) {
        prop_assert_eq!(round_trip(&number), number);
        prop_assert_eq!(round_trip(&unsigned), unsigned);
        prop_assert_eq!(round_trip(&f64::from_bits(bits)).to_bits(), bits);
        prop_assert_eq!(round_trip(&flag), flag);
        prop_assert_eq!(round_trip(&text), text);
        prop_assert_eq!(round_trip(&list), list);
        prop_assert_eq!(round_trip(&map), map);
    }

    /// One encoder for many types, as a net/rpc stream has: each is defined once, and shared parts
    /// too.
    #[test]
    fn one_encoder_serves_all_types(values in proptest::collection::vec((0..5_u8, outer(), tree()), 1..8)) {
        let (mut encoder, mut stream) = (Encoder::new(), Vec::new());
        for (which, outer, tree) in &values {
            match which {
                0 => encoder.encode(outer, &mut stream).unwrap(),
                1 => encoder.encode(tree, &mut stream).unwrap(),
                2 => encoder.encode(&outer.inners, &mut stream).unwrap(),
                3 => encoder.encode(&*outer.boxed, &mut stream).unwrap(),
                _ => encoder.encode(&tree.children, &mut stream).unwrap(),
            }
        }
        let (mut decoder, mut stream) = (Decoder::new(Limits::default()), Bytes::from(stream));
        for (which, outer, tree) in &values {
            let message = decoder.next(&mut stream).unwrap().unwrap();
            message.value().unwrap();
            match which {
                0 => prop_assert_eq!(&message.decode::<Outer>().unwrap(), outer),
                1 => prop_assert_eq!(&message.decode::<Tree>().unwrap(), tree),
                2 => prop_assert_eq!(&message.decode::<Vec<Inner>>().unwrap(), &outer.inners),
                3 => prop_assert_eq!(&message.decode::<Inner>().unwrap(), &*outer.boxed),
                _ => prop_assert_eq!(&message.decode::<Vec<Tree>>().unwrap(), &tree.children),
            }
        }
        prop_assert!(stream.is_empty());
    }

    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(message) = message(&bytes) {
            let _ = message.value();
            let _ = message.decode::<Outer>();
            let _ = message.decode::<Tree>();
        }
    }
}
