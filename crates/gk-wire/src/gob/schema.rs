//! The shape of a type: a Rust type's, or that of a type which a peer has defined.

use std::borrow::Cow;
use std::collections::HashMap;

use super::Error;
use super::wire::{Kind, Marshaler, Registry, TypeId, WireType};

/// Types nest no deeper than this, or never end: a newtype around a list of itself.
pub(super) const MAX_NESTING: usize = 256;

/// The place of a node in its [`Schema`].
pub(crate) type NodeId = usize;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Bool,
    Int,
    /// Unsigned; `u8` stands apart because a slice of it is `[]byte`.
    Uint,
    Byte,
    Float,
    Bytes,
    String,
    /// Only of types that a peer has defined: no Rust type reads itself as one.
    Complex,
    /// An `interface{}`; `()` is one that holds nil.
    Interface,
    /// A type that encodes itself, and its name.
    Marshaled(Marshaler, Cow<'static, str>),
    Struct(StructNode),
    Slice(NodeId),
    Array(NodeId, usize),
    Map(NodeId, NodeId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StructNode {
    pub(crate) name: Cow<'static, str>,
    pub(crate) fields: Vec<FieldNode>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldNode {
    pub(crate) rust: &'static str,
    pub(crate) go: String,
    pub(crate) node: NodeId,
}

/// A type and all that it is made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schema {
    pub(crate) nodes: Vec<Node>,
    pub(crate) root: NodeId,
    /// A peer's names of nodes that are slices, arrays or maps. Rust types have none and get Go's
    /// spelling.
    pub(crate) names: HashMap<NodeId, String>,
}

impl Schema {
    /// The shape of a type that a peer has defined.
    pub(super) fn received(types: &Registry, id: TypeId) -> Result<Self, Error> {
        let mut schema = Schema::default();
        schema.root = schema.add(types, id, 0, &mut HashMap::new())?;
        Ok(schema)
    }

    fn add(
        &mut self,
        types: &Registry,
        id: TypeId,
        depth: usize,
        known: &mut HashMap<TypeId, NodeId>,
    ) -> Result<NodeId, Error> {
        if let Some(node) = known.get(&id) {
            return Ok(*node);
        }
        if depth >= MAX_NESTING {
            return Err(Error::TooDeep(MAX_NESTING));
        }
        let depth = depth + 1;
        let place = self.nodes.len();
        known.insert(id, place);
        // A placeholder: the parts of the type come behind it.
        self.nodes.push(Node::Bool);
        let node = match types.kind(id)? {
            Kind::Bool => Node::Bool,
            Kind::Int => Node::Int,
            Kind::Uint => Node::Uint,
            Kind::Float => Node::Float,
            Kind::Complex => Node::Complex,
            Kind::Bytes => Node::Bytes,
            Kind::String => Node::String,
            Kind::Interface => Node::Interface,
            Kind::User(user) => match &*user {
                WireType::Struct(user) => {
                    let mut fields = Vec::with_capacity(user.fields.len());
                    for (name, id) in &user.fields {
                        fields.push(FieldNode {
                            rust: "",
                            go: name.clone(),
                            node: self.add(types, *id, depth, known)?,
                        });
                    }
                    Node::Struct(StructNode {
                        name: Cow::Owned(user.name.clone()),
                        fields,
                    })
                }
                WireType::Slice(elem) => Node::Slice(self.add(types, *elem, depth, known)?),
                WireType::Array(elem, length) => {
                    let length =
                        usize::try_from(*length).map_err(|_| Error::LengthOutOfRange(*length))?;
                    Node::Array(self.add(types, *elem, depth, known)?, length)
                }
                WireType::Map(key, elem) => {
                    let key = self.add(types, *key, depth, known)?;
                    Node::Map(key, self.add(types, *elem, depth, known)?)
                }
                WireType::Marshaled(marshaler, name) => {
                    Node::Marshaled(*marshaler, Cow::Owned(name.clone()))
                }
            },
        };
        if matches!(node, Node::Slice(_) | Node::Array(..) | Node::Map(..)) {
            self.names.insert(place, types.name(id));
        }
        if let Some(kept) = self.nodes.get_mut(place) {
            *kept = node;
        }
        Ok(place)
    }
}
