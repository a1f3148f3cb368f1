//! Source lines of the kernel: an address enters; the file, the line and the functions inlined there leave, where an
//! image of the running kernel with debug information is installed.

use std::path::PathBuf;

use blazesym::MaybeDefault;
use blazesym::symbolize::source::{Kernel, Source};
use blazesym::symbolize::{Input, Symbolizer};
use skep_bpf::backend::Symbol;
use skep_bpf::object::SymbolSpec;

use super::user::into_symbol;
use crate::machine;

/// Where distributions and builds put the image of the kernel of a release.
const IMAGES: [&str; 5] = [
    "/usr/lib/debug/boot/vmlinux-",
    "/usr/lib/debug/lib/modules/{}/vmlinux",
    "/lib/modules/{}/build/vmlinux",
    "/lib/modules/{}/vmlinux",
    "/boot/vmlinux-",
];

/// The image, opened when it is first needed.
pub(crate) struct KernelLines {
    wanted: bool,
    image: Option<Option<(Symbolizer, Source<'static>)>>,
}

impl std::fmt::Debug for KernelLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KernelLines").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl KernelLines {
    /// Nothing is looked for before an address is.
    pub(crate) fn new(spec: SymbolSpec) -> KernelLines {
        KernelLines { wanted: spec.debug_info, image: None }
    }

    /// Source and inlined functions of an address; `None` without an image, or where that does not know it.
    pub(crate) fn lookup(&mut self, address: u64) -> Option<Symbol> {
        if !self.wanted {
            return None;
        }
        let (symbolizer, source) = self.image.get_or_insert_with(open).as_ref()?;
        let answer = symbolizer.symbolize_single(source, Input::AbsAddr(address)).ok()?;
        into_symbol(&answer)
    }
}

fn open() -> Option<(Symbolizer, Source<'static>)> {
    let release = machine::release();
    let image = IMAGES.iter().map(|place| match place.split_once("{}") {
        Some((before, behind)) => PathBuf::from(format!("{before}{release}{behind}")),
        None => PathBuf::from(format!("{place}{release}")),
    });
    let image = image.into_iter().find(|path| path.is_file())?;
    let kernel = Kernel { vmlinux: MaybeDefault::Some(image), debug_syms: true, ..Kernel::default() };
    Some((Symbolizer::builder().build(), Source::Kernel(kernel)))
}
