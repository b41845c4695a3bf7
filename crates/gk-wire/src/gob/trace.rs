//! Takes the shape of a Rust type from its `Deserialize`.
//!
//! Gob sends the definition of a type ahead of its first value, also for the fields that are empty
//! in that value. serde's `Serialize` shows only what is there, so the type is asked to read itself
//! from a tracer that notes what it asks for.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::passing::{self, Passing};
use super::schema::{FieldNode, MAX_NESTING, Node, NodeId, Schema, StructNode};
use super::{Error, names};

/// Takes the shape of `T`.
pub(crate) fn of<'de, T: Deserialize<'de>>() -> Result<Schema, Error> {
    let mut trace = Trace::default();
    // Each round learns of at least one more option that leads back to its own struct.
    loop {
        trace.nodes.clear();
        trace.structs.clear();
        trace.recursed = None;
        trace.restart = false;
        trace.depth = 0;
        let mut root = 0;
        match T::deserialize(Tracer {
            trace: &mut trace,
            node: &mut root,
            within: None,
        }) {
            Ok(_) => {
                return Ok(Schema {
                    nodes: trace.nodes,
                    root,
                    names: HashMap::new(),
                });
            }
            Err(_) if trace.restart => {}
            Err(error) => return Err(error),
        }
    }
}

#[derive(Debug, Default)]
struct Trace {
    /// Levels between the root and the value that is being asked for.
    depth: usize,
    nodes: Vec<Node>,
    /// The structs that are known by now, finished or not.
    structs: HashMap<(&'static str, usize), (NodeId, bool)>,
    /// Set when a struct was asked for inside of itself: its node.
    recursed: Option<NodeId>,
    /// Fields whose option leads back to the named struct.
    known_options: HashMap<(&'static str, &'static str), Cow<'static, str>>,
    restart: bool,
}

impl Trace {
    fn add(&mut self, node: Node) -> NodeId {
        if let Some(place) = self
            .nodes
            .iter()
            .position(|known| *known == node && !matches!(node, Node::Struct(_)))
        {
            return place;
        }
        self.nodes.push(node);
        self.nodes.len() - 1
    }
}

struct Tracer<'a> {
    trace: &'a mut Trace,
    /// The place for the node's number.
    node: &'a mut NodeId,
    /// The struct and field this value stands in.
    within: Option<(&'static str, &'static str)>,
}

impl Tracer<'_> {
    fn leaf(self, node: Node) {
        *self.node = self.trace.add(node);
    }

    /// Goes one level down. The caller goes up again, unless it returns an error.
    fn deeper(&mut self) -> Result<(), Error> {
        self.trace.depth += 1;
        match self.trace.depth > MAX_NESTING {
            true => Err(Error::Unsupported(
                "a type that contains itself without a struct in between",
            )),
            false => Ok(()),
        }
    }
}

macro_rules! leaves {
    ($($method:ident $node:ident $visit:ident $value:expr),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.leaf(Node::$node);
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Error;

    leaves! {
        deserialize_bool Bool visit_bool false,
        deserialize_i8 Int visit_i8 0,
        deserialize_i16 Int visit_i16 0,
        deserialize_i32 Int visit_i32 0,
        deserialize_i64 Int visit_i64 0,
        deserialize_u8 Byte visit_u8 0,
        deserialize_u16 Uint visit_u16 0,
        deserialize_u32 Uint visit_u32 0,
        deserialize_u64 Uint visit_u64 0,
        deserialize_f32 Float visit_f32 0.0,
        deserialize_f64 Float visit_f64 0.0,
        deserialize_char Int visit_char '\0',
        deserialize_str String visit_borrowed_str "",
        deserialize_string String visit_borrowed_str "",
        deserialize_bytes Bytes visit_borrowed_bytes b"",
        deserialize_byte_buf Bytes visit_borrowed_bytes b"",
        deserialize_identifier String visit_borrowed_str "",
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.leaf(Node::Interface);
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.leaf(Node::Struct(StructNode {
            name: name.into(),
            fields: Vec::new(),
        }));
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            passing::PAYLOAD => {
                self.leaf(Node::Bytes);
                return visitor.visit_bytes(b"");
            }
            passing::INTERFACE => {
                self.leaf(Node::Interface);
                return visitor.visit_unit();
            }
            passing::MARSHALED => {
                if let Some(Passing::MarshaledType(marshaler, name)) = passing::collect() {
                    self.leaf(Node::Marshaled(marshaler, name.into()));
                    return visitor.visit_unit();
                }
            }
            _ => {}
        }
        self.deeper()?;
        let Tracer {
            trace,
            node,
            within,
        } = self;
        let value = visitor.visit_newtype_struct(Tracer {
            trace: &mut *trace,
            node,
            within,
        })?;
        trace.depth -= 1;
        Ok(value)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if let Some(target) = self
            .within
            .and_then(|within| self.trace.known_options.get(&within))
        {
            let known = self
                .trace
                .structs
                .iter()
                .find(|((name, _), _)| name == target)
                .map(|(_, (node, _))| *node);
            *self.node = known.ok_or(Error::Unsupported(
                "an option of a type that is not known yet",
            ))?;
            return visitor.visit_none();
        }
        let within = self.within;
        let trace = self.trace;
        match visitor.visit_some(Tracer {
            trace: &mut *trace,
            node: self.node,
            within: None,
        }) {
            Err(error) => {
                if let (Some(node), Some(within), false) =
                    (trace.recursed.take(), within, trace.restart)
                    && let Some(Node::Struct(target)) = trace.nodes.get(node)
                {
                    trace.known_options.insert(within, target.name.clone());
                    trace.restart = true;
                }
                Err(error)
            }
            ok => ok,
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        self.deeper()?;
        let mut elem = 0;
        let value = visitor.visit_seq(Samples {
            trace: &mut *self.trace,
            key: &mut 0,
            elem: &mut elem,
            left: 1,
        })?;
        self.trace.depth -= 1;
        let node = match self.trace.nodes.get(elem) {
            Some(Node::Byte) => Node::Bytes,
            _ => Node::Slice(elem),
        };
        *self.node = self.trace.add(node);
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        mut self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if len == 0 {
            return Err(Error::Unsupported("an array without elements"));
        }
        self.deeper()?;
        let mut elem = 0;
        let value = visitor.visit_seq(Samples {
            trace: &mut *self.trace,
            key: &mut 0,
            elem: &mut elem,
            left: len,
        })?;
        self.trace.depth -= 1;
        *self.node = self.trace.add(Node::Array(elem, len));
        Ok(value)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Error> {
        self.deeper()?;
        let (mut key, mut elem) = (0, 0);
        let samples = Samples {
            trace: &mut *self.trace,
            key: &mut key,
            elem: &mut elem,
            left: 1,
        };
        let value = visitor.visit_map(samples)?;
        self.trace.depth -= 1;
        *self.node = self.trace.add(Node::Map(key, elem));
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let key = (name, fields.as_ptr() as usize);
        if let Some((node, finished)) = self.trace.structs.get(&key).copied() {
            *self.node = node;
            if !finished {
                self.trace.recursed = Some(node);
                return Err(Error::Unsupported(
                    "a type that contains itself other than by a slice, a map or an option",
                ));
            }
        }
        let node = match self.trace.structs.get(&key) {
            Some((node, _)) => *node,
            None => {
                self.trace.nodes.push(Node::Struct(StructNode {
                    name: name.into(),
                    fields: Vec::new(),
                }));
                let node = self.trace.nodes.len() - 1;
                self.trace.structs.insert(key, (node, false));
                node
            }
        };
        *self.node = node;
        let mut traced = Vec::with_capacity(fields.len());
        let walk = FieldSamples {
            trace: &mut *self.trace,
            traced: &mut traced,
            name,
            fields: fields.iter(),
            current: "",
        };
        let value = visitor.visit_map(walk)?;
        if let Some(Node::Struct(known)) = self.trace.nodes.get_mut(node) {
            known.fields = traced;
        }
        self.trace.structs.insert(key, (node, true));
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        Err(Error::Unsupported("an enum"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::Unsupported(
            "a type that takes its shape from the data",
        ))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Sample elements of a slice, an array or a map.
struct Samples<'a> {
    trace: &'a mut Trace,
    key: &'a mut NodeId,
    elem: &'a mut NodeId,
    left: usize,
}

impl Samples<'_> {
    /// A sample, or none if the element's type is the one being traced.
    fn sample<'de, S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let depth = self.trace.depth;
        match seed.deserialize(Tracer {
            trace: &mut *self.trace,
            node: &mut *self.elem,
            within: None,
        }) {
            Ok(value) => Ok(Some(value)),
            Err(error) if self.trace.restart => Err(error),
            Err(error) => match self.trace.recursed.take() {
                Some(node) => {
                    self.trace.depth = depth;
                    *self.elem = node;
                    self.left = 0;
                    Ok(None)
                }
                None => Err(error),
            },
        }
    }
}

impl<'de> SeqAccess<'de> for Samples<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        self.sample(seed)
    }
}

impl<'de> MapAccess<'de> for Samples<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(Tracer {
            trace: &mut *self.trace,
            node: &mut *self.key,
            within: None,
        })
        .map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        self.sample(seed)?.ok_or(Error::Unsupported(
            "a map whose values contain the map's own struct",
        ))
    }
}

struct FieldSamples<'a> {
    trace: &'a mut Trace,
    traced: &'a mut Vec<FieldNode>,
    name: &'static str,
    fields: std::slice::Iter<'static, &'static str>,
    current: &'static str,
}

impl<'de> MapAccess<'de> for FieldSamples<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let Some(field) = self.fields.next() else {
            return Ok(None);
        };
        self.current = field;
        seed.deserialize(serde::de::value::BorrowedStrDeserializer::new(field))
            .map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let mut node = 0;
        let within = Some((self.name, self.current));
        let value = seed.deserialize(Tracer {
            trace: &mut *self.trace,
            node: &mut node,
            within,
        })?;
        self.traced.push(FieldNode {
            rust: self.current,
            go: names::to_go(self.current),
            node,
        });
        Ok(value)
    }
}
