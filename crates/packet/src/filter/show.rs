//! The stages of a filter as text, for people: the tree with the qualifiers that each primitive has in the end, and the
//! tests in the order in which they are made.

use super::Filter;
use super::ast::{Arith, ArithId, ArithOp, Expr, ExprId, Id, Quals, Relop, Tree};
use super::graph::Next;
use super::parse;
use super::pred::{Cc, Meta, Preds, Value, ValueId};
use skep_lang::diag::Diagnostic;
use std::fmt::{self, Write};

/// The tree of an expression, a node a line.
pub fn tree(text: &str, strict: bool) -> Result<String, Box<Diagnostic>> {
    let (tree, root) = parse::parse(text, strict)?;
    let mut out = String::new();
    match root {
        Some(root) => node(&tree, root, 0, &mut out),
        None => out.push_str("everything\n"),
    }
    Ok(out)
}

fn node(tree: &Tree, id: ExprId, depth: usize, out: &mut String) {
    let pad = "  ".repeat(depth);
    let (word, parts) = match &tree.expr(id).0 {
        Expr::And(a, b) => ("and".to_owned(), vec![*a, *b]),
        Expr::Or(a, b) => ("or".to_owned(), vec![*a, *b]),
        Expr::Not(a) => ("not".to_owned(), vec![*a]),
        leaf => (primitive(tree, leaf), Vec::new()),
    };
    out.push_str(&format!("{pad}{}\n", word.escape_debug()));
    parts.into_iter().for_each(|part| node(tree, part, depth + 1, out));
}

fn primitive(tree: &Tree, expr: &Expr) -> String {
    match expr {
        Expr::Id(quals, id) => format!("{} {}", qualifiers(quals), name(id)),
        Expr::Proto(proto) => format!("proto {}", lower(proto)),
        Expr::Relation(op, a, b) => {
            let sign = match op {
                Relop::Gt => ">",
                Relop::Ge => ">=",
                Relop::Eq => "=",
                Relop::Le => "<=",
                Relop::Lt => "<",
                Relop::Ne => "!=",
            };
            format!("{} {sign} {}", arithmetic(tree, *a), arithmetic(tree, *b))
        }
        Expr::Broadcast(proto) => format!("broadcast {}", lower(proto)),
        Expr::Multicast(proto) => format!("multicast {}", lower(proto)),
        Expr::Less(n) => format!("less {n}"),
        Expr::Greater(n) => format!("greater {n}"),
        Expr::Byte(n, op, m) => format!("byte {n} {} {m}", lower(op)),
        Expr::Direction(out) => if *out { "outbound" } else { "inbound" }.to_owned(),
        Expr::Ifindex(n) => format!("ifindex {n}"),
        Expr::Shift(layer, Some(n)) => format!("{} {n}, before what follows", lower(layer)),
        Expr::Shift(layer, None) => format!("{}, before what follows", lower(layer)),
        Expr::Pppoed => "pppoed".to_owned(),
        Expr::Llc(kind) => format!("llc {}", kind.as_deref().unwrap_or_default()),
        Expr::And(..) | Expr::Or(..) | Expr::Not(_) => String::new(),
    }
}

/// What a value is called, in lower case and without `Some`.
fn lower(value: &impl fmt::Debug) -> String {
    let text = format!("{value:?}").to_lowercase();
    text.strip_prefix("some(").and_then(|text| text.strip_suffix(')')).map_or(text.clone(), str::to_owned)
}

fn qualifiers(quals: &Quals) -> String {
    let words = [quals.proto.map(|p| lower(&p)), quals.dir.map(|d| lower(&d)), quals.kind.map(|k| lower(&k))];
    let any = ["any protocol", "either side", "host"];
    let words: Vec<String> =
        words.into_iter().zip(any).map(|(w, any)| w.unwrap_or_else(|| any.to_owned())).collect();
    words.join(", ") + ":"
}

fn name(id: &Id) -> String {
    match id {
        Id::Name(name) | Id::Ipv4(name) => name.clone(),
        Id::Number(n) => n.to_string(),
        Id::Ipv4Prefix(address, bits) => format!("{address}/{bits}"),
        Id::Ipv4Mask(address, mask) => format!("{address} mask {mask}"),
        Id::Ipv6(address) => address.to_string(),
        Id::Ipv6Prefix(address, bits) => format!("{address}/{bits}"),
        Id::Mac(bytes) => bytes.map(|b| format!("{b:02x}")).join(":"),
    }
}

fn arithmetic(tree: &Tree, id: ArithId) -> String {
    match &tree.arith(id).0 {
        Arith::Number(n) => n.to_string(),
        Arith::Len => "len".to_owned(),
        Arith::Neg(a) => format!("-{}", arithmetic(tree, *a)),
        Arith::Bin(op, a, b) => format!("({} {} {})", arithmetic(tree, *a), sign(*op), arithmetic(tree, *b)),
        Arith::Load { proto, index, bytes } => {
            format!("{}[{} : {bytes}]", lower(proto), arithmetic(tree, *index))
        }
    }
}

fn sign(op: ArithOp) -> &'static str {
    match op {
        ArithOp::Add => "+",
        ArithOp::Sub => "-",
        ArithOp::Mul => "*",
        ArithOp::Div => "/",
        ArithOp::Mod => "%",
        ArithOp::And => "&",
        ArithOp::Or => "|",
        ArithOp::Xor => "^",
        ArithOp::Shl => "<<",
        ArithOp::Shr => ">>",
    }
}

/// The tests in their order: a number, the test, where it leads if it holds and if not. A byte that is missing ends the filter.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.graph.nodes.len();
        let place = |next: Next| match next {
            Next::Accept => "match".to_owned(),
            Next::Reject => "no match".to_owned(),
            Next::Node(n) => (last - n as usize).to_string(),
        };
        if last == 0 {
            return writeln!(f, "{}", place(self.graph.root));
        }
        for (index, node) in self.graph.nodes.iter().enumerate().rev() {
            let mut text = String::new();
            for (var, value) in &node.test.sets {
                write!(text, "place{} = {}; ", var.0, value_text(&self.preds, *value))?;
            }
            let sign = match node.test.cc {
                Cc::Eq => "==",
                Cc::Gt => ">",
                Cc::Ge => ">=",
                Cc::Set => "has any of",
            };
            let (a, b) = (value_text(&self.preds, node.test.a), value_text(&self.preds, node.test.b));
            let (then, other) = (place(node.then), place(node.other));
            writeln!(f, "{:>3}: {text}{a} {sign} {b}: {then}, else {other}", last - index)?;
        }
        Ok(())
    }
}

fn value_text(preds: &Preds, id: ValueId) -> String {
    let of = |id: ValueId| value_text(preds, id);
    match preds.value(id) {
        Value::Const(c) if c < 10 => c.to_string(),
        Value::Const(c) => format!("{c:#x}"),
        Value::Len => "len".to_owned(),
        Value::Var(var) => format!("place{}", var.0),
        Value::Meta(Meta::VlanPresent) => "vlan_present".to_owned(),
        Value::Meta(Meta::VlanTag) => "vlan_tci".to_owned(),
        Value::Meta(Meta::PacketType) => "pkt_type".to_owned(),
        Value::Meta(Meta::Ifindex) => "ifindex".to_owned(),
        Value::Meta(Meta::Protocol) => "protocol".to_owned(),
        Value::Load { bytes, add, index: None } => format!("[{add}:{bytes}]"),
        Value::Load { bytes, add, index: Some(index) } => format!("[{} + {add}:{bytes}]", of(index)),
        Value::Bin(op, a, b) => format!("({} {} {})", of(a), sign(op), of(b)),
        Value::Neg(a) => format!("-{}", of(a)),
        Value::Choose { a, is, then, other } => {
            format!("({} == {is:#x} ? {} : {})", of(a), of(then), of(other))
        }
        Value::Chain { v6, header, proto } => {
            format!("chain(ip{} at {header}, {proto})", if v6 { 6 } else { 4 })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_shows_qualifiers_that_were_not_written_again() {
        let text = tree("tcp port 80 or 443 and not icmp[icmptype] = 8", false).unwrap_or_default();
        let wanted = "and\n  or\n    tcp, either side, port: 80\n    tcp, either side, port: 443\n  not\n    \
                      icmp[0 : 1] = 8\n";
        assert_eq!(text, wanted);
    }

    #[test]
    fn what_is_written_cannot_act_on_a_terminal() {
        let text = tree("host \\\u{1b}[31m", false).unwrap_or_default();
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}
