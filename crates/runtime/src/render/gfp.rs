//! Flags of memory allocations (`gfp_t`) as names, in the order and by the groups of the kernel's own `%pGg`
//! (`__def_gfpflag_names`, include/trace/events/mmflags.h; bits: include/linux/gfp_types.h, Linux 6.18).

const HIGHMEM: u64 = 1 << 1;
const MOVABLE: u64 = 1 << 3;
const HIGH: u64 = 1 << 5;
const IO: u64 = 1 << 6;
const FS: u64 = 1 << 7;
const DIRECT: u64 = 1 << 10;
const KSWAPD: u64 = 1 << 11;
const NOWARN: u64 = 1 << 13;
const COMP: u64 = 1 << 18;
const NOMEMALLOC: u64 = 1 << 19;
const HARDWALL: u64 = 1 << 20;
const ACCOUNT: u64 = 1 << 22;
const SKIP_KASAN: u64 = 1 << 25;

const RECLAIM: u64 = DIRECT | KSWAPD;
const KERNEL: u64 = RECLAIM | IO | FS;
const USER: u64 = KERNEL | HARDWALL;
const HIGHUSER: u64 = USER | HIGHMEM;
const HIGHUSER_MOVABLE: u64 = HIGHUSER | MOVABLE | SKIP_KASAN;
const TRANSHUGE_LIGHT: u64 = (HIGHUSER_MOVABLE | COMP | NOMEMALLOC | NOWARN) & !RECLAIM;

/// Groups first, the larger before those that they contain.
const NAMES: &[(u64, &str)] = &[
    (TRANSHUGE_LIGHT | DIRECT, "GFP_TRANSHUGE"),
    (TRANSHUGE_LIGHT, "GFP_TRANSHUGE_LIGHT"),
    (HIGHUSER_MOVABLE, "GFP_HIGHUSER_MOVABLE"),
    (HIGHUSER, "GFP_HIGHUSER"),
    (USER, "GFP_USER"),
    (KERNEL | ACCOUNT, "GFP_KERNEL_ACCOUNT"),
    (KERNEL, "GFP_KERNEL"),
    (RECLAIM | IO, "GFP_NOFS"),
    (HIGH | KSWAPD, "GFP_ATOMIC"),
    (RECLAIM, "GFP_NOIO"),
    (KSWAPD | NOWARN, "GFP_NOWAIT"),
    (1, "GFP_DMA"),
    (HIGHMEM, "__GFP_HIGHMEM"),
    (1 << 2, "GFP_DMA32"),
    (HIGH, "__GFP_HIGH"),
    (IO, "__GFP_IO"),
    (FS, "__GFP_FS"),
    (1 << 8, "__GFP_ZERO"),
    (DIRECT, "__GFP_DIRECT_RECLAIM"),
    (KSWAPD, "__GFP_KSWAPD_RECLAIM"),
    (1 << 12, "__GFP_WRITE"),
    (NOWARN, "__GFP_NOWARN"),
    (1 << 14, "__GFP_RETRY_MAYFAIL"),
    (1 << 15, "__GFP_NOFAIL"),
    (1 << 16, "__GFP_NORETRY"),
    (1 << 17, "__GFP_MEMALLOC"),
    (COMP, "__GFP_COMP"),
    (NOMEMALLOC, "__GFP_NOMEMALLOC"),
    (HARDWALL, "__GFP_HARDWALL"),
    (1 << 21, "__GFP_THISNODE"),
    (ACCOUNT, "__GFP_ACCOUNT"),
    (1 << 23, "__GFP_ZEROTAGS"),
    (1 << 24, "__GFP_SKIP_ZERO"),
    (SKIP_KASAN, "__GFP_SKIP_KASAN"),
    (1 << 26, "__GFP_NO_OBJ_EXT"),
];

/// The flags with `|` between; bits without a name in hexadecimal, `0` for none.
pub(super) fn flags(bits: u64) -> String {
    let mut left = bits;
    let mut parts = Vec::new();
    for (mask, name) in NAMES {
        if left & mask == *mask {
            parts.push((*name).to_owned());
            left &= !mask;
        }
    }
    match (left, parts.is_empty()) {
        (0, true) => parts.push("0".to_owned()),
        (0, false) => {}
        _ => parts.push(format!("{left:#x}")),
    }
    parts.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_before_single_flags() {
        for (bits, want) in [
            (0, "0"),
            (1, "GFP_DMA"),
            (0xcc0, "GFP_KERNEL"),
            (0xdc0, "GFP_KERNEL|__GFP_ZERO"),
            (0x40_0cc0, "GFP_KERNEL_ACCOUNT"),
            (0x820, "GFP_ATOMIC"),
            (0x8000_0000, "0x80000000"),
            (0x8000_0001, "GFP_DMA|0x80000000"),
        ] {
            assert_eq!(flags(bits), want);
        }
    }
}
