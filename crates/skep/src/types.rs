//! Files of types (`--btf FILE`): bytes of BTF enter; types leave. A module's file (`/sys/kernel/btf/MODULE`) holds only what the
//! kernel's own types lack: those of the running kernel are then put below it.

use crate::error::Error;
use skep_bpf::btf::Btf;
use skep_kernel::LiveTarget;
use std::sync::Arc;

/// The types in a file, which messages call `name`.
pub(crate) fn parse(name: &str, bytes: Vec<u8>, target: &LiveTarget) -> Result<Arc<Btf>, Error> {
    let refused = |why: String| Error::Object { file: name.to_owned(), why: vec![why] };
    let alone = Btf::parse(bytes, None).map_err(|e| refused(e.to_string()))?;
    if !alone.lacks_base() {
        return Ok(Arc::new(alone));
    }
    let base = target.vmlinux_types().map_err(|e| {
        refused(format!(
            "these are a module's types, which build on those of the kernel, and these cannot be read: {e}"
        ))
    })?;
    let module = Btf::parse(alone.raw().to_vec(), Some(base)).map_err(|e| refused(e.to_string()))?;
    Ok(Arc::new(module))
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_bpf::btf::{BtfBuilder, MemberDef, NameKind};

    #[test]
    fn a_modules_types_stand_on_the_kernels() {
        let target = LiveTarget::new();
        let Ok(base) = target.vmlinux_types() else {
            eprintln!("skipped: the kernel has no types");
            return;
        };
        let task = base.find(NameKind::Struct, "task_struct").unwrap();
        let mut own = BtfBuilder::on(&base);
        let ptr = own.ptr(task);
        own.struct_("bee", 8, &[MemberDef { name: "queen", ty: ptr, bit_offset: 0, bit_size: 0 }]);
        let types = parse("bee.btf", own.finish(), &target).unwrap();
        let bee = types.find(NameKind::Struct, "bee").unwrap();
        let queen = types.find_member(bee, "queen").unwrap();
        assert_eq!(types.pointee(queen.ty), Some(task));
        let whole = parse("vmlinux", base.raw().to_vec(), &target).unwrap();
        assert!(whole.base().is_none());
        assert!(parse("x", vec![1, 2, 3], &target).is_err());
    }
}
