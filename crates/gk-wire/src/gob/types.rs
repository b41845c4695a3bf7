//! The types that one encoder has defined to its receiver, and their definitions.

use std::any;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use serde::de::DeserializeOwned;

use super::schema::{Node, NodeId, Schema};
use super::sink::Sink;
use super::wire::{self, Kind, Marshaler, Registry, TypeId, WireType};
use super::{Error, num, trace};

/// A Rust type with the ids under which this encoder sends it.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) schema: Schema,
    ids: Vec<TypeId>,
}

/// The types that one encoder has defined.
#[derive(Debug)]
pub(crate) struct Types {
    known: HashMap<any::TypeId, Arc<Known>>,
    /// Every type that is defined so far, to find it again inside of another Rust type.
    defined: Vec<Defined>,
    /// Their places, by their shapes.
    by_shape: HashMap<u64, Vec<usize>>,
    /// Types that peers have defined, by the address of their definition. The definition is held, so
    /// that its address is not used again.
    received: HashMap<usize, (Arc<WireType>, Arc<Known>)>,
    /// The number of their nodes.
    received_nodes: usize,
    /// Additions to `known` and `received` by the value that is being written.
    fresh: Vec<Fresh>,
    /// Pairs of types that may still be compared for that value.
    comparisons_left: usize,
    next_id: TypeId,
}

/// A type that the receiver knows.
#[derive(Debug)]
struct Defined {
    known: Arc<Known>,
    node: NodeId,
    id: TypeId,
    shape: u64,
}

/// A type that came with the value that is being written.
#[derive(Debug)]
enum Fresh {
    Rust(any::TypeId),
    Received(usize),
}

/// Received types that are remembered, in nodes; a program that sends on what it receives has a
/// handful of types.
const RECEIVED_NODES_MAX: usize = 1 << 16;

/// Most pairs of types that are compared for a value to find those that are defined already. It
/// bounds the cost of sending on values of a peer's types.
const COMPARISONS_MAX: usize = 1 << 20;

/// The state before a value.
pub(crate) struct Mark(usize);

/// The place for values, and the types that the receiver knows by then.
pub(crate) struct Out<'a> {
    pub(crate) sink: &'a mut Sink,
    pub(crate) types: &'a mut Types,
}

impl Out<'_> {
    pub(crate) fn again(&mut self) -> Out<'_> {
        Out {
            sink: &mut *self.sink,
            types: &mut *self.types,
        }
    }
}

impl Known {
    /// The type's id.
    pub(crate) fn put_id(&self, sink: &mut Sink) {
        let id = self.ids.get(self.schema.root).copied();
        num::put_int(&mut sink.written, id.unwrap_or_default());
    }
}

impl Types {
    pub(crate) fn starting_at(first_id: TypeId) -> Self {
        Types {
            known: HashMap::new(),
            defined: Vec::new(),
            by_shape: HashMap::new(),
            received: HashMap::new(),
            received_nodes: 0,
            fresh: Vec::new(),
            comparisons_left: COMPARISONS_MAX,
            next_id: first_id.max(wire::FIRST_USER),
        }
    }

    /// Begins a value, which may bring types along.
    pub(crate) fn begin(&mut self) -> Mark {
        self.fresh.clear();
        self.comparisons_left = COMPARISONS_MAX;
        Mark(self.defined.len())
    }

    /// Forgets the types that have come since: the receiver does not get them.
    pub(crate) fn roll_back(&mut self, mark: Mark) {
        for defined in self.defined.drain(mark.0..) {
            // Later ones are behind earlier ones.
            if let Some(places) = self.by_shape.get_mut(&defined.shape) {
                places.retain(|place| *place < mark.0);
            }
        }
        for fresh in self.fresh.drain(..) {
            match fresh {
                Fresh::Rust(key) => drop(self.known.remove(&key)),
                Fresh::Received(key) => drop(self.received.remove(&key)),
            }
        }
    }

    /// A Rust type, behind the definitions that the receiver needs of it.
    pub(crate) fn of<T: DeserializeOwned + 'static>(
        &mut self,
        sink: &mut Sink,
    ) -> Result<Arc<Known>, Error> {
        let key = any::TypeId::of::<T>();
        if let Some(known) = self.known.get(&key) {
            return Ok(Arc::clone(known));
        }
        let known = self.learn(trace::of::<T>()?, sink)?;
        self.known.insert(key, Arc::clone(&known));
        self.fresh.push(Fresh::Rust(key));
        Ok(known)
    }

    /// A type that a peer has defined, behind the definitions that this receiver needs of it.
    pub(crate) fn received(
        &mut self,
        types: &Registry,
        id: TypeId,
        sink: &mut Sink,
    ) -> Result<Arc<Known>, Error> {
        let Kind::User(user) = types.kind(id)? else {
            return self.learn(Schema::received(types, id)?, sink);
        };
        let key = Arc::as_ptr(&user).addr();
        if let Some((_, known)) = self.received.get(&key) {
            return Ok(Arc::clone(known));
        }
        let known = self.learn(Schema::received(types, id)?, sink)?;
        self.received_nodes += known.ids.len();
        if self.received_nodes > RECEIVED_NODES_MAX {
            self.received.clear();
            self.received_nodes = known.ids.len();
        }
        self.received.insert(key, (user, Arc::clone(&known)));
        self.fresh.push(Fresh::Received(key));
        Ok(known)
    }

    /// Gives ids to a type and what it is made of, in Go's order, and writes their definitions.
    fn learn(&mut self, schema: Schema, sink: &mut Sink) -> Result<Arc<Known>, Error> {
        let mut ids = vec![0; schema.nodes.len()];
        let mut fresh = vec![false; schema.nodes.len()];
        self.assign(&schema, schema.root, &mut ids, &mut fresh)?;
        let known = Arc::new(Known { schema, ids });
        self.define(&known, known.schema.root, &mut fresh, sink);
        Ok(known)
    }

    /// A type that is defined already.
    fn find(&mut self, schema: &Schema, node: NodeId) -> Result<Option<TypeId>, Error> {
        let left = &mut self.comparisons_left;
        let places = self.by_shape.get(&shape(schema, node));
        for place in places.into_iter().flatten() {
            let Some(other) = self.defined.get(*place) else {
                continue;
            };
            let (known, open) = (&other.known.schema, &mut Vec::new());
            if same_type(schema, node, known, other.node, open, left) {
                return Ok(Some(other.id));
            }
            if *left == 0 {
                return Err(Error::Unsupported(
                    "a value of types that take too long to tell apart",
                ));
            }
        }
        Ok(None)
    }

    /// A struct has its id ahead of its fields, everything else after its elements.
    fn assign(
        &mut self,
        schema: &Schema,
        node: NodeId,
        ids: &mut [TypeId],
        fresh: &mut [bool],
    ) -> Result<(), Error> {
        let Some(kind) = schema.nodes.get(node) else {
            return Ok(());
        };
        if ids.get(node).is_none_or(|id| *id != 0) || fresh[node] {
            return Ok(());
        }
        let known = match kind {
            Node::Bool => Some(wire::BOOL),
            Node::Int => Some(wire::INT),
            Node::Uint | Node::Byte => Some(wire::UINT),
            Node::Float => Some(wire::FLOAT),
            Node::Complex => Some(wire::COMPLEX),
            Node::Bytes => Some(wire::BYTES),
            Node::String => Some(wire::STRING),
            Node::Interface => Some(wire::INTERFACE),
            Node::Struct(_)
            | Node::Slice(_)
            | Node::Array(..)
            | Node::Map(..)
            | Node::Marshaled(..) => self.find(schema, node)?,
        };
        if let Some(id) = known {
            ids[node] = id;
            return Ok(());
        }
        if matches!(kind, Node::Struct(_)) {
            ids[node] = self.take_id();
        }
        fresh[node] = true;
        match kind {
            Node::Struct(user) => {
                for field in &user.fields {
                    self.assign(schema, field.node, ids, fresh)?;
                }
            }
            Node::Slice(elem) | Node::Array(elem, _) => self.assign(schema, *elem, ids, fresh)?,
            Node::Map(key, elem) => {
                self.assign(schema, *key, ids, fresh)?;
                self.assign(schema, *elem, ids, fresh)?;
            }
            _ => {}
        }
        if ids[node] == 0 {
            ids[node] = self.take_id();
        }
        Ok(())
    }

    fn take_id(&mut self) -> TypeId {
        self.next_id += 1;
        self.next_id - 1
    }

    /// Writes the definitions of what is fresh below a node, each the end of a message.
    fn define(&mut self, known: &Arc<Known>, node: NodeId, fresh: &mut [bool], sink: &mut Sink) {
        let (Some(kind), Some(id)) = (known.schema.nodes.get(node), known.ids.get(node)) else {
            return;
        };
        if !std::mem::take(&mut fresh[node]) {
            return;
        }
        let shape = shape(&known.schema, node);
        let places = self.by_shape.entry(shape).or_default();
        places.push(self.defined.len());
        self.defined.push(Defined {
            known: Arc::clone(known),
            node,
            id: *id,
            shape,
        });
        let name = match known.schema.names.get(&node) {
            Some(name) => name.clone(),
            None => type_name(known, kind),
        };
        write_definition(known, kind, *id, &name, &mut sink.written);
        sink.next_message();
        match kind {
            Node::Struct(user) => {
                user.fields
                    .iter()
                    .for_each(|field| self.define(known, field.node, fresh, sink));
            }
            Node::Slice(elem) | Node::Array(elem, _) => self.define(known, *elem, fresh, sink),
            Node::Map(key, elem) => {
                self.define(known, *key, fresh, sink);
                self.define(known, *elem, fresh, sink);
            }
            _ => {}
        }
    }
}

/// `wireType`: one field of seven is set, and holds a `CommonType` and what else the kind needs.
fn write_definition(known: &Known, kind: &Node, id: TypeId, name: &str, out: &mut Vec<u8>) {
    let id_of = |node: &NodeId| known.ids.get(*node).copied().unwrap_or_default();
    num::put_int(out, -id);
    let common = |out: &mut Vec<u8>, alternative: u64| {
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
            common(out, 1);
            num::put_uint(out, 1);
            num::put_int(out, id_of(elem));
            num::put_uint(out, 1);
            num::put_int(out, i64::try_from(*length).unwrap_or(i64::MAX));
        }
        Node::Slice(elem) => {
            common(out, 2);
            num::put_uint(out, 1);
            num::put_int(out, id_of(elem));
        }
        Node::Struct(user) => {
            common(out, 3);
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
            common(out, 4);
            num::put_uint(out, 1);
            num::put_int(out, id_of(key));
            num::put_uint(out, 1);
            num::put_int(out, id_of(elem));
        }
        Node::Marshaled(marshaler, _) => common(
            out,
            match marshaler {
                Marshaler::Gob => 5,
                Marshaler::Binary => 6,
                Marshaler::Text => 7,
            },
        ),
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
        Node::Complex => "complex128".into(),
        Node::Interface => "interface {}".into(),
        Node::Struct(user) => user.name.clone().into_owned(),
        Node::Marshaled(_, name) => name.clone().into_owned(),
        Node::Slice(elem) => format!("[]{}", name(elem)),
        Node::Array(elem, length) => format!("[{length}]{}", name(elem)),
        Node::Map(key, elem) => format!("map[{}]{}", name(key), name(elem)),
    }
}

/// The part of a node that is equal in all nodes of the same type, without their parts.
fn shape(schema: &Schema, node: NodeId) -> u64 {
    let mut hasher = DefaultHasher::new();
    let node = schema.nodes.get(node);
    node.map(std::mem::discriminant).hash(&mut hasher);
    match node {
        Some(Node::Struct(user)) => {
            user.name.hash(&mut hasher);
            user.fields
                .iter()
                .for_each(|field| field.go.hash(&mut hasher));
        }
        Some(Node::Array(_, length)) => length.hash(&mut hasher),
        Some(Node::Marshaled(marshaler, name)) => (marshaler, name).hash(&mut hasher),
        _ => {}
    }
    hasher.finish()
}

/// Returns `true` if two nodes stand for the same type; `open` holds the pairs that are being
/// compared. No further ones are when `left` is used up: the types count as different then.
fn same_type(
    a: &Schema,
    x: NodeId,
    b: &Schema,
    y: NodeId,
    open: &mut Vec<(NodeId, NodeId)>,
    left: &mut usize,
) -> bool {
    *left = left.saturating_sub(1 + open.len());
    if *left == 0 {
        return false;
    }
    if open.contains(&(x, y)) {
        return true;
    }
    open.push((x, y));
    match (a.nodes.get(x), b.nodes.get(y)) {
        (Some(Node::Struct(one)), Some(Node::Struct(other))) => {
            one.name == other.name
                && one.fields.len() == other.fields.len()
                && one.fields.iter().zip(&other.fields).all(|(one, other)| {
                    one.go == other.go && same_type(a, one.node, b, other.node, open, left)
                })
        }
        (Some(Node::Slice(one)), Some(Node::Slice(other))) => {
            same_type(a, *one, b, *other, open, left)
        }
        (Some(Node::Array(one, m)), Some(Node::Array(other, n))) => {
            m == n && same_type(a, *one, b, *other, open, left)
        }
        (Some(Node::Map(k, v)), Some(Node::Map(l, w))) => {
            same_type(a, *k, b, *l, open, left) && same_type(a, *v, b, *w, open, left)
        }
        // `u8` is a `uint` but for slices of it, which are leaves.
        (Some(Node::Uint | Node::Byte), Some(Node::Uint | Node::Byte)) => true,
        (Some(one), Some(other)) => one == other,
        _ => false,
    }
}
