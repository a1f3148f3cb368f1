//! Every script of docs/language.md compiles, and what the page says is not accepted yet is refused. The running kernel
//! answers for types and tracepoints; what it may lack (hooks, symbols, a shell) is answered here.

use skep_bpf::target::{Answer, Question, Symbol, Target, TargetError};
use skep_kernel::LiveTarget;
use skep_lang::compile::{CompileFailure, Source, compile};
use skep_lang::diag::Style;
use skep_lang::options::Options;
use std::path::Path;
use std::sync::Arc;

/// The running kernel with every hook, and a shell with one function.
struct Everything(LiveTarget);

fn symbol(name: &str, size: u64) -> Symbol {
    Symbol { name: name.to_owned(), address: 0x1_2000, offset: 0x2000, size }
}

impl Target for Everything {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        let known = match question {
            Question::Has(_) => Answer::Yes(true),
            Question::KernelSymbol(_) => Answer::Number(0xffff_ffff_8100_0000),
            Question::CgroupId(_) => Answer::Number(1),
            Question::BinaryPath(name) => Answer::Text(name.as_str().into()),
            Question::Binaries { name, .. } => Answer::Names(Arc::new(vec![name.clone()])),
            Question::BinarySymbols(_) => {
                Answer::Symbols(Arc::new(vec![symbol("main", 64), symbol("readline", 64)]))
            }
            Question::BinaryVariable { name, .. } => Answer::Symbols(Arc::new(vec![symbol(name, 4)])),
            Question::DemangledSymbols(_) => Answer::Symbols(Arc::default()),
            _ => return self.0.ask(question),
        };
        Ok(known)
    }
}

/// A fenced block: its first line in the page, what stands behind the fence, its text.
struct Block {
    line: usize,
    kind: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in page.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(kind), None) => {
                open = Some(Block { line: number + 2, kind: kind.to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// What is wrong with a script; `None` if nothing is.
fn fault(text: &str, target: &Everything) -> Option<String> {
    let source = Source { name: "language.md".to_owned(), text: text.to_owned() };
    let filters = Some(skep_packet::filter::script::compiler());
    let options = Options { passes: true, unsafe_mode: true, filters, ..Options::default() };
    match compile(&source, &options, target, &|_| false, &mut |_, _| {}) {
        Ok(_) => None,
        Err(CompileFailure::Diagnostics(list)) => Some(list.render("language.md", text, Style::Lines)),
        Err(other) => Some(format!("{other:?}")),
    }
}

#[test]
fn scripts_of_the_language_page_compile() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/language.md");
    let page = std::fs::read_to_string(path).expect("docs/language.md");
    let target = Everything(LiveTarget::new());
    let format = Question::TracepointFormat { category: "sched".into(), name: "sched_switch".into() };
    if target.ask(&format).is_err() || target.ask(&Question::Btf(String::new())).is_err() {
        eprintln!("skipped: the formats of tracepoints or the kernel's types cannot be read here");
        return;
    }
    let mut wrong = Vec::new();
    let mut scripts = 0;
    for block in blocks(&page) {
        let fault = match block.kind.as_str() {
            "" => fault(&block.text, &target),
            "design" => match fault(&block.text, &target) {
                Some(_) => None,
                None => Some("this is accepted: the page says that it is not".to_owned()),
            },
            "text" | "sh" => continue,
            other => Some(format!("unknown kind of block `{other}`")),
        };
        scripts += 1;
        wrong.extend(fault.map(|fault| format!("line {}: {fault}\n{}", block.line, block.text)));
    }
    assert!(scripts > 80, "{scripts} scripts found");
    assert!(wrong.is_empty(), "{} of {scripts}:\n{}", wrong.len(), wrong.join("\n"));
}
