//! C in a script: preprocessor lines and declarations of structs, unions, enums and types, in the script and in the headers
//! that it includes. Raw text and a target enter; types as BTF on top of the kernel's, enum constants and macros leave.
//! Mistakes are reported where the script has them; a system's own headers are read as far as they are understood.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ast::{Script, Span};
use crate::diag::{Diagnostic, Diagnostics};
use crate::options::Options;
use skep_bpf::btf::{Btf, NameKind, TypeId};
use skep_bpf::target::{Arch, Target, TargetExt};

mod constant;
pub mod constants;
mod declare;
mod files;
mod layout;
mod macros;
mod preprocess;
#[cfg(test)]
mod properties;
mod specifiers;
mod table;
#[cfg(test)]
mod tests;
mod token;
mod uses;
mod value;

use constant::Cursor;
use declare::Declarations;
use files::{FileInfo, Files};
use preprocess::Preprocessor;
use table::Table;
use token::Token;

pub(crate) use uses::expand;

/// What a compiler for these machines defines by itself.
const PREDEFINED: &[(&str, &str)] = &[
    ("__STDC__", "1"),
    ("__STDC_VERSION__", "201710L"),
    ("__STDC_HOSTED__", "1"),
    ("__linux__", "1"),
    ("__linux", "1"),
    ("__unix__", "1"),
    ("__gnu_linux__", "1"),
    ("__ELF__", "1"),
    ("__LP64__", "1"),
    ("_LP64", "1"),
    ("__GNUC__", "12"),
    ("__GNUC_MINOR__", "2"),
    ("__GNUC_PATCHLEVEL__", "0"),
    ("__CHAR_BIT__", "8"),
    ("__SCHAR_MAX__", "127"),
    ("__SHRT_MAX__", "32767"),
    ("__INT_MAX__", "2147483647"),
    ("__LONG_MAX__", "9223372036854775807L"),
    ("__LONG_LONG_MAX__", "9223372036854775807LL"),
    ("__SIZEOF_SHORT__", "2"),
    ("__SIZEOF_INT__", "4"),
    ("__SIZEOF_LONG__", "8"),
    ("__SIZEOF_LONG_LONG__", "8"),
    ("__SIZEOF_POINTER__", "8"),
    ("__SIZEOF_SIZE_T__", "8"),
    ("__SIZEOF_INT128__", "16"),
    ("__SIZE_TYPE__", "long unsigned int"),
    ("__PTRDIFF_TYPE__", "long int"),
    ("__WCHAR_TYPE__", "int"),
    ("__WINT_TYPE__", "unsigned int"),
    ("__INT8_TYPE__", "signed char"),
    ("__INT16_TYPE__", "short int"),
    ("__INT32_TYPE__", "int"),
    ("__INT64_TYPE__", "long int"),
    ("__UINT8_TYPE__", "unsigned char"),
    ("__UINT16_TYPE__", "short unsigned int"),
    ("__UINT32_TYPE__", "unsigned int"),
    ("__UINT64_TYPE__", "long unsigned int"),
    ("__INTPTR_TYPE__", "long int"),
    ("__UINTPTR_TYPE__", "long unsigned int"),
    ("__INTMAX_TYPE__", "long int"),
    ("__UINTMAX_TYPE__", "long unsigned int"),
    ("__ORDER_LITTLE_ENDIAN__", "1234"),
    ("__ORDER_BIG_ENDIAN__", "4321"),
    ("__ORDER_PDP_ENDIAN__", "3412"),
    ("__BYTE_ORDER__", "__ORDER_LITTLE_ENDIAN__"),
    ("__USER_LABEL_PREFIX__", ""),
    ("__REGISTER_PREFIX__", ""),
];

/// What the preamble declares.
#[derive(Clone, Debug, Default)]
pub struct Preamble {
    macros: macros::Macros,
    /// Types, on top of the kernel's.
    btf: Option<Arc<Btf>>,
    /// Named types.
    names: HashMap<(NameKind, String), TypeId>,
    /// Enum constants.
    constants: HashMap<String, (i64, TypeId)>,
    arch: Option<Arch>,
}

/// Reads the preamble of a script; what cannot be read is reported.
pub fn preamble(
    script: &Script,
    options: &Options,
    target: &dyn Target,
    diags: &mut Diagnostics,
) -> Preamble {
    if script.c_decls.is_empty() && options.includes.is_empty() {
        return Preamble { arch: target.arch().ok(), ..Preamble::default() };
    }
    let base = target.vmlinux().ok();
    let mut files = Files::new(target, options, &script.path);
    files.imported(&script.files);
    let mut preprocessor = Preprocessor::new(files, PREDEFINED);
    let arch = target.arch().ok();
    preprocessor.macros.predefine(
        match arch {
            Some(Arch::Aarch64) => "__aarch64__",
            _ => "__x86_64__",
        },
        "1",
    );
    if base.is_some() {
        preprocessor.macros.predefine("BPFTRACE_HAVE_BTF", "1");
    }
    for name in &options.includes {
        preprocessor.include_first(name);
    }
    for decl in &script.c_decls {
        preprocessor.own(&decl.text, decl.span);
    }
    preprocessor.close(script.c_decls.last().map_or_else(Span::default, |d| d.span));
    let tokens = std::mem::take(&mut preprocessor.out);
    let mut found = preprocessor.finish();
    let table = declarations(tokens, Table::new(base), &preprocessor, arch, &mut found);
    found.list.into_iter().for_each(|d| diags.push(d));
    let constants = table.constants.clone();
    let (btf, names) = table.finish().map_or((None, HashMap::new()), |(btf, names)| (Some(btf), names));
    Preamble { macros: preprocessor.macros, btf, names, constants, arch }
}

/// Reads the declarations that the preprocessor left.
fn declarations(
    tokens: Vec<Token>,
    table: Table,
    preprocessor: &Preprocessor<'_>,
    arch: Option<Arch>,
    diags: &mut Diagnostics,
) -> Table {
    let mut origin = Origin { preprocessor, diags };
    let fallback = |name: &str| constants::find(name, arch);
    let mut declarations = Declarations {
        cursor: Cursor::new(tokens),
        table,
        origin: &mut origin,
        fallback: &fallback,
        packs: Vec::new(),
        depth: 0,
    };
    declarations.all();
    declarations.table
}

/// Where declarations come from, and where their mistakes go.
struct Origin<'p, 'a, 'd> {
    preprocessor: &'p Preprocessor<'a>,
    diags: &'d mut Diagnostics,
}

impl Origin<'_, '_, '_> {
    fn file(&self, token: &Token) -> Option<&FileInfo> {
        self.preprocessor.files.get(token.place.file)
    }
}

impl declare::Origin for Origin<'_, '_, '_> {
    fn is_kernel(&self, token: &Token) -> bool {
        self.file(token).is_some_and(FileInfo::is_kernel)
    }

    fn is_script(&self, token: &Token) -> bool {
        !self.file(token).is_some_and(FileInfo::is_system)
    }

    fn report(&mut self, token: Option<&Token>, message: &str) {
        if token.is_some_and(|t| self.file(t).is_some_and(FileInfo::is_system)) {
            return;
        }
        let (span, place) = token.map_or_else(Default::default, |t| self.preprocessor.locate(t));
        self.diags.push(Diagnostic::error("c-declaration", span, format!("{place}{message}")));
    }
}

impl Preamble {
    /// The types that the preamble declares, on top of the kernel's; `None` where it declares none.
    pub fn btf(&self) -> Option<&Arc<Btf>> {
        self.btf.as_ref()
    }

    /// A type that the preamble declares, by name.
    pub fn type_of(&self, kind: NameKind, name: &str) -> Option<TypeId> {
        // The map's key is an owned pair.
        self.names.get(&(kind, name.to_owned())).copied()
    }

    /// An enum constant that the preamble declares: its value and its enum's type.
    pub fn constant(&self, name: &str) -> Option<(i64, TypeId)> {
        self.constants.get(name).copied()
    }

    /// The value of a name in the table of constants that is shipped.
    pub fn shipped(&self, name: &str) -> Option<i64> {
        constants::find(name, self.arch)
    }
}
