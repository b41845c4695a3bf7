//! From values to messages.

use std::any;
use std::collections::HashMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::schema::{self, Node, NodeId, Schema};
use super::ser::{Sink, Writer};
use super::wire::{self, TypeId};
use super::{Error, num};

/// A Rust type with the ids under which this encoder sends it.
#[derive(Debug)]
struct Known {
    schema: Schema,
    ids: Vec<TypeId>,
}

/// The sending end of one direction of a gob stream: knows which types it has defined already.
#[derive(Debug)]
pub struct Encoder {
    types: HashMap<any::TypeId, Arc<Known>>,
    /// Every type that is defined so far, to find it again inside of another Rust type.
    defined: Vec<(Arc<Known>, NodeId, TypeId)>,
    next_id: TypeId,
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder::starting_at(wire::FIRST_USER)
    }
}

impl Encoder {
    /// An encoder at the start of a stream.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An encoder whose first type gets this id, at least 64, where lower ones are taken by others.
    #[must_use]
    pub fn starting_at(first_id: i64) -> Self {
        Encoder {
            types: HashMap::new(),
            defined: Vec::new(),
            next_id: first_id.max(wire::FIRST_USER),
        }
    }

    /// Appends `value`, behind the definitions that its type still needs.
    ///
    /// # Errors
    ///
    /// If gob has no form for `T`, or `T` writes another shape than it reads. Nothing is appended then.
    pub fn encode<T: Serialize + DeserializeOwned + 'static>(
        &mut self,
        value: &T,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let mut sink = Sink::default();
        self.encode_to(value, &mut sink)?;
        out.reserve(sink.len());
        let out = std::cell::RefCell::new(out);
        sink.for_each(
            |small| out.borrow_mut().extend_from_slice(small),
            |large| out.borrow_mut().extend_from_slice(&large),
        );
        Ok(())
    }

    pub(crate) fn encode_to<T: Serialize + DeserializeOwned + 'static>(
        &mut self,
        value: &T,
        sink: &mut Sink,
    ) -> Result<(), Error> {
        let key = any::TypeId::of::<T>();
        let before = (sink.written.len(), sink.spliced.len(), self.defined.len());
        let known = match self.types.get(&key) {
            Some(known) => Arc::clone(known),
            None => {
                let known = self.learn(schema::of::<T>()?, sink);
                self.types.insert(key, Arc::clone(&known));
                known
            }
        };
        let root = known.schema.root;
        let written = framed(sink, |sink| {
            num::put_int(
                &mut sink.written,
                known.ids.get(root).copied().unwrap_or_default(),
            );
            if !matches!(known.schema.nodes.get(root), Some(Node::Struct(_))) {
                sink.written.push(0);
            }
            let value_starts = sink.len();
            value.serialize(Writer {
                schema: &known.schema,
                node: root,
                sink: &mut *sink,
            })?;
            // A `None` at the top writes nothing; there is no message without a value.
            if sink.len() == value_starts {
                Err(Error::Unsupported("a top-level nil pointer"))
            } else {
                Ok(())
            }
        });
        if written.is_err() {
            sink.written.truncate(before.0);
            sink.spliced.truncate(before.1);
            if self.defined.len() > before.2 {
                self.defined.truncate(before.2);
                self.types.remove(&key);
            }
        }
        written
    }

    /// Gives ids to a type and what it is made of, in Go's order, and writes their definitions.
    fn learn(&mut self, schema: Schema, sink: &mut Sink) -> Arc<Known> {
        let mut ids = vec![0; schema.nodes.len()];
        let mut fresh = Vec::new();
        self.assign(&schema, schema.root, &mut ids, &mut fresh);
        let known = Arc::new(Known { schema, ids });
        let mut sent = vec![false; known.schema.nodes.len()];
        self.define(&known, known.schema.root, &fresh, &mut sent, sink);
        known
    }

    /// A struct has its id ahead of its fields, everything else after its elements.
    fn assign(
        &mut self,
        schema: &Schema,
        node: NodeId,
        ids: &mut [TypeId],
        fresh: &mut Vec<NodeId>,
    ) {
        let Some(kind) = schema.nodes.get(node) else {
            return;
        };
        if ids.get(node).is_none_or(|id| *id != 0) {
            return;
        }
        let builtin = match kind {
            Node::Bool => Some(wire::BOOL),
            Node::Int => Some(wire::INT),
            Node::Uint | Node::Byte => Some(wire::UINT),
            Node::Float => Some(wire::FLOAT),
            Node::Bytes => Some(wire::BYTES),
            Node::String => Some(wire::STRING),
            Node::Nil => Some(wire::INTERFACE),
            Node::Struct(_) | Node::Slice(_) | Node::Array(..) | Node::Map(..) => None,
        };
        let known = builtin.or_else(|| {
            let same = |(known, other, _): &&(Arc<Known>, NodeId, TypeId)| {
                same_type(schema, node, &known.schema, *other, &mut Vec::new())
            };
            self.defined.iter().find(same).map(|(_, _, id)| *id)
        });
        if let Some(id) = known {
            ids[node] = id;
            return;
        }
        if matches!(kind, Node::Struct(_)) {
            ids[node] = self.take_id();
        }
        fresh.push(node);
        match kind {
            Node::Struct(user) => user
                .fields
                .iter()
                .for_each(|field| self.assign(schema, field.node, ids, fresh)),
            Node::Slice(elem) | Node::Array(elem, _) => self.assign(schema, *elem, ids, fresh),
            Node::Map(key, elem) => {
                self.assign(schema, *key, ids, fresh);
                self.assign(schema, *elem, ids, fresh);
            }
            _ => {}
        }
        if ids[node] == 0 {
            ids[node] = self.take_id();
        }
    }

    fn take_id(&mut self) -> TypeId {
        self.next_id += 1;
        self.next_id - 1
    }

    fn define(
        &mut self,
        known: &Arc<Known>,
        node: NodeId,
        fresh: &[NodeId],
        sent: &mut [bool],
        sink: &mut Sink,
    ) {
        let (Some(kind), Some(id)) = (known.schema.nodes.get(node), known.ids.get(node)) else {
            return;
        };
        if !fresh.contains(&node) || std::mem::replace(&mut sent[node], true) {
            return;
        }
        self.defined.push((Arc::clone(known), node, *id));
        let definition = framed(sink, |sink| {
            write_definition(known, kind, *id, &mut sink.written);
            Ok(())
        });
        debug_assert!(definition.is_ok());
        match kind {
            Node::Struct(user) => {
                user.fields
                    .iter()
                    .for_each(|field| self.define(known, field.node, fresh, sent, sink));
            }
            Node::Slice(elem) | Node::Array(elem, _) => {
                self.define(known, *elem, fresh, sent, sink)
            }
            Node::Map(key, elem) => {
                self.define(known, *key, fresh, sent, sink);
                self.define(known, *elem, fresh, sent, sink);
            }
            _ => {}
        }
    }
}

/// Writes a message: its length, then what `content` writes.
fn framed(
    sink: &mut Sink,
    content: impl FnOnce(&mut Sink) -> Result<(), Error>,
) -> Result<(), Error> {
    let (start, length_before, spliced_before) =
        (sink.written.len(), sink.len(), sink.spliced.len());
    sink.written.push(0);
    content(sink)?;
    let length = (sink.len() - length_before - 1) as u64;
    let extra = num::uint_len(length) - 1;
    let mut prefix = Vec::new();
    if extra == 0 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "one byte long, so at most 0x7f"
        )]
        let short = length as u8;
        sink.written[start] = short;
    } else {
        num::put_uint(&mut prefix, length);
        sink.written.splice(start..=start, prefix);
        sink.spliced[spliced_before..]
            .iter_mut()
            .for_each(|(position, _)| *position += extra);
    }
    Ok(())
}

/// `wireType`: one field of seven is set, and holds a `CommonType` and what else the kind needs.
fn write_definition(known: &Known, kind: &Node, id: TypeId, out: &mut Vec<u8>) {
    let id_of = |node: &NodeId| known.ids.get(*node).copied().unwrap_or_default();
    num::put_int(out, -id);
    let common = |out: &mut Vec<u8>, alternative: u64, name: &str| {
        num::put_uint(out, alternative);
        num::put_uint(out, 1);
        if !name.is_empty() {
            num::put_uint(out, 1);
            put_text(out, name);
        }
        num::put_uint(out, if name.is_empty() { 2 } else { 1 });
        num::put_int(out, id);
        num::put_uint(out, 0);
    };
    match kind {
        Node::Array(elem, length) => {
            common(out, 1, &type_name(known, kind));
            num::put_uint(out, 1);
            num::put_int(out, id_of(elem));
            num::put_uint(out, 1);
            num::put_int(out, i64::try_from(*length).unwrap_or(i64::MAX));
        }
        Node::Slice(elem) => {
            common(out, 2, &type_name(known, kind));
            num::put_uint(out, 1);
            num::put_int(out, id_of(elem));
        }
        Node::Struct(user) => {
            common(out, 3, user.name);
            if !user.fields.is_empty() {
                num::put_uint(out, 1);
                num::put_uint(out, user.fields.len() as u64);
                for field in &user.fields {
                    num::put_uint(out, 1);
                    put_text(out, &field.go);
                    num::put_uint(out, 1);
                    num::put_int(out, id_of(&field.node));
                    num::put_uint(out, 0);
                }
            }
        }
        Node::Map(key, elem) => {
            common(out, 4, &type_name(known, kind));
            num::put_uint(out, 1);
            num::put_int(out, id_of(key));
            num::put_uint(out, 1);
            num::put_int(out, id_of(elem));
        }
        _ => {}
    }
    num::put_uint(out, 0);
    num::put_uint(out, 0);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    num::put_uint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Go's spelling of a type that has no name of its own.
fn type_name(known: &Known, kind: &Node) -> String {
    let name = |node: &NodeId| {
        known
            .schema
            .nodes
            .get(*node)
            .map(|kind| type_name(known, kind))
            .unwrap_or_default()
    };
    match kind {
        Node::Bool => "bool".into(),
        Node::Int => "int".into(),
        Node::Uint => "uint".into(),
        Node::Byte => "uint8".into(),
        Node::Float => "float64".into(),
        Node::Bytes => "[]uint8".into(),
        Node::String => "string".into(),
        Node::Nil => "interface {}".into(),
        Node::Struct(user) => user.name.into(),
        Node::Slice(elem) => format!("[]{}", name(elem)),
        Node::Array(elem, length) => format!("[{length}]{}", name(elem)),
        Node::Map(key, elem) => format!("map[{}]{}", name(key), name(elem)),
    }
}

/// Whether two nodes stand for the same type; `open` holds the pairs that are being compared.
fn same_type(
    a: &Schema,
    x: NodeId,
    b: &Schema,
    y: NodeId,
    open: &mut Vec<(NodeId, NodeId)>,
) -> bool {
    if open.contains(&(x, y)) {
        return true;
    }
    open.push((x, y));
    match (a.nodes.get(x), b.nodes.get(y)) {
        (Some(Node::Struct(left)), Some(Node::Struct(right))) => {
            left.name == right.name
                && left.fields.len() == right.fields.len()
                && left.fields.iter().zip(&right.fields).all(|(left, right)| {
                    left.go == right.go && same_type(a, left.node, b, right.node, open)
                })
        }
        (Some(Node::Slice(left)), Some(Node::Slice(right))) => same_type(a, *left, b, *right, open),
        (Some(Node::Array(left, m)), Some(Node::Array(right, n))) => {
            m == n && same_type(a, *left, b, *right, open)
        }
        (Some(Node::Map(k, v)), Some(Node::Map(l, w))) => {
            same_type(a, *k, b, *l, open) && same_type(a, *v, b, *w, open)
        }
        (Some(left), Some(right)) => left == right,
        _ => false,
    }
}
