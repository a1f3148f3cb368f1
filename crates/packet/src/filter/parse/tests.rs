#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at what it does not understand")]
use super::super::ast::Id;
use super::super::words;
use super::*;
use crate::filter::ast::{Arith, ArithId};

/// The tree with all brackets.
fn shown(text: &str) -> String {
    let (tree, root) = parse(text, false).unwrap_or_else(|d| panic!("{text}: {}", d.message));
    root.map_or(String::new(), |root| show(&tree, root))
}

fn show(tree: &Tree, id: ExprId) -> String {
    match &tree.expr(id).0 {
        Expr::And(a, b) => format!("({} & {})", show(tree, *a), show(tree, *b)),
        Expr::Or(a, b) => format!("({} | {})", show(tree, *a), show(tree, *b)),
        Expr::Not(a) => format!("!{}", show(tree, *a)),
        Expr::Proto(proto) => words::proto_name(*proto).to_owned(),
        Expr::Id(quals, Id::Number(n)) => {
            format!("{}:{n}", quals.kind.map_or(String::new(), |k| format!("{k:?}")))
        }
        Expr::Relation(op, a, b) => format!("{} {op:?} {}", show_arith(tree, *a), show_arith(tree, *b)),
        other => format!("{other:?}"),
    }
}

fn show_arith(tree: &Tree, id: ArithId) -> String {
    match &tree.arith(id).0 {
        Arith::Number(n) => n.to_string(),
        Arith::Len => "len".to_owned(),
        Arith::Neg(a) => format!("-{}", show_arith(tree, *a)),
        Arith::Bin(op, a, b) => format!("({} {op:?} {})", show_arith(tree, *a), show_arith(tree, *b)),
        Arith::Load { proto, index, bytes } => {
            format!("{}[{}:{bytes}]", words::proto_name(*proto), show_arith(tree, *index))
        }
    }
}

#[test]
fn and_and_or_group_to_the_left() {
    assert_eq!(shown("tcp or udp and ip"), "((tcp | udp) & ip)");
    assert_eq!(shown("not tcp and udp"), "(!tcp & udp)");
    assert_eq!(shown("tcp && (udp || ! ip)"), "(tcp & (udp | !ip))");
    assert_eq!(shown(""), "");
}

#[test]
fn qualifiers_are_inherited() {
    assert_eq!(shown("port 80 or 90"), "(Port:80 | Port:90)");
    assert_eq!(shown("port (80 or 90 and not 7)"), "((Port:80 | Port:90) & !Port:7)");
    assert_eq!(shown("port 80 and (90 or 100) or 7"), "((Port:80 & (Port:90 | Port:100)) | Port:7)");
    assert_eq!(shown("port 80 and (udp or arp) or 7"), "((Port:80 & (udp | arp)) | Port:7)");
    assert_eq!(shown("port not 80"), "!Port:80");
    assert_eq!(shown("(port 80 or 90)"), "(Port:80 | Port:90)");
}

#[test]
fn arithmetic_has_the_precedence_of_the_grammar() {
    assert_eq!(shown("1 + 2 * 3 = len"), "(1 Add (2 Mul 3)) Eq len");
    assert_eq!(shown("1 - 2 - 3 = 0"), "((1 Sub 2) Sub 3) Eq 0");
    assert_eq!(shown("8 % 3 + 1 = 0"), "(8 Mod (3 Add 1)) Eq 0");
    assert_eq!(shown("8 * 3 % 2 = 0"), "(8 Mul (3 Mod 2)) Eq 0");
    assert_eq!(shown("-8 + 3 > 0"), "(-8 Add 3) Gt 0");
    assert_eq!(shown("-8 ^ 3 > 0"), "-(8 Xor 3) Gt 0");
    assert_eq!(shown("(ip[0] & 0xf) << 2 != tcp[1:2]"), "((ip[0:1] And 15) Shl 2) Ne tcp[1:2]");
    assert_eq!(shown("port 80 or 90 = 90"), "(Port:80 | 90 Eq 90)");
    assert_eq!(shown("((1)) = 1 and tcp"), "(1 Eq 1 & tcp)");
}

#[test]
fn what_the_grammar_lacks_is_refused() {
    for text in [
        "80",
        "10.0.0.1",
        "tcp and 80",
        "ip 10.0.0.1",
        "host",
        "host tcp",
        "(80 or 90) and port 7",
        "port ((80 or 90) and 100)",
        "port (80 or tcp)",
        "src proto 6",
        "src or host 1.2.3.4",
        "tcp or",
        "tcp)",
        "(tcp",
        "tcp udp",
        "len",
        "ip[0] + 1",
        "ip[0:] = 1",
        "host $1a",
        "vpi 3",
        "less len",
    ] {
        assert!(parse(text, false).is_err(), "{text}");
    }
    assert!(parse(&"(".repeat(100_000 / 2), false).is_err());
    assert!(parse("vxlan", true).is_err());
}
