//! What a primitive is about: tokens enter, a name, a number or an address leaves, with the length or mask behind it, or the mistake.

use super::super::ast::Id;
use super::super::lex::Kind;
use super::super::words::{self, Word};
use super::{Parsed, Parser};
use skep_lang::diag::Diagnostic;

impl Parser {
    pub(super) fn id(&mut self) -> Parsed<Id> {
        let expected = "a name, a number or an address";
        let Some(kind) = self.peek().cloned() else { return Err(self.unexpected(expected)) };
        let id = match kind {
            Kind::Name(name) => Id::Name(name),
            Kind::Number(value) => Id::Number(value),
            Kind::Mac(address) => Id::Mac(address),
            Kind::Ipv4(text) => {
                self.pos += 1;
                return self.ipv4(text);
            }
            Kind::Ipv6(address) => {
                self.pos += 1;
                return Ok(match self.prefix()? {
                    Some(bits) => Id::Ipv6Prefix(address, bits),
                    None => Id::Ipv6(address),
                });
            }
            Kind::Arcnet => {
                let span = self.since(self.start());
                return Err(Diagnostic::error("filter-link", span, "aid supported only on ARCnet").into());
            }
            Kind::Word(_) => {
                let text = words_hint(&kind);
                return Err(self.unexpected(expected).hint(text).into());
            }
            Kind::Sign(_) => return Err(self.unexpected(expected)),
        };
        self.pos += 1;
        Ok(id)
    }

    fn ipv4(&mut self, text: String) -> Parsed<Id> {
        if self.word() == Some(Word::Mask) {
            self.pos += 1;
            let Some(Kind::Ipv4(mask)) = self.peek().cloned() else {
                return Err(self.unexpected("a netmask such as 255.255.0.0"));
            };
            self.pos += 1;
            return Ok(Id::Ipv4Mask(text, mask));
        }
        Ok(match self.prefix()? {
            Some(bits) => Id::Ipv4Prefix(text, bits),
            None => Id::Ipv4(text),
        })
    }

    /// `/LENGTH`
    fn prefix(&mut self) -> Parsed<Option<u32>> {
        if !self.take_sign("/") {
            return Ok(None);
        }
        self.number("the prefix' length").map(Some)
    }
}

/// What to do where a keyword stands for a name.
fn words_hint(kind: &Kind) -> String {
    let Kind::Word(word) = kind else { return String::new() };
    let name = match word {
        Word::Proto(proto) => words::proto_name(*proto),
        _ => "NAME",
    };
    format!("a keyword is written `\\{name}` where a name is meant")
}
