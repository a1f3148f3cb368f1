//! The types on their way to BTF: nodes enter in any order, also before what they refer to; a blob leaves. A node's id
//! in the blob is its number here plus one. Equal integers, pointers, qualifiers, arrays and prototypes are one node,
//! which is what the writer of the blob relies on too.

use std::collections::HashMap;

use skep_bpf::btf::{BtfBuilder, Linkage, MemberDef, TypeId};

/// A node's number; `VOID` is no type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct NodeId(u32);

/// No type.
pub(super) const VOID: NodeId = NodeId(u32::MAX);
/// Most nodes of one answer: beyond that, types are left as forward declarations.
const NODE_LIMIT: usize = 1 << 18;
/// What BTF's vlen can count.
const MOST_PARTS: usize = 0xffff;
/// Bits that an offset has where a struct has bit fields.
const OFFSET_BITS: u32 = 24;

/// A member.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) ty: NodeId,
    /// Bits from the start.
    pub(super) offset: u32,
    /// Bits of a bit field; 0: none.
    pub(super) bits: u8,
}

/// A type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Node {
    Int {
        name: String,
        size: u32,
        signed: bool,
    },
    Bool {
        name: String,
    },
    Float {
        name: String,
        size: u32,
    },
    Ptr(NodeId),
    Const(NodeId),
    Array {
        elem: NodeId,
        count: u32,
    },
    Typedef {
        name: String,
        to: NodeId,
    },
    Composite {
        name: String,
        union: bool,
        size: u32,
        parts: Vec<Part>,
    },
    Fwd {
        name: String,
        union: bool,
    },
    Enum {
        name: String,
        size: u32,
        signed: bool,
        variants: Vec<(String, i64)>,
    },
    Proto {
        ret: NodeId,
        params: Vec<(String, NodeId)>,
    },
    Func {
        name: String,
        proto: NodeId,
    },
    /// Says something of parameter `param` of a function.
    Tag {
        text: String,
        func: NodeId,
        param: i32,
    },
}

/// Nodes of one answer.
#[derive(Debug)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    shared: HashMap<Node, NodeId>,
}

impl Default for Graph {
    fn default() -> Self {
        let mut graph = Graph { nodes: Vec::new(), shared: HashMap::new() };
        // The writer adds the type of arrays' indexes when the first array comes: here it is there already.
        graph.add(Node::Int { name: "__ARRAY_SIZE_TYPE__".to_owned(), size: 4, signed: false });
        graph
    }
}

impl Graph {
    /// Whether there is no room for more types.
    pub(super) fn is_full(&self) -> bool {
        self.nodes.len() >= NODE_LIMIT
    }

    /// A node of its own.
    pub(super) fn push(&mut self, node: Node) -> NodeId {
        let Ok(id) = u32::try_from(self.nodes.len()) else { return VOID };
        self.nodes.push(node);
        NodeId(id)
    }

    /// A node that equals others: one for all of them.
    pub(super) fn add(&mut self, node: Node) -> NodeId {
        if let Some(known) = self.shared.get(&node) {
            return *known;
        }
        let id = self.push(node.clone());
        self.shared.insert(node, id);
        id
    }

    /// Puts the node that was announced in its place.
    pub(super) fn set(&mut self, id: NodeId, node: Node) {
        if let Some(place) = self.nodes.get_mut(id.0 as usize) {
            *place = node;
        }
    }

    /// The blob.
    pub(super) fn finish(&self) -> Vec<u8> {
        let mut out = BtfBuilder::new();
        self.nodes.iter().for_each(|node| emit(&mut out, node));
        out.finish()
    }
}

fn ty(id: NodeId) -> TypeId {
    TypeId(id.0.wrapping_add(1))
}

fn emit(out: &mut BtfBuilder, node: &Node) {
    match node {
        Node::Int { name, size, signed } => out.int(name, *size, *signed),
        Node::Bool { name } => out.boolean(name),
        Node::Float { name, size } => out.float(name, *size),
        Node::Ptr(to) => out.ptr(ty(*to)),
        Node::Const(to) => out.const_(ty(*to)),
        Node::Array { elem, count } => out.array(ty(*elem), *count),
        Node::Typedef { name, to } => out.typedef(name, ty(*to)),
        Node::Fwd { name, union } => out.fwd(name, *union),
        Node::Composite { name, union, size, parts } => {
            let members = members(parts);
            if *union { out.union(name, *size, &members) } else { out.struct_(name, *size, &members) }
        }
        Node::Enum { name, size, signed, variants } => {
            let variants: Vec<(&str, i64)> =
                variants.iter().take(MOST_PARTS).map(|(name, value)| (name.as_str(), *value)).collect();
            out.enum_(name, *size, *signed, &variants)
        }
        Node::Proto { ret, params } => {
            let params: Vec<(&str, TypeId)> =
                params.iter().take(MOST_PARTS).map(|(name, to)| (name.as_str(), ty(*to))).collect();
            out.func_proto(ty(*ret), &params)
        }
        Node::Func { name, proto } => out.func(name, ty(*proto), Linkage::Global),
        Node::Tag { text, func, param } => out.decl_tag(text, ty(*func), *param),
    };
}

/// The members that BTF can hold: with bit fields around, those within the first 2 MiB.
fn members(parts: &[Part]) -> Vec<MemberDef<'_>> {
    let narrow = parts.iter().any(|p| p.bits != 0);
    let fits = |p: &&Part| !narrow || p.offset < 1 << OFFSET_BITS;
    let parts = parts.iter().filter(fits).take(MOST_PARTS);
    parts.map(|p| MemberDef { name: &p.name, ty: ty(p.ty), bit_offset: p.offset, bit_size: p.bits }).collect()
}
