//! Inference: the rules by which the uses of a variable or a map widen its type. A type so far and a new use enter, the
//! type that holds both leaves.
//!
//! A non-negative literal has the smallest signed type that holds it, but takes either sign: it is *flexible*. That is
//! part of an inferred type, not of `Ty`, because once inference is over only the type counts.

use crate::ty::{Space, Ty};
use skep_bpf::schema::Agg;

/// Which parts of a type may still take either sign.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Flex {
    /// None.
    #[default]
    No,
    /// The integer itself.
    Yes,
    /// By element of a tuple or record.
    Parts(Vec<Flex>),
}

/// A type while it is being inferred.
#[derive(Clone, PartialEq, Debug)]
pub struct Inferred {
    /// The type.
    pub ty: Ty,
    /// Its flexible parts.
    pub flex: Flex,
}

impl From<Ty> for Inferred {
    fn from(ty: Ty) -> Inferred {
        Inferred { ty, flex: Flex::No }
    }
}

impl Inferred {
    fn is_flexible(&self) -> bool {
        self.flex == Flex::Yes
    }

    /// Element `index` of a tuple or record.
    pub fn part(&self, index: usize) -> Option<Inferred> {
        let ty = match &self.ty {
            Ty::Tuple(types) => types.get(index)?.clone(),
            Ty::Record(fields) => fields.get(index)?.1.clone(),
            _ => return None,
        };
        Some(Inferred { ty, flex: part_flex(&self.flex, index) })
    }
}

/// Flexibility of element `index`.
pub fn part_flex(flex: &Flex, index: usize) -> Flex {
    match flex {
        Flex::Parts(parts) => parts.get(index).cloned().unwrap_or_default(),
        _ => Flex::No,
    }
}

/// Flexibility of a whole from its elements'.
pub fn whole_flex(parts: Vec<Flex>) -> Flex {
    if parts.iter().all(|f| *f == Flex::No) { Flex::No } else { Flex::Parts(parts) }
}

/// The smallest signed type of a literal, unsigned where only that holds it; flexible unless negative or unsigned.
pub fn literal(value: i128) -> Inferred {
    let fits = |bits: u32| value >= -(1i128 << (bits - 1)) && value < 1i128 << (bits - 1);
    match [8u8, 16, 32, 64].into_iter().find(|b| fits(u32::from(*b))) {
        Some(bits) => Inferred {
            ty: Ty::Int { bits, signed: true },
            flex: if value < 0 { Flex::No } else { Flex::Yes },
        },
        None => Ty::U64.into(),
    }
}

/// (bits, signed) of a type that counts as an integer: integers and enums.
pub fn as_int(ty: &Ty) -> Option<(u8, bool)> {
    match ty {
        Ty::Int { bits, signed } | Ty::Enum { bits, signed, .. } => Some((*bits, *signed)),
        _ => None,
    }
}

/// The integer that an aggregation gives when it is read as one; histograms and stats give none.
pub fn castable(ty: &Ty) -> Option<Ty> {
    match ty {
        Ty::Agg(Agg::Count) => Some(Ty::U64),
        Ty::Agg(Agg::Sum { signed } | Agg::Min { signed } | Agg::Max { signed } | Agg::Avg { signed }) => {
            Some(Ty::Int { bits: 64, signed: *signed })
        }
        _ => None,
    }
}

/// The type that holds both; `None` if there is none.
pub fn promote(current: &Inferred, new: &Inferred) -> Option<Inferred> {
    if current == new {
        return Some(new.clone());
    }
    if let (Ty::Agg(a), Ty::Agg(b)) = (&current.ty, &new.ty) {
        return promote_agg(a, b).map(|agg| Ty::Agg(agg).into());
    }
    if let (Some(a), Some(b)) = (int_like(current), int_like(new)) {
        return Some(promote_int(&a, &b, &current.ty, &new.ty));
    }
    let ty = match (&current.ty, &new.ty) {
        (Ty::Str { size: a }, Ty::Str { size: b }) => Ty::Str { size: (*a).max(*b) },
        (Ty::Buf { size: a }, Ty::Buf { size: b }) => Ty::Buf { size: (*a).max(*b) },
        (Ty::Tuple(a), Ty::Tuple(b)) if a.len() == b.len() => return promote_parts(current, new),
        (Ty::Record(a), Ty::Record(b)) if same_names(a, b) => return promote_record(current, new),
        (Ty::Ptr { to: a, space }, Ty::Ptr { to: b, space: other }) => {
            let to = if **a == Ty::None || a == b { (**b).clone() } else { promote_pointee(a, b)? };
            Ty::Ptr { to: Box::new(to), space: if space == other { *space } else { weaker(*space, *other) } }
        }
        (Ty::KStack(a), Ty::KStack(b)) if a == b => current.ty.clone(),
        (Ty::UStack(a), Ty::UStack(b)) if a == b => current.ty.clone(),
        (Ty::Timestamp { .. }, Ty::Timestamp { .. }) => current.ty.clone(),
        (a, b) if a == b => a.clone(),
        _ => return None,
    };
    Some(ty.into())
}

/// The type with pointers that lead where those of `from` do, as far as the two have the same form.
pub fn pointing_as(ty: Ty, from: &Ty) -> Ty {
    match (ty, from) {
        (Ty::Ptr { to, .. }, Ty::Ptr { to: other, space }) => {
            Ty::Ptr { to: Box::new(pointing_as(*to, other)), space: *space }
        }
        (Ty::Array { elem, count }, Ty::Array { elem: other, .. }) => {
            Ty::Array { elem: Box::new(pointing_as(*elem, other)), count }
        }
        (ty, _) => ty,
    }
}

/// The type with pointers that lead to `space`.
pub fn pointing_to(ty: Ty, space: Space) -> Ty {
    match ty {
        Ty::Ptr { to, .. } => Ty::Ptr { to: Box::new(pointing_to(*to, space)), space },
        Ty::Array { elem, count } => Ty::Array { elem: Box::new(pointing_to(*elem, space)), count },
        ty => ty,
    }
}

/// The space through which both pointers can be read: a plain load needs both to be known to the verifier.
fn weaker(a: Space, b: Space) -> Space {
    match (a, b) {
        (Space::Btf | Space::Bpf, Space::Kernel) | (Space::Kernel, Space::Bpf) => Space::Kernel,
        (Space::Btf, b) => b,
        (a, _) => a,
    }
}

fn promote_pointee(a: &Ty, b: &Ty) -> Option<Ty> {
    if *b == Ty::None {
        return Some(a.clone());
    }
    promote(&a.clone().into(), &b.clone().into()).map(|p| p.ty)
}

/// An integer, enum or castable aggregation as an integer.
fn int_like(t: &Inferred) -> Option<Inferred> {
    let ty = match castable(&t.ty) {
        Some(ty) => ty,
        None => {
            let (bits, signed) = as_int(&t.ty)?;
            Ty::Int { bits, signed }
        }
    };
    Some(Inferred { ty, flex: t.flex.clone() })
}

fn promote_int(a: &Inferred, b: &Inferred, from_a: &Ty, from_b: &Ty) -> Inferred {
    if from_a == from_b && a.flex == b.flex {
        return Inferred { ty: from_a.clone(), flex: a.flex.clone() };
    }
    let ((abits, asigned), (bbits, bsigned)) =
        (as_int(&a.ty).unwrap_or((64, true)), as_int(&b.ty).unwrap_or((64, true)));
    let bits = abits.max(bbits);
    let flex = if a.is_flexible() && b.is_flexible() { Flex::Yes } else { Flex::No };
    let (bits, signed) = if asigned == bsigned {
        (bits, asigned)
    } else if a.is_flexible() || b.is_flexible() {
        (bits, (!a.is_flexible() && asigned) || (!b.is_flexible() && bsigned))
    } else if (asigned && abits > bbits) || (bsigned && bbits > abits) {
        (bits, true)
    } else {
        (bits.saturating_mul(2).min(64), true)
    };
    Inferred { ty: Ty::Int { bits, signed }, flex }
}

/// Aggregations of one kind: signed if either is; equal parameters.
fn promote_agg(a: &Agg, b: &Agg) -> Option<Agg> {
    Some(match (a, b) {
        (Agg::Sum { signed: x }, Agg::Sum { signed: y }) => Agg::Sum { signed: x | y },
        (Agg::Min { signed: x }, Agg::Min { signed: y }) => Agg::Min { signed: x | y },
        (Agg::Max { signed: x }, Agg::Max { signed: y }) => Agg::Max { signed: x | y },
        (Agg::Avg { signed: x }, Agg::Avg { signed: y }) => Agg::Avg { signed: x | y },
        (Agg::Stats { signed: x }, Agg::Stats { signed: y }) => Agg::Stats { signed: x | y },
        (x, y) if x == y => x.clone(),
        _ => return None,
    })
}

fn promote_parts(a: &Inferred, b: &Inferred) -> Option<Inferred> {
    let mut types = Vec::new();
    let mut flex = Vec::new();
    let Ty::Tuple(elements) = &a.ty else { return None };
    for i in 0..elements.len() {
        let part = promote(&a.part(i)?, &b.part(i)?)?;
        types.push(part.ty);
        flex.push(part.flex);
    }
    Some(Inferred { ty: Ty::Tuple(types), flex: whole_flex(flex) })
}

fn same_names(a: &[(String, Ty)], b: &[(String, Ty)]) -> bool {
    a.len() == b.len() && a.iter().all(|(name, _)| b.iter().any(|(other, _)| name == other))
}

/// Keeps the order of `a`'s fields.
fn promote_record(a: &Inferred, b: &Inferred) -> Option<Inferred> {
    let (Ty::Record(fields), Ty::Record(others)) = (&a.ty, &b.ty) else { return None };
    let mut out = Vec::new();
    let mut flex = Vec::new();
    for (i, (name, _)) in fields.iter().enumerate() {
        let j = others.iter().position(|(other, _)| other == name)?;
        let part = promote(&a.part(i)?, &b.part(j)?)?;
        out.push((name.clone(), part.ty));
        flex.push(part.flex);
    }
    Some(Inferred { ty: Ty::Record(out), flex: whole_flex(flex) })
}

/// Whether every value of `from` is one of `to`.
pub fn fits(from: &Inferred, to: &Ty) -> bool {
    match (as_int(&from.ty), as_int(to)) {
        (Some((a, signed)), Some((b, other))) if signed == other || from.is_flexible() => a <= b,
        (Some((a, false)), Some((b, true))) => a < b,
        (Some(_), Some(_)) => false,
        _ => from.ty == *to,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(bits: u8, signed: bool) -> Inferred {
        Ty::Int { bits, signed }.into()
    }

    #[test]
    fn literals_are_small_and_flexible() {
        assert_eq!(literal(0), Inferred { ty: Ty::Int { bits: 8, signed: true }, flex: Flex::Yes });
        assert_eq!(literal(128).ty, Ty::Int { bits: 16, signed: true });
        assert_eq!(literal(-1000), int(16, true));
        assert_eq!(literal(i128::from(u64::MAX)), int(64, false));
    }

    #[test]
    fn signs_meet_in_a_wider_signed_type() {
        assert_eq!(promote(&literal(1), &int(64, false)), Some(int(64, false)));
        assert_eq!(promote(&literal(300), &int(8, false)), Some(int(16, false)));
        assert_eq!(promote(&int(8, true), &int(8, false)), Some(int(16, true)));
        assert_eq!(promote(&int(64, true), &int(64, false)), Some(int(64, true)));
        assert_eq!(promote(&int(32, false), &int(64, true)), Some(int(64, true)));
        assert_eq!(promote(&literal(1), &literal(-1)), Some(int(8, true)));
    }

    #[test]
    fn wholes_promote_by_part() {
        let a = Inferred {
            ty: Ty::Tuple(vec![Ty::Int { bits: 8, signed: true }, Ty::Str { size: 3 }]),
            flex: Flex::Parts(vec![Flex::Yes, Flex::No]),
        };
        let b = Ty::Tuple(vec![Ty::U64, Ty::Str { size: 9 }]).into();
        assert_eq!(promote(&a, &b), Some(Ty::Tuple(vec![Ty::U64, Ty::Str { size: 9 }]).into()));
        assert_eq!(promote(&a, &Ty::Tuple(vec![Ty::U64]).into()), None);
        assert_eq!(promote(&a, &Ty::U64.into()), None);
    }

    #[test]
    fn promotion_does_not_depend_on_order() {
        let all = [
            literal(1),
            literal(300),
            literal(-5),
            int(8, false),
            int(32, true),
            int(32, false),
            int(64, false),
        ];
        for a in &all {
            for b in &all {
                let (x, y) = (promote(a, b), promote(b, a));
                assert_eq!(x.map(|t| t.ty), y.map(|t| t.ty), "{a:?} {b:?}");
            }
        }
    }
}
