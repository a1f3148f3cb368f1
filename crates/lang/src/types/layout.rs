//! Layouts: how a value of a type lies in an event, a key or a map, with the fields of structs and unions. Types enter,
//! `ValueType`s leave.

use super::{Types, place};
use crate::ty::{Composite, CompositeDef, Space, Ty};
use skep_bpf::btf::{Btf, Type, TypeId};
use skep_bpf::schema::{Field, ValueType};

/// Deepest nesting of structs that is printed.
const MAX_DEPTH: usize = 4;
/// Most fields of one struct that are printed.
const MAX_FIELDS: usize = 512;

impl Types<'_> {
    /// The layout of a value. Strings without a size take the longest.
    pub fn layout(&self, ty: &Ty) -> ValueType {
        match ty {
            Ty::Str { size: 0 } => ValueType::Str { size: self.max_strlen },
            Ty::Buf { size: 0 } => ValueType::Buf { size: self.max_strlen },
            _ => ty.layout(&|c| self.record(c, MAX_DEPTH)),
        }
    }

    /// The layout of a struct or union.
    pub fn composite_layout(&self, c: &Composite) -> ValueType {
        self.record(c, MAX_DEPTH)
    }

    fn record(&self, c: &Composite, depth: usize) -> ValueType {
        let mut fields = Vec::new();
        if let (Some(depth), CompositeDef::Btf { module, id }) = (depth.checked_sub(1), c.def)
            && let Some(btf) = self.btf(module)
        {
            self.members(&btf, module, TypeId(id), 0, depth, &mut fields);
        }
        ValueType::Record { size: c.size, fields }
    }

    fn members(&self, btf: &Btf, module: u32, id: TypeId, base: u32, depth: usize, out: &mut Vec<Field>) {
        let Some(Type::Composite { members, .. }) = btf.get_resolved(id) else { return };
        for (index, m) in members.iter().enumerate() {
            if out.len() >= MAX_FIELDS {
                return;
            }
            let Some(path) = btf.follow(id, &[0, index as u32]) else { continue };
            if m.name.is_empty() && m.bit_size == 0 {
                let inner = base + (m.bit_offset / 8);
                if let Some(depth) = depth.checked_sub(1) {
                    self.members(btf, module, m.ty, inner, depth, out);
                }
                continue;
            }
            let ty = self.ty(module, m.ty, Space::Kernel);
            let float = matches!(btf.get_resolved(m.ty), Some(Type::Float { .. }));
            if ty == Ty::None && !float || m.name.is_empty() {
                continue;
            }
            let Some((offset, bits)) = place(&path, self.size_of(&ty).unwrap_or(8)) else { continue };
            let (layout, bits) = match bits {
                None => (ty.layout(&|c| self.record(c, depth)), None),
                Some((first, width, unit)) => (unit_of(&ty, unit), Some((first, width))),
            };
            out.push(Field { name: m.name.to_owned(), offset: base + offset, ty: layout, bits });
        }
    }
}

/// The integer that a bit field of type `ty` lies in.
fn unit_of(ty: &Ty, unit: u8) -> ValueType {
    let signed = matches!(ty, Ty::Int { signed: true, .. });
    match ty {
        Ty::Enum { signed, names, .. } => {
            ValueType::Enum { size: unit, signed: *signed, names: names.to_vec() }
        }
        _ => ValueType::Int { size: unit, signed },
    }
}
