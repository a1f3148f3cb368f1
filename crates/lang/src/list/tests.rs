//! Listings of a small target, and what it is asked for them.

use std::cell::RefCell;
use std::sync::Arc;

use super::{probes, script};
use crate::diag::Style;
use skep_bpf::btf::{Btf, BtfBuilder, Linkage, MemberDef, TypeId};
use skep_bpf::target::{Answer, Arch, Note, Question, Symbol, Target, TargetError};

struct Fake {
    btf: Arc<Btf>,
    module: Arc<Btf>,
    asked: RefCell<Vec<String>>,
}

fn member(name: &'static str, ty: TypeId, bit_offset: u32) -> MemberDef<'static> {
    MemberDef { name, ty, bit_offset, bit_size: 0 }
}

fn kernel_types() -> Arc<Btf> {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, true);
    let long = b.int("long int", 8, true);
    let byte = b.int("char", 1, true);
    let void_ptr = b.ptr(TypeId(0));
    let text = b.ptr(byte);
    let path = b.struct_("path", 16, &[member("mnt", void_ptr, 0), member("dentry", text, 64)]);
    let path_ptr = b.ptr(path);
    let nothing = b.func_proto(TypeId(0), &[("object", void_ptr)]);
    let read = b.func_proto(long, &[("file", path_ptr), ("buf", text)]);
    let many = [("a", int), ("b", int), ("c", int), ("d", int), ("e", int), ("f", int), ("g", int)];
    let many = b.func_proto(int, &many);
    b.func("vfs_read", read, Linkage::Static);
    b.func("kfree", nothing, Linkage::Static);
    b.func("rcu_work", nothing, Linkage::Static);
    b.func("inlined", nothing, Linkage::Static);
    b.func("seven", many, Linkage::Static);
    let traced = b.func_proto(TypeId(0), &[("__data", void_ptr), ("next", path_ptr), ("cpu", int)]);
    b.func("__probestub_switch", traced, Linkage::Static);
    let traced = b.ptr(traced);
    b.typedef("btf_trace_switch", traced);
    let nameless = b.func_proto(TypeId(0), &[("", void_ptr), ("", path_ptr), ("", int)]);
    let nameless = b.ptr(nameless);
    b.typedef("btf_trace_bare", nameless);
    b.struct_("bpf_iter__task", 16, &[member("meta", void_ptr, 0), member("task", path_ptr, 64)]);
    b.struct_("bpf_iter__task__safe_trusted", 8, &[member("task", path_ptr, 0)]);
    let iter = b.func_proto(int, &[("meta", void_ptr), ("task", path_ptr)]);
    b.func("bpf_iter_task", iter, Linkage::Static);
    b.enum_("color", 4, false, &[("RED", 1)]);
    Arc::new(Btf::parse(b.finish(), None).unwrap())
}

impl Fake {
    fn new() -> Fake {
        let btf = kernel_types();
        let mut b = BtfBuilder::new();
        b.struct_("path", 0, &[]);
        let proto = b.func_proto(TypeId(0), &[]);
        b.func("nf_hook", proto, Linkage::Static);
        let module = Arc::new(Btf::parse(b.finish(), None).unwrap());
        Fake { btf, module, asked: RefCell::default() }
    }

    fn asked(&self, what: &str) -> bool {
        self.asked.borrow().iter().any(|q| q.starts_with(what))
    }
}

fn names(list: &[&str]) -> Answer {
    Answer::Names(Arc::new(list.iter().map(|n| (*n).to_owned()).collect()))
}

const FORMAT: &str = "name: sys_enter_openat\nID: 7\nformat:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;

\tfield:int dfd;\toffset:16;\tsize:8;\tsigned:0;
\tfield:__data_loc char[] comm;\toffset:24;\tsize:8;\tsigned:0;

print fmt: \"x\"
";

impl Target for Fake {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        self.asked.borrow_mut().push(format!("{question:?}"));
        let missing = |what: &str| Err(TargetError::NotFound(what.to_owned()));
        Ok(match question {
            Question::Btf(name) if name.is_empty() => Answer::Btf(self.btf.clone()),
            Question::Btf(name) if name == "nf" => Answer::Btf(self.module.clone()),
            Question::Modules => names(&["nf"]),
            Question::Tracepoints => {
                names(&["sched:switch", "syscalls:sys_enter_openat", "syscalls:sys_exit_openat"])
            }
            Question::TracepointFormat { name, .. } if name == "sys_enter_openat" => {
                Answer::Text(FORMAT.into())
            }
            Question::KernelFunctions => names(&[
                "kfree",
                "nf:nf_hook",
                "rcu_work",
                "seven",
                "vfs_read",
                "vfs_read.part.0",
                "vfs_sleep",
            ]),
            Question::BinaryPath(name) if name == "bash" || name == "/bin/bash" => {
                Answer::Text("/usr/bin/bash".into())
            }
            Question::Binaries { name, .. } => match name.as_str() {
                "bash" => names(&["/usr/bin/bash"]),
                "/bin/bash" | "/bin/b*" => names(&["/bin/bash"]),
                _ => names(&[]),
            },
            Question::MappedBinaries(pid) => names(match pid {
                Some(_) => &["/proc/7/root/bin/bash"],
                None => &["/bin/bash", "/bin/zsh"],
            }),
            Question::Arch => Answer::Arch(Arch::X86_64),
            Question::BinaryNotes(_) => {
                let note = |provider: &str, name: &str, offset| Note {
                    provider: provider.to_owned(),
                    name: name.to_owned(),
                    offset,
                    semaphore: 0,
                    args: "8@%rdi -4@$7 1@%xmm0".to_owned(),
                };
                Answer::Notes(Arc::new(vec![
                    note("sh", "eval", 1),
                    note("sh", "eval", 2),
                    note("rl", "key", 3),
                ]))
            }
            Question::BinarySymbols(_) => {
                let symbol = |name: &str| Symbol { name: name.to_owned(), address: 0, offset: 0, size: 0 };
                Answer::Symbols(Arc::new(vec![symbol("main"), symbol("a\x1b[31mb"), symbol("main")]))
            }
            other => return missing(&format!("{other:?}")),
        })
    }
}

#[track_caller]
fn check(pattern: &str, verbose: bool, expected: &[&str]) {
    assert_eq!(probes(pattern, verbose, None, &Fake::new()).unwrap(), expected, "{pattern}");
}

#[test]
fn tracepoints_need_no_symbols_and_no_types() {
    let fake = Fake::new();
    let lines = probes("tracepoint:syscalls:*open*", false, None, &fake).unwrap();
    assert_eq!(lines, ["tracepoint:syscalls:sys_enter_openat", "tracepoint:syscalls:sys_exit_openat"]);
    assert!(fake.asked("Tracepoints"));
    assert!(!fake.asked("KernelFunctions") && !fake.asked("Btf"), "{:?}", fake.asked);
}

#[test]
fn arguments_of_tracepoints_stand_as_the_kernel_writes_them() {
    let lines = ["tracepoint:syscalls:sys_enter_openat", "    int dfd", "    __data_loc char[] comm"];
    check("t:syscalls:sys_enter_openat", true, &lines);
    check("tracepoint:*enter_openat", true, &lines);
}

#[test]
fn functions_with_their_arguments() {
    check("kprobe:vfs*", false, &["kprobe:vfs_read", "kprobe:vfs_sleep"]);
    check("k:vmlinux:vfs_r*", false, &["kprobe:vmlinux:vfs_read"]);
    check("k:nf_hook", false, &["kprobe:nf_hook"]);
    check("k:nf:*", true, &["kprobe:nf:nf_hook"]);
    check("k:vfs_read", true, &["kprobe:vfs_read", "    struct path * arg0", "    char * arg1"]);
    check("kr:vfs_read", true, &["kretprobe:vfs_read", "    long int retval"]);
    check("kr:kfree", true, &["kretprobe:kfree", "    void"]);
    check("fentry:vfs_read", true, &["fentry:vmlinux:vfs_read", "    struct path * file", "    char * buf"]);
    check("fexit:kfree", true, &["fexit:vmlinux:kfree", "    void * object"]);
    let read = ["fexit:vmlinux:vfs_read", "    struct path * file", "    char * buf", "    long int retval"];
    check("fr:vfs_read", true, &read);
}

#[test]
fn functions_that_cannot_be_traced_are_left_out() {
    // Unsafe, without types, not among the traceable ones, with more arguments than registers.
    check("kprobe:rcu*", false, &[]);
    check("fentry:*", false, &["fentry:nf:nf_hook", "fentry:vmlinux:kfree", "fentry:vmlinux:vfs_read"]);
}

#[test]
fn raw_tracepoints_and_iterators() {
    let switch = ["rawtracepoint:vmlinux:switch", "    struct path * next", "    int cpu"];
    check("rt:switch", true, &switch);
    check("rawtracepoint:vmlinux:s*", true, &switch);
    check("rt:bare", true, &["rawtracepoint:vmlinux:bare", "    struct path * arg0", "    int arg1"]);
    check("iter:*", true, &["iter:task", "    struct path * task"]);
}

#[test]
fn binaries_as_written_and_without_control_characters() {
    check("u:/bin/bash:m*", false, &["uprobe:/bin/bash:main"]);
    check("uretprobe:bash:m*", false, &["uretprobe:/usr/bin/bash:main"]);
    check("uprobe:/bin/bash", false, &["uprobe:/bin/bash:a\\x1b[31mb", "uprobe:/bin/bash:main"]);
    let searched = probes("*:/bin/bash:main", false, None, &Fake::new()).unwrap();
    assert_eq!(searched, ["uprobe:/bin/bash:main"]);
    assert_eq!(probes("*:/bin/bash:rl:key", false, None, &Fake::new()).unwrap(), ["usdt:/bin/bash:rl:key"]);
    let missing = probes("uprobe:/bin/none:main", false, None, &Fake::new()).unwrap_err();
    assert!(missing.list[0].message.contains("there is no"), "{missing:?}");
    check("uprobe:*:main", false, &["uprobe:/bin/bash:main", "uprobe:/bin/zsh:main"]);
}

#[test]
fn usdt_probes() {
    let arguments = ["    uint64 arg0", "    int32 arg1", "    ? arg2"];
    let key = ["usdt:/bin/bash:rl:key"].into_iter().chain(arguments).collect::<Vec<_>>();
    check("usdt:/bin/bash:rl:*", true, &key);
    check("usdt:/bin/b*:*:key", false, &["usdt:/bin/bash:rl:key"]);
    check("usdt:/bin/bash:key", false, &["usdt:/bin/bash:rl:key"]);
    check("usdt:/bin/bash", false, &["usdt:/bin/bash:rl:key", "usdt:/bin/bash:sh:eval"]);
    let of_process = probes("usdt:*", false, Some(7), &Fake::new()).unwrap();
    assert_eq!(of_process, ["usdt:/proc/7/root/bin/bash:rl:key", "usdt:/proc/7/root/bin/bash:sh:eval"]);
    let all = probes("*key*", false, Some(7), &Fake::new()).unwrap();
    assert_eq!(all, ["usdt:/proc/7/root/bin/bash:rl:key"]);
    let whole = probes("", false, Some(7), &Fake::new()).unwrap();
    assert!(whole.contains(&"uprobe:/proc/7/root/bin/bash:main".to_owned()), "{whole:?}");
    assert!(probes("usdt:/bin/none:*", false, None, &Fake::new()).is_err());
}

#[test]
fn timers_and_counters() {
    check("interval:*", false, &["interval:hz:", "interval:ms:", "interval:s:", "interval:us:"]);
    check("s:cpu*", false, &["software:cpu-clock:", "software:cpu-migrations:", "software:cpu:"]);
    assert_eq!(probes("hardware", false, None, &Fake::new()).unwrap().len(), 12);
    check("BEGIN", false, &["begin"]);
    check("end:", true, &["end"]);
    check("self:*", false, &["self:signal:SIGUSR1"]);
}

#[test]
fn searches_among_all_kinds() {
    check(
        "*sleep*,*:*openat",
        false,
        &["kprobe:vfs_sleep", "tracepoint:syscalls:sys_enter_openat", "tracepoint:syscalls:sys_exit_openat"],
    );
    let all = probes("", false, None, &Fake::new()).unwrap();
    let kinds: Vec<&str> = all.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert!(kinds.is_sorted(), "{kinds:?}");
    for kind in ["fentry", "hardware", "iter", "kprobe", "rawtracepoint", "software", "tracepoint"] {
        assert!(kinds.contains(&kind), "{kind}");
    }
}

#[test]
fn types_by_name_or_with_their_definitions() {
    check("struct pa*", false, &["struct path"]);
    check("enum  color", true, &["vmlinux: enum color {\n\tRED = 1,\n};\n"]);
    let path = "vmlinux: struct path {\n\tvoid *mnt;\n\tchar *dentry;\n};\n";
    check("struct path", true, &[path, "nf: struct path {};\n"]);
    check("struct nothing", true, &[]);
}

#[test]
fn a_script_lists_its_attach_points() {
    let text =
        "BEGIN { } kprobe:vfs_r* { } interval:s:1 { } software:faults:10 { } tracepoint:syscalls:*enter* { }";
    let lines = script(text, false, None, &Fake::new()).unwrap();
    let expected =
        ["kprobe:vfs_read", "interval:s:", "software:faults:", "tracepoint:syscalls:sys_enter_openat"];
    assert_eq!(lines, expected);
    let wrong = script("kprobe:x { ", false, None, &Fake::new()).unwrap_err();
    assert!(wrong.has_errors());
}

#[test]
fn unknown_kinds_have_near_names() {
    let pattern = "t:sched:*,tracepont:x";
    let diags = probes(pattern, false, None, &Fake::new()).unwrap_err();
    let shown = diags.render("pattern", pattern, Style::Snippets { color: false });
    for part in ["`tracepont` is not a kind of probe", "^^^^^^^^^", "did you mean `tracepoint`", "1:11"] {
        assert!(shown.contains(part), "{part} in:\n{shown}");
    }
}

/// Answers nothing.
struct Mute;

impl Target for Mute {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        Err(TargetError::Os { operation: format!("{question:?}"), errno: 1 })
    }
}

#[test]
fn a_target_that_cannot_be_asked() {
    let diags = probes("tracepoint:*", false, None, &Mute).unwrap_err();
    assert!(diags.list[0].message.contains("cannot list tracepoint probes"), "{diags:?}");
    assert_eq!(diags.list[0].hints, ["this needs root"]);
    assert!(probes("struct x", false, None, &Mute).is_err());
    // Among all kinds, those that can be listed are.
    let lines = probes("*:*cpu*", false, None, &Mute).unwrap();
    assert!(lines.contains(&"software:cpu-clock:".to_owned()), "{lines:?}");
}
