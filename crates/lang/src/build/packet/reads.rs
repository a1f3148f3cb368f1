//! What statements and expressions ask of the packet: which parts in any case, and in which depths.

use crate::build::walk;
use crate::hir::{Expr, ExprKind, PacketChange, PacketPart, PacketRead, Probe, Stmt, StmtKind};
use crate::ty::Ty;
use skep_compiler::layers::{Depth, LayerId};

/// In which depths a probe asks for layers of the packet, or changes them.
pub(super) fn depths(probe: Option<&Probe>) -> Vec<Depth> {
    let mut found = Vec::new();
    let mut see = |node: walk::Node<'_>| {
        let depth = match node {
            walk::Node::Expr(Expr { kind: ExprKind::Packet(read), .. }) => match read.what {
                PacketPart::Len
                | PacketPart::Interface
                | PacketPart::Segment
                | PacketPart::Carried
                | PacketPart::Filter(_) => None,
                _ => Some(read.depth),
            },
            walk::Node::Stmt(Stmt { kind: StmtKind::ChangePacket(change), .. }) => match change {
                PacketChange::Set { depth, .. } => Some(*depth),
                PacketChange::PopTunnel => Some(Depth::Inner),
                _ => None,
            },
            _ => None,
        };
        found.extend(depth.filter(|depth| !found.contains(depth)));
    };
    if let Some(probe) = probe {
        probe.predicate.iter().for_each(|e| walk::walk_expr(e, &mut see));
        walk::walk_stmts(&probe.body, &mut see);
    }
    found
}

/// Whether an expression asks for the packet.
pub(in crate::build) fn reads_packet(e: &Expr) -> bool {
    let mut found = false;
    walk::walk_expr(e, &mut |node| {
        if let walk::Node::Expr(Expr { kind: ExprKind::Packet(_), .. }) = node {
            found = true;
        }
    });
    found
}

/// Whether everything in an expression is evaluated in any case, one after another.
pub(super) fn is_straight(e: &Expr) -> bool {
    match &e.kind {
        ExprKind::Int(_) | ExprKind::Str(_) | ExprKind::Var(_) => true,
        ExprKind::Packet(read) => match &read.what {
            PacketPart::Field(fields) => fields.len() == 1 && fields[0].0 != LayerId::Vlan,
            PacketPart::Len | PacketPart::Interface | PacketPart::Segment | PacketPart::Protocol => true,
            PacketPart::Has(layers) => layers.len() == 1 && layers[0] != LayerId::Vlan,
            _ => false,
        },
        ExprKind::Convert(a) | ExprKind::Unary { a, .. } | ExprKind::Reinterpret(a) => is_straight(a),
        ExprKind::Binary { a, b, .. } | ExprKind::Compare { a, b, .. } => is_straight(a) && is_straight(b),
        _ => false,
    }
}

/// Whether an expression is the EtherType of the frame's own Ethernet header.
pub(super) fn ether_type(e: &Expr) -> bool {
    match &e.kind {
        // Wider ones hold the same number.
        ExprKind::Convert(a) => matches!(e.ty, Ty::Int { bits: 16.., .. }) && ether_type(a),
        ExprKind::Packet(PacketRead { what: PacketPart::Field(fields), depth: Depth::Outer, nth: 0 }) => {
            matches!(fields.as_slice(), [(LayerId::Eth, field)] if field.name == "proto")
        }
        _ => false,
    }
}

pub(super) fn stmt_reads<'t>(stmt: &'t Stmt, out: &mut Vec<&'t PacketRead>) {
    match &stmt.kind {
        StmtKind::Expr(e) | StmtKind::AssignVar(_, e) | StmtKind::Return(Some(e)) => always_read(e, out),
        StmtKind::AssignMap { key, value, .. } => {
            key.iter().for_each(|e| always_read(e, out));
            always_read(value, out);
        }
        StmtKind::Aggregate { key, arg, weight, .. } => {
            key.iter().chain(arg).chain(weight).for_each(|e| always_read(e, out));
        }
        StmtKind::Delete { key, .. } => key.iter().for_each(|e| always_read(e, out)),
        StmtKind::ChangePacket(PacketChange::Set { value, .. } | PacketChange::PushVlan(value)) => {
            always_read(value, out);
        }
        StmtKind::ChangePacket(PacketChange::IcmpError(parts)) => {
            parts.iter().for_each(|e| always_read(e, out))
        }
        StmtKind::Emit { args, .. } => args.iter().for_each(|e| always_read(e, out)),
        _ => {}
    }
}

/// Parts that an expression asks for in any case, but for those of comparisons, which do not hold without them.
fn always_read<'t>(e: &'t Expr, out: &mut Vec<&'t PacketRead>) {
    match &e.kind {
        ExprKind::Packet(read) => out.push(read),
        ExprKind::Logical { .. }
        | ExprKind::Not(_)
        | ExprKind::Compare { .. }
        | ExprKind::BytesEq { .. }
        | ExprKind::Ternary { .. }
        | ExprKind::Block { .. } => {}
        ExprKind::MapGet { key, .. }
        | ExprKind::MapAgg { key, .. }
        | ExprKind::HasKey { key, .. }
        | ExprKind::Delete { key, .. }
        | ExprKind::IncMap { key, .. } => key.iter().for_each(|e| always_read(e, out)),
        ExprKind::Field { base: a, .. }
        | ExprKind::TupleField { base: a, .. }
        | ExprKind::Unary { a, .. }
        | ExprKind::Convert(a)
        | ExprKind::Reinterpret(a)
        | ExprKind::AddrOf(a) => always_read(a, out),
        ExprKind::Index { base, index, .. } => {
            always_read(base, out);
            always_read(index, out);
        }
        ExprKind::Binary { a, b, .. } => {
            always_read(a, out);
            always_read(b, out);
        }
        ExprKind::FilterMemory(test) => {
            [&test.start, &test.here, &test.whole].into_iter().for_each(|e| always_read(e, out));
        }
        ExprKind::Tuple(parts)
        | ExprKind::Record(parts)
        | ExprKind::Call { args: parts, .. }
        | ExprKind::CallFn { args: parts, .. } => parts.iter().for_each(|e| always_read(e, out)),
        ExprKind::Int(_)
        | ExprKind::Str(_)
        | ExprKind::Var(_)
        | ExprKind::MapLen(_)
        | ExprKind::Arg(_)
        | ExprKind::IncVar { .. } => {}
    }
}
