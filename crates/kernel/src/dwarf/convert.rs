//! Entries to types: the places of wanted functions and types enter, BTF leaves. Structs and unions are announced when
//! they are first met and filled in later, so that types may refer to themselves; references of C++ become pointers;
//! what BTF cannot express becomes void.

use std::collections::{HashMap, VecDeque};

use gimli::*;
use skep_bpf::target::TypeRequest;

use super::Entry;
use super::aggregate;
use super::graph::{Graph, Node, NodeId, VOID};
use super::location;
use super::search::{self, Found};
use super::units::{Handle, Place, Units, flag, number};

/// Longest chain of pointers, qualifiers, typedefs and arrays.
const MAX_CHAIN: usize = 64;
/// Most parameters of a function.
const MAX_PARAMS: usize = 256;
/// Most declarations without definition that are looked for in other units.
const MAX_LOOKUPS: usize = 4096;

/// The conversion of one answer.
pub(super) struct Converter<'u, 'a> {
    pub(super) units: &'u Units<'a>,
    pub(super) graph: Graph,
    known: HashMap<Place, NodeId>,
    /// Announced structs and unions.
    queue: VecDeque<(Place, NodeId)>,
    /// Declared ones, by name, that may be defined elsewhere.
    declared: Vec<(String, NodeId)>,
    shallow: bool,
}

/// Converts what was found.
pub(super) fn convert(units: &Units<'_>, request: &TypeRequest, found: Found) -> Vec<u8> {
    let mut c = Converter {
        units,
        graph: Graph::default(),
        known: HashMap::new(),
        queue: VecDeque::new(),
        declared: Vec::new(),
        shallow: request.shallow,
    };
    for place in found.types.values() {
        c.node(*place, MAX_CHAIN);
    }
    for (index, place) in &found.functions {
        if let Some((name, _)) = request.functions.get(*index) {
            c.function(name, *place);
        }
    }
    c.fill();
    if !c.shallow {
        c.define();
        c.fill();
    }
    c.graph.finish()
}

impl<'a> Converter<'_, 'a> {
    /// Fills in what is announced.
    fn fill(&mut self) {
        while let Some((place, id)) = self.queue.pop_front() {
            if self.graph.is_full() {
                return;
            }
            if let Some((unit, entry)) = self.units.entry(place) {
                let node = aggregate::composite(self, &unit, &entry);
                self.graph.set(id, node);
            }
        }
    }

    /// Looks for definitions of what is only declared.
    fn define(&mut self) {
        let declared = std::mem::take(&mut self.declared);
        let names: Vec<String> = declared.iter().take(MAX_LOOKUPS).map(|(name, _)| name.clone()).collect();
        if names.is_empty() {
            return;
        }
        let found = search::definitions(self.units, &names);
        let found: HashMap<&str, Place> =
            names.iter().zip(found).filter_map(|(name, place)| Some((name.as_str(), place?))).collect();
        for (name, id) in &declared {
            if let Some(place) = found.get(name.as_str()) {
                self.queue.push_back((*place, *id));
            }
        }
    }

    /// A function with its prototype.
    fn function(&mut self, name: &str, place: Place) {
        let Some((unit, entry)) = self.units.entry(place) else { return };
        let mut params = Vec::new();
        let mut places = Vec::new();
        unit.children(place.entry, &mut |child| {
            match child.tag() {
                DW_TAG_formal_parameter => places.push(Some(unit.place(child))),
                DW_TAG_unspecified_parameters => places.push(None),
                _ => {}
            }
            places.len() < MAX_PARAMS
        });
        let start = unit.address(&entry, DW_AT_low_pc);
        let mut tags = Vec::new();
        for (param, place) in (0i32..).zip(places) {
            params.push(match place {
                Some(place) => self.parameter(place),
                None => (String::new(), VOID),
            });
            let told = place.and_then(|place| {
                let (unit, entry) = self.units.entry(place)?;
                location::at(&unit, &entry, start?)
            });
            tags.extend(told.map(|text| (param, text)));
        }
        let ret = self.inherited(&unit, &entry, DW_AT_type).map_or(VOID, |to| self.node(to, MAX_CHAIN));
        let proto = self.graph.add(Node::Proto { ret, params });
        let func = self.graph.push(Node::Func { name: name.to_owned(), proto });
        for (param, text) in tags {
            self.graph.push(Node::Tag { text, func, param });
        }
    }

    fn parameter(&mut self, place: Place) -> (String, NodeId) {
        let Some((unit, entry)) = self.units.entry(place) else { return (String::new(), VOID) };
        let own = unit.text(&entry, DW_AT_name);
        let name = own.or_else(|| {
            let (unit, origin) = self.origin(&unit, &entry)?;
            unit.text(&origin, DW_AT_name)
        });
        // A parameter of a type that cannot be told still has its place.
        let unknown = || Node::Int { name: "unknown".to_owned(), size: 8, signed: false };
        let ty = match self.inherited(&unit, &entry, DW_AT_type) {
            Some(to) => {
                let ty = self.node(to, MAX_CHAIN);
                let by_reference = aggregate::is_passed_by_reference(self.units, to);
                if by_reference { self.graph.add(Node::Ptr(ty)) } else { ty }
            }
            None => self.graph.add(unknown()),
        };
        (name.unwrap_or_default(), ty)
    }

    /// The entry that this one is an instance or the definition of.
    fn origin(&self, unit: &Handle<'a>, entry: &Entry<'a>) -> Option<(Handle<'a>, Entry<'a>)> {
        [DW_AT_abstract_origin, DW_AT_specification]
            .into_iter()
            .find_map(|at| self.units.entry(self.units.reference(unit, entry, at)?))
    }

    /// What an attribute refers to, of the entry or of those that it stands for.
    fn inherited(&self, unit: &Handle<'a>, entry: &Entry<'a>, at: DwAt) -> Option<Place> {
        if let Some(place) = self.units.reference(unit, entry, at) {
            return Some(place);
        }
        let (unit, entry) = self.origin(unit, entry)?;
        self.units.reference(&unit, &entry, at).or_else(|| {
            let (unit, entry) = self.origin(&unit, &entry)?;
            self.units.reference(&unit, &entry, at)
        })
    }

    /// The type at a place.
    pub(super) fn node(&mut self, place: Place, depth: usize) -> NodeId {
        if let Some(known) = self.known.get(&place) {
            return *known;
        }
        let (Some(depth), Some((unit, entry))) = (depth.checked_sub(1), self.units.entry(place)) else {
            return VOID;
        };
        let node = self.build(&unit, &entry, place, depth);
        self.known.insert(place, node);
        node
    }

    fn build(&mut self, unit: &Handle<'a>, entry: &Entry<'a>, place: Place, depth: usize) -> NodeId {
        let node = match entry.tag() {
            DW_TAG_base_type => base(unit, entry),
            DW_TAG_pointer_type | DW_TAG_reference_type | DW_TAG_rvalue_reference_type => {
                Some(Node::Ptr(self.target(unit, entry, depth)))
            }
            DW_TAG_ptr_to_member_type => Some(word("long")),
            DW_TAG_const_type => Some(Node::Const(self.target(unit, entry, depth))),
            DW_TAG_volatile_type
            | DW_TAG_restrict_type
            | DW_TAG_atomic_type
            | DW_TAG_immutable_type
            | DW_TAG_packed_type
            | DW_TAG_shared_type => return self.target(unit, entry, depth),
            DW_TAG_typedef | DW_TAG_template_alias => {
                let name = unit.text(entry, DW_AT_name).unwrap_or_default();
                let to = self.target(unit, entry, depth);
                return self.graph.push(Node::Typedef { name, to });
            }
            DW_TAG_array_type => return self.array(unit, entry, depth),
            DW_TAG_enumeration_type => Some(aggregate::enumeration(self.units, unit, entry)),
            DW_TAG_structure_type | DW_TAG_class_type | DW_TAG_interface_type | DW_TAG_union_type => {
                return self.announce(unit, entry, place);
            }
            DW_TAG_subroutine_type => Some(Node::Proto { ret: VOID, params: Vec::new() }),
            _ => None,
        };
        node.map_or(VOID, |node| self.graph.add(node))
    }

    /// What the entry's type attribute leads to.
    fn target(&mut self, unit: &Handle<'a>, entry: &Entry<'a>, depth: usize) -> NodeId {
        match self.units.reference(unit, entry, DW_AT_type) {
            Some(to) => self.node(to, depth),
            None => VOID,
        }
    }

    /// An array, each dimension one within the other.
    fn array(&mut self, unit: &Handle<'a>, entry: &Entry<'a>, depth: usize) -> NodeId {
        let mut id = self.target(unit, entry, depth);
        for count in aggregate::dimensions(unit, entry).into_iter().rev() {
            id = self.graph.add(Node::Array { elem: id, count });
        }
        id
    }

    /// A struct or union to be filled in later; what is only declared stays a forward declaration.
    fn announce(&mut self, unit: &Handle<'a>, entry: &Entry<'a>, place: Place) -> NodeId {
        if let Some(whole) = self.units.reference(unit, entry, DW_AT_signature) {
            return self.node(whole, 1);
        }
        let name = unit.text(entry, DW_AT_name).unwrap_or_default();
        let union = entry.tag() == DW_TAG_union_type;
        let id = self.graph.push(Node::Fwd { name: name.clone(), union });
        if flag(entry, DW_AT_declaration) {
            if !name.is_empty() {
                self.declared.push((name, id));
            }
        } else if !self.shallow {
            self.queue.push_back((place, id));
        }
        id
    }
}

fn word(name: &str) -> Node {
    Node::Int { name: name.to_owned(), size: 8, signed: true }
}

/// A base type; `None` for what is no number of a known size.
fn base<'a>(unit: &Handle<'a>, entry: &Entry<'a>) -> Option<Node> {
    let name = unit.text(entry, DW_AT_name).unwrap_or_default();
    let size = u32::try_from(number(entry, DW_AT_byte_size)?).ok().filter(|s| (1..=16).contains(s))?;
    let AttributeValue::Encoding(encoding) = entry.attr_value(DW_AT_encoding)? else { return None };
    Some(match encoding {
        DW_ATE_boolean if size == 1 => Node::Bool { name },
        DW_ATE_float | DW_ATE_decimal_float | DW_ATE_complex_float | DW_ATE_imaginary_float => {
            Node::Float { name, size }
        }
        DW_ATE_signed | DW_ATE_signed_char => Node::Int { name, size, signed: true },
        _ => Node::Int { name, size, signed: false },
    })
}
