//! `packet.…`: a path of names enters, what of the packet it means leaves, typed. The names are those of the compiler's
//! table of layers.

use super::{Checker, Typed};
use crate::ast::{self, Name, Span};
use crate::diag::Diagnostic;
use crate::hir::{Expr, ExprKind, PacketChange, PacketPart, PacketRead, PacketSource, StmtKind};
use crate::suggest;
use crate::ty::Ty;
use skep_compiler::layers::assign::is_assignable;
use skep_compiler::layers::table::Union;
use skep_compiler::layers::{Depth, Field, FieldKind, Layer, LayerId, rows};

/// A step of a path.
enum Step<'e> {
    Name(&'e Name),
    Index(&'e ast::Expr),
}

/// Longest payload that is read where nothing says how much.
const PAYLOAD: u32 = 64;

/// TCP options: name, kind, first byte of the value behind kind and length, bytes of the value (0: whether it is there).
const OPTIONS: &[(&str, u8, u32, u32)] = &[
    ("mss", 2, 0, 2),
    ("wscale", 3, 0, 1),
    ("sack_permitted", 4, 0, 0),
    ("tsval", 8, 0, 4),
    ("tsecr", 8, 4, 4),
];

/// Fields that are no part of a layer of their own.
const OWN: &[&str] = &["len", "ifindex", "gso", "carried", "payload", "inner"];

/// The steps behind `packet`; `None` for other expressions.
fn path(e: &ast::Expr) -> Option<Vec<Step<'_>>> {
    match &*e.kind {
        ast::ExprKind::Ident(name) if name == "packet" => Some(Vec::new()),
        ast::ExprKind::Field { expr, name, .. } => {
            let mut steps = path(expr)?;
            steps.push(Step::Name(name));
            Some(steps)
        }
        ast::ExprKind::Index { expr, index } => {
            let mut steps = path(expr)?;
            steps.push(Step::Index(index));
            Some(steps)
        }
        _ => None,
    }
}

impl Checker<'_> {
    /// A path that begins with `packet`; `None` for other expressions.
    pub(super) fn packet_path(&mut self, e: &ast::Expr) -> Option<Option<Typed>> {
        let steps = path(e)?;
        Some(match self.packet_source("packet", e.span) {
            None => None,
            Some(_) => self.packet_steps(&steps, e.span),
        })
    }

    /// Where the packet of the probe at hand comes from; an error where it has none.
    pub(crate) fn packet_source(&mut self, what: &str, span: Span) -> Option<PacketSource> {
        let source = self.instance.and_then(|i| i.packet);
        if source.is_none() || self.in_function() {
            let place = match (self.in_function(), self.instance) {
                (true, _) => "a function of the script".to_owned(),
                (false, Some(instance)) => format!("{} probes", instance.kind.name()),
                (false, None) => "this place".to_owned(),
            };
            let d = Diagnostic::error("no-packet", span, format!("`{what}` is not available in {place}"));
            self.diags.push(d.hint("packets are seen by xdp:INTERFACE and tc:INTERFACE:ingress|egress"));
            return None;
        }
        source
    }

    /// `packet.LAYER.FIELD = value`; `None` for other targets.
    pub(super) fn assign_packet(
        &mut self,
        target: &ast::Expr,
        op: Option<ast::BinOp>,
        value: &ast::Expr,
        span: Span,
    ) -> Option<Option<StmtKind>> {
        path(target)?;
        let read = self.packet_path(target)?;
        let value = self.value(value);
        Some(read.zip(value).and_then(|(read, value)| self.assign_part(read, op, value, span)))
    }

    /// A part of the packet that is given a value.
    fn assign_part(
        &mut self,
        read: Typed,
        op: Option<ast::BinOp>,
        value: Typed,
        span: Span,
    ) -> Option<StmtKind> {
        let target = read.span();

        self.may_change_packet(span)?;
        let value = match op {
            None => value,
            Some(op) => self.binary(op, read.clone(), value, span)?,
        };
        let ExprKind::Packet(PacketRead { what: PacketPart::Field(fields), depth, nth }) = &read.expr.kind
        else {
            self.error("not-assignable", target, "only a field of a layer can be given a value");
            return None;
        };
        let (fields, depth, nth) = (fields.clone(), *depth, *nth);
        if let Some((layer, field)) = fields.iter().find(|(layer, field)| !is_assignable(*layer, field)) {
            let message = format!("`{}.{}` cannot be given a value", layer.row().name, field.name);
            let d = Diagnostic::error("not-assignable", target, message);
            self.diags.push(
                d.hint("lengths of headers stay as they are, and SCTP has a checksum over the whole packet"),
            );
            return None;
        }
        let value = self.packet_operand(read.ty().clone(), &fields, value)?;
        Some(StmtKind::ChangePacket(PacketChange::Set { fields, depth, nth, value }))
    }

    /// The value that a field of type `ty` is given.
    fn packet_operand(&mut self, ty: Ty, fields: &[(LayerId, &'static Field)], value: Typed) -> Option<Expr> {
        let span = value.span();
        let value = match (&ty, value.ty()) {
            (Ty::Bool, _) => {
                let truth = self.truth(value, "a flag's value")?;
                return Some(super::coerce::retype(truth, &Ty::U64));
            }
            (Ty::Int { .. }, _) => return self.integer(value, false, false, "as a field's value"),
            (Ty::Inet, _) => super::binary::as_inet(value),
            (Ty::Mac, Ty::Array { elem, count: 6 }) if matches!(**elem, Ty::Int { bits: 8, .. }) => {
                let kind = ExprKind::Call { name: "macaddr", args: vec![value.expr] };
                Typed::new(kind, Ty::Mac, span)
            }
            _ => value,
        };
        if *value.ty() != ty {
            let found = value.ty().clone();
            self.mismatch(span, &found, &format!("`{}`", crate::types::name::display(&ty)));
            return None;
        }
        if ty == Ty::Inet && fields.len() > 1 {
            let d = Diagnostic::error("not-assignable", span, "an address is of IPv4 or of IPv6");
            self.diags.push(d.hint("say which: `packet.ip4.src` or `packet.ip6.src`"));
            return None;
        }
        Some(value.expr)
    }

    /// Whether the packet may be changed here.
    pub(crate) fn may_change_packet(&mut self, span: Span) -> Option<PacketSource> {
        let source = self.packet_source("packet", span)?;
        if self.loops > 0 || self.within_value > 0 {
            let place = if self.loops > 0 { "a loop" } else { "a block that is a value" };
            self.error("not-assignable", span, format!("a packet cannot be changed in {place}"));
            return None;
        }
        Some(source)
    }

    fn packet_steps(&mut self, steps: &[Step<'_>], span: Span) -> Option<Typed> {
        let (depth, steps) = match steps {
            [Step::Name(name), rest @ ..] if name.text == "inner" => (Depth::Inner, rest),
            steps => (Depth::Outer, steps),
        };
        let Some((Step::Name(first), rest)) = steps.split_first() else {
            let message = "a packet is read by its layers and fields: `packet.ip.src`";
            self.diags.push(Diagnostic::error("no-field", span, message).hint(self.layer_hint()));
            return None;
        };
        let read = |what, nth| PacketRead { what, depth, nth };
        match (first.text.as_str(), rest) {
            ("len", []) if depth == Depth::Outer => {
                return Some(value(read(PacketPart::Len, 0), Ty::U32, span));
            }
            ("ifindex", []) if depth == Depth::Outer => {
                return Some(value(read(PacketPart::Interface, 0), Ty::U32, span));
            }
            ("gso", []) if depth == Depth::Outer => {
                return Some(value(read(PacketPart::Segment, 0), Ty::U32, span));
            }
            ("carried", []) if depth == Depth::Outer => {
                return Some(value(read(PacketPart::Carried, 0), Ty::U64, span));
            }
            ("payload", []) => {
                let size = PAYLOAD.min(self.settings.config.max_strlen);
                return Some(value(read(PacketPart::Payload, 0), Ty::Buf { size }, span));
            }
            _ => {}
        }
        let (nth, rest) = match rest {
            [Step::Index(index), rest @ ..] => (self.layer_index(first, index)?, rest),
            rest => (0, rest),
        };
        let union = Union::named(&first.text);
        let layers: Vec<LayerId> = match (union, Layer::named(&first.text)) {
            (Some(union), _) => union.layers.to_vec(),
            (None, Some(layer)) => vec![layer.id],
            (None, None) => {
                let d = Diagnostic::error(
                    "no-field",
                    first.span,
                    format!("a packet has no layer `{}`", first.text),
                );
                let known = rows::LAYERS.iter().map(|l| l.name).chain(["ip"]).chain(OWN.iter().copied());
                self.diags.push(match suggest::nearest(&first.text, known) {
                    Some(near) => d.hint(format!("did you mean `{near}`?")),
                    None => d.hint(self.layer_hint()),
                });
                return None;
            }
        };
        match rest {
            [] => Some(value(read(PacketPart::Has(layers), nth), Ty::Bool, span)),
            [Step::Name(name)] => {
                let (part, ty) = self.layer_field(union, &layers, name)?;
                Some(value(read(part, nth), ty, span))
            }
            _ => {
                self.error("no-field", span, "a field of a layer has no parts");
                None
            }
        }
    }

    fn layer_hint(&self) -> String {
        let names: Vec<&str> = ["ip"].into_iter().chain(rows::LAYERS.iter().map(|l| l.name)).collect();
        format!("layers are: {}; and packet.{}", names.join(", "), OWN.join(", packet."))
    }

    /// `vlan[1]`
    fn layer_index(&mut self, layer: &Name, index: &ast::Expr) -> Option<u32> {
        if !matches!(layer.text.as_str(), "vlan" | "mpls") {
            self.error(
                "no-element",
                index.span,
                format!("`{}` is there once; VLAN tags and MPLS labels are counted", layer.text),
            );
            return None;
        }
        match self.value(index)?.literal_int() {
            Some(n @ 0..=5) => Some(n as u32),
            _ => {
                self.error(
                    "no-element",
                    index.span,
                    "a tag or label is chosen by a literal number from 0 to 5",
                );
                None
            }
        }
    }

    fn layer_field(
        &mut self,
        union: Option<&Union>,
        layers: &[LayerId],
        name: &Name,
    ) -> Option<(PacketPart, Ty)> {
        let byte = Ty::Int { bits: 8, signed: false };
        match (union.map(|u| u.name), name.text.as_str()) {
            (Some("ip"), "proto") => return Some((PacketPart::Protocol, byte)),
            (Some("ip"), "len") => return Some((PacketPart::IpLen, Ty::U32)),
            _ => {}
        }
        if layers == [LayerId::Tcp]
            && let Some((_, kind, at, bytes)) = OPTIONS.iter().find(|(n, ..)| *n == name.text)
        {
            let ty = match bytes {
                0 => Ty::Bool,
                n => Ty::Int { bits: (8 * n) as u8, signed: false },
            };
            return Some((PacketPart::TcpOption { kind: *kind, at: *at, bytes: *bytes }, ty));
        }
        let fields: Option<Vec<(LayerId, &'static Field)>> = match union {
            None => layers.iter().map(|l| Some((*l, l.row().field(&name.text)?))).collect(),
            Some(union) => union.fields.iter().find(|(n, ..)| *n == name.text).and_then(|(_, names, _)| {
                layers.iter().zip(*names).map(|(l, n)| Some((*l, l.row().field(n)?))).collect()
            }),
        };
        let Some(fields) = fields.filter(|f| !f.is_empty()) else {
            self.no_layer_field(union, layers, name);
            return None;
        };
        let ty = type_of(fields[0].1);
        Some((PacketPart::Field(fields), ty))
    }

    fn no_layer_field(&mut self, union: Option<&Union>, layers: &[LayerId], name: &Name) {
        let mut names: Vec<&str> = match union {
            Some(union) => union.fields.iter().map(|(n, ..)| *n).chain(["proto", "len"]).collect(),
            None => layers.iter().flat_map(|l| l.row().fields).map(|f| f.name).collect(),
        };
        if layers == [LayerId::Tcp] {
            names.extend(OPTIONS.iter().map(|(n, ..)| *n));
        }
        let of = union.map_or_else(|| layers[0].row().name, |u| u.name);
        let d =
            Diagnostic::error("no-field", name.span, format!("`packet.{of}` has no field `{}`", name.text));
        self.diags.push(match suggest::nearest(&name.text, names.iter().copied()) {
            Some(near) => d.hint(format!("did you mean `{near}`?")),
            None => d.hint(format!("its fields are: {}", names.join(", "))),
        });
    }
}

fn value(read: PacketRead, ty: Ty, span: Span) -> Typed {
    Typed::new(ExprKind::Packet(read), ty, span)
}

/// The type of a field's value.
fn type_of(field: &Field) -> Ty {
    match field.kind {
        FieldKind::Flag => Ty::Bool,
        FieldKind::Mac => Ty::Mac,
        FieldKind::Ip4 | FieldKind::Ip6 => Ty::Inet,
        FieldKind::Number => {
            let bits = [8u8, 16, 32].into_iter().find(|bits| field.bits <= u16::from(*bits)).unwrap_or(64);
            Ty::Int { bits, signed: false }
        }
        FieldKind::Bytes => Ty::Buf { size: u32::from(field.bits / 8) },
    }
}
