//! Constants of the kernel's and the C library's headers, which are macros there and so not in the kernel's types: errors,
//! signals, flags and kinds of sockets, files and mappings, system call numbers and the like, with the values of x86-64
//! and aarch64. The table is made by `cargo xtask constants`; names enter, values leave.

use std::sync::OnceLock;

use skep_bpf::target::Arch;

/// Lines `NAME VALUE`, or `NAME X86-64 AARCH64` with `-` where there is none, sorted by name.
static TABLE: &str = include_str!("constants.txt");

/// Macros that take arguments.
static MACROS: &[(&str, &str)] = &[
    ("MAJOR", "MAJOR(dev) ((uint32)((dev) >> 20))"),
    ("MINOR", "MINOR(dev) ((uint32)((dev) & 0xfffff))"),
    ("MKDEV", "MKDEV(ma, mi) (((ma) << 20) | (mi))"),
    ("IS_ERR_VALUE", "IS_ERR_VALUE(x) ((uint64)(x) >= (uint64)-4095)"),
    ("IS_ERR", "IS_ERR(ptr) ((uint64)(ptr) >= (uint64)-4095)"),
    ("PTR_ERR", "PTR_ERR(ptr) ((int64)(ptr))"),
    ("S_ISLNK", "S_ISLNK(m) (((m) & 0170000) == 0120000)"),
    ("S_ISREG", "S_ISREG(m) (((m) & 0170000) == 0100000)"),
    ("S_ISDIR", "S_ISDIR(m) (((m) & 0170000) == 0040000)"),
    ("S_ISCHR", "S_ISCHR(m) (((m) & 0170000) == 0020000)"),
    ("S_ISBLK", "S_ISBLK(m) (((m) & 0170000) == 0060000)"),
    ("S_ISFIFO", "S_ISFIFO(m) (((m) & 0170000) == 0010000)"),
    ("S_ISSOCK", "S_ISSOCK(m) (((m) & 0170000) == 0140000)"),
    ("WEXITSTATUS", "WEXITSTATUS(s) (((s) & 0xff00) >> 8)"),
    ("WTERMSIG", "WTERMSIG(s) ((s) & 0x7f)"),
    ("WIFEXITED", "WIFEXITED(s) (((s) & 0x7f) == 0)"),
    ("KERNEL_VERSION", "KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))"),
    ("BIT", "BIT(n) ((uint64)1 << (n))"),
];

/// The value of a constant on an architecture; x86-64 where that is not known.
pub fn find(name: &str, arch: Option<Arch>) -> Option<i64> {
    static LINES: OnceLock<Vec<&'static str>> = OnceLock::new();
    let lines = LINES.get_or_init(|| TABLE.lines().filter(|l| !l.starts_with('#')).collect());
    // System calls have two names.
    let by_number = name.strip_prefix("SYS_").map(|call| format!("__NR_{call}"));
    let name = by_number.as_deref().unwrap_or(name);
    let at = lines.binary_search_by_key(&name, |line| line.split(' ').next().unwrap_or("")).ok()?;
    let mut values = lines.get(at)?.split(' ').skip(1);
    let (first, second) = (values.next()?, values.next());
    let value = match (arch, second) {
        (Some(Arch::Aarch64), Some(second)) => second,
        _ => first,
    };
    value.parse().ok()
}

/// Constants whose names begin with `prefix`, on an architecture: the rest of each name, and the value.
pub fn with_prefix(prefix: &'static str, arch: Option<Arch>) -> impl Iterator<Item = (&'static str, i64)> {
    let names = TABLE.lines().filter_map(|line| line.split(' ').next());
    names.filter_map(move |name| Some((name.strip_prefix(prefix)?, find(name, arch)?)))
}

/// The definition of a shipped macro that takes arguments, as it stands behind `#define`.
pub fn macro_text(name: &str) -> Option<&'static str> {
    MACROS.iter().find(|(n, _)| *n == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_has_numbers() {
        let lines: Vec<&str> = TABLE.lines().filter(|l| !l.starts_with('#')).collect();
        let name = |line: &&str| line.split(' ').next().unwrap_or("").to_owned();
        for pair in lines.windows(2) {
            assert!(name(&pair[0]) < name(&pair[1]), "{pair:?}");
        }
        for line in lines {
            let values: Vec<&str> = line.split(' ').skip(1).collect();
            assert!((1..=2).contains(&values.len()), "{line}");
            assert!(values.iter().all(|v| *v == "-" || v.parse::<i64>().is_ok()), "{line}");
        }
    }

    #[test]
    fn values_of_both_machines() {
        let both = |name| (find(name, Some(Arch::X86_64)), find(name, Some(Arch::Aarch64)));
        assert_eq!(both("ENOENT"), (Some(2), Some(2)));
        assert_eq!(both("SIGKILL"), (Some(9), Some(9)));
        assert_eq!(both("AF_INET6"), (Some(10), Some(10)));
        assert_eq!(both("SOCK_STREAM"), (Some(1), Some(1)));
        assert_eq!(both("IPPROTO_TCP"), (Some(6), Some(6)));
        assert_eq!(both("__NR_read"), (Some(0), Some(63)));
        assert_eq!(both("SYS_openat"), (Some(257), Some(56)));
        assert_eq!(both("__NR_open"), (Some(2), None));
        assert_eq!(both("O_DIRECTORY"), (Some(0o200_000), Some(0o40_000)));
        assert_eq!(both("CAP_SYS_ADMIN"), (Some(21), Some(21)));
        assert_eq!(both("PAGE_SHIFT"), (Some(12), Some(12)));
        assert_eq!(both("NO_SUCH_CONSTANT"), (None, None));
    }

    #[test]
    fn macros_are_definitions() {
        for (name, text) in MACROS {
            assert!(text.starts_with(&format!("{name}(")));
        }
    }
}
