//! BTF of the functions and line info.
//!
//! The kernel wants a function's first instruction to have a line (check_btf_line, kernel/bpf/verifier.c, Linux 6.18),
//! lines ascending by instruction, and none on the second slot of a 64-bit load. A function without any place in
//! the source gets line 0.

use skep_bpf::btf::{BtfBuilder, Linkage, TypeId};
use skep_bpf::kinds::ProgType;
use skep_bpf::object::{FuncInfo, LineInfo};

use crate::ir::{FuncId, FuncKind, Loc, Module, PtrKind, Type};
use crate::lower::FuncCode;

/// BTF in the making.
pub(super) struct Debug {
    btf: BtfBuilder,
    funcs: Vec<Option<TypeId>>,
    file: u32,
    /// String offsets of source lines, by line number less one.
    texts: Vec<Option<u32>>,
    source: Vec<String>,
    used: bool,
}

impl Debug {
    pub(super) fn new(module: &Module) -> Debug {
        let mut btf = BtfBuilder::new();
        let file = btf.string(&module.file);
        Debug {
            btf,
            funcs: vec![None; module.funcs.len()],
            file,
            texts: vec![None; module.source.len()],
            source: module.source.clone(),
            used: false,
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        if self.used { self.btf.finish() } else { Vec::new() }
    }

    fn type_id(&mut self, ty: Type) -> TypeId {
        match ty {
            Type::Ptr(_) => self.btf.ptr(TypeId(0)),
            Type::Int(int) => match (int.bytes(), int.signed) {
                (1, false) => self.btf.int("unsigned char", 1, false),
                (1, true) => self.btf.int("char", 1, true),
                (2, false) => self.btf.int("unsigned short", 2, false),
                (2, true) => self.btf.int("short", 2, true),
                (3 | 4, false) => self.btf.int("unsigned int", 4, false),
                (3 | 4, true) => self.btf.int("int", 4, true),
                (_, false) => self.btf.int("unsigned long long", 8, false),
                (_, true) => self.btf.int("long long", 8, true),
            },
        }
    }

    /// The function info of a function that starts at instruction `insn`.
    pub(super) fn func(&mut self, id: FuncId, module: &Module, insn: u32, prog_type: ProgType) -> FuncInfo {
        self.used = true;
        if let Some(type_id) = self.funcs[id.index()] {
            return FuncInfo { insn, type_id: type_id.0 };
        }
        let func = &module.funcs[id.index()];
        let names = ["a", "b", "c", "d", "e"];
        let params: Vec<(&str, TypeId)> = match func.kind {
            FuncKind::Main => vec![("ctx", self.btf.ptr(TypeId(0)))],
            _ => names.into_iter().zip(&func.params).map(|(n, ty)| (n, self.type_id(*ty))).collect(),
        };
        let mut params = params;
        if let (FuncKind::Global { bytes: size @ 1.. }, Some((_, memory))) = (func.kind, params.first_mut()) {
            // The verifier takes the size of the memory from the type (btf_prepare_func_args, kernel/bpf/btf.c, Linux 6.18).
            let byte = self.btf.int("unsigned char", 1, false);
            let array = self.btf.array(byte, size);
            *memory = self.btf.ptr(array);
        }
        let takes_ctx = func.params.first() == Some(&Type::Ptr(PtrKind::Ctx));
        if let (FuncKind::Global { .. }, Some((_, ctx)), true) = (func.kind, params.first_mut(), takes_ctx) {
            // The verifier knows a context by the name of its type (btf_is_prog_ctx_type, kernel/bpf/btf.c, Linux 6.18).
            let name = if prog_type == ProgType::Xdp { "xdp_md" } else { "__sk_buff" };
            let context = self.btf.struct_(name, 0, &[]);
            *ctx = self.btf.ptr(context);
        }
        let ret = self.type_id(func.ret);
        let proto = self.btf.func_proto(ret, &params);
        let linkage = match func.kind {
            FuncKind::Main | FuncKind::Global { .. } => Linkage::Global,
            FuncKind::Sub | FuncKind::Callback => Linkage::Static,
        };
        let type_id = self.btf.func(&identifier(&func.name, id), proto, linkage);
        self.funcs[id.index()] = Some(type_id);
        FuncInfo { insn, type_id: type_id.0 }
    }

    fn line(&mut self, loc: Loc, insn: u32) -> LineInfo {
        let index = (loc.line as usize).wrapping_sub(1);
        let text = match self.texts.get(index).copied() {
            Some(Some(text)) => text,
            Some(None) => {
                let text = self.btf.string(&self.source[index]);
                self.texts[index] = Some(text);
                text
            }
            None => 0,
        };
        LineInfo { insn, file: self.file, text, line: loc.line, column: loc.column.min(1023) }
    }

    /// Appends the lines of a function that starts at instruction `start`.
    pub(super) fn lines(&mut self, code: &FuncCode, start: u32, out: &mut Vec<LineInfo>) {
        let known = |loc: &Loc| loc.line != 0;
        let mut last = code.items.iter().map(|i| i.0.loc).find(known).unwrap_or_default();
        out.push(self.line(last, start));
        for (item, at) in &code.items {
            if known(&item.loc) && item.loc != last {
                last = item.loc;
                let line = self.line(last, start + at);
                match out.last_mut() {
                    Some(first) if first.insn == line.insn => *first = line,
                    _ => out.push(line),
                }
            }
        }
    }
}

/// A name that BTF takes (btf_name_valid_identifier, kernel/bpf/btf.c, Linux 6.18: letters, digits, underscores and dots,
/// not first a digit, less than 128 bytes).
fn identifier(name: &str, id: FuncId) -> String {
    let mut out: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).take(100).collect();
    if out.chars().next().is_none_or(|c| c.is_ascii_digit()) {
        out.insert(0, '_');
    }
    if out == "_" { format!("func_{}", id.0) } else { out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_valid() {
        assert_eq!(identifier("a b:c", FuncId(1)), "a_b_c");
        assert_eq!(identifier("1x", FuncId(1)), "_1x");
        assert_eq!(identifier("", FuncId(3)), "func_3");
    }
}
