//! What the debug information of the fake target's /bin/bash says.

use std::sync::Arc;

use skep_bpf::btf::{Btf, BtfBuilder, Linkage, MemberDef};
use skep_bpf::target::{Answer, Question, Symbol, TargetError, TypeRequest};

/// Types of `readline(struct line *line, struct span span, double speed, int last)`, whose last argument is always 5, and
/// those asked for.
fn types(request: &TypeRequest) -> Arc<Btf> {
    let mut b = BtfBuilder::new();
    let (int, long, double) = (b.int("int", 4, true), b.int("long", 8, true), b.float("double", 8));
    let char_ = b.int("char", 1, true);
    let text = b.ptr(char_);
    let member = |name, ty, bytes: u32| MemberDef { name, ty, bit_offset: bytes * 8, bit_size: 0 };
    let line = b.struct_("line", 16, &[member("length", int, 0), member("text", text, 8)]);
    let span = b.struct_("span", 16, &[member("from", long, 0), member("to", long, 8)]);
    if request.functions.iter().any(|(name, _)| name == "readline") {
        let line = b.ptr(line);
        let proto = b.func_proto(text, &[("line", line), ("span", span), ("speed", double), ("last", int)]);
        let func = b.func("readline", proto, Linkage::Global);
        b.decl_tag(&format!("{}5", TypeRequest::CONSTANT), func, 3);
    }
    super::btf(b.finish())
}

/// Answers the questions about debug information and demangled names.
pub(super) fn answer(question: &Question) -> Result<Answer, TargetError> {
    let missing = |what: &str| Err(TargetError::NotFound(what.to_owned()));
    let symbol = |name: &str, offset: u64| Symbol {
        name: name.to_owned(),
        address: 0x40_0000 + offset,
        offset,
        size: 16,
    };
    match question {
        Question::BinaryTypes(request) if request.path == "/bin/bash" => Ok(Answer::Btf(types(request))),
        Question::BinaryTypes(request) => missing(&format!("debug information of {}", request.path)),
        Question::SourceLine { file, line, .. } if file == "readline.c" && *line == 362 => {
            Ok(Answer::Symbols(Arc::new(vec![symbol("readline.c", 0x2008)])))
        }
        Question::SourceLine { file, line, .. } => missing(&format!("code of {file}:{line}")),
        Question::DemangledSymbols(_) => {
            Ok(Answer::Symbols(Arc::new(vec![symbol("hive::feed(long)", 0x4000)])))
        }
        other => missing(&format!("{other:?}")),
    }
}
