//! A small machine for tests and fuzzing: a few types, tracepoints, functions and a binary. It answers from tables, so that
//! a script means the same everywhere.

mod binary;

use std::sync::Arc;

use skep_bpf::btf::{Btf, BtfBuilder, Linkage, MemberDef, TypeId};
use skep_bpf::target::{Answer, Arch, Interface, Note, Question, Symbol, Target, TargetError};
use skep_bpf::version::KernelVersion;

/// An old kernel: whatever is newer has to be asked for.
pub const OLD: KernelVersion = KernelVersion::new(5, 12);
/// A new one.
pub const NEW: KernelVersion = KernelVersion::new(6, 18);

/// The machine that scripts are compiled for.
pub struct Fake {
    version: KernelVersion,
    btf: Arc<Btf>,
    /// Features that it does not have, by the names of their variants.
    pub lacks: Vec<String>,
}

fn member(name: &'static str, ty: TypeId, bit_offset: u32) -> MemberDef<'static> {
    MemberDef { name, ty, bit_offset, bit_size: 0 }
}

fn types() -> Vec<u8> {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4, true);
    let uint = b.int("unsigned int", 4, false);
    let ulong = b.int("unsigned long", 8, false);
    let long = b.int("long int", 8, true);
    let char_ = b.int("char", 1, true);
    let bool_ = b.boolean("_Bool");
    b.typedef("pid_t", int);
    b.typedef("u32", uint);
    let void_ptr = b.ptr(TypeId(0));
    let comm = b.array(char_, 16);
    let numbers = b.array(uint, 4);
    let mm = b.struct_("mm_struct", 16, &[member("mmap_base", ulong, 0), member("users", int, 64)]);
    let mm_ptr = b.ptr(mm);
    let info = b.struct_("thread_info", 16, &[member("flags", ulong, 0), member("status", uint, 64)]);
    // Behind the pointer and the anonymous struct.
    let task = TypeId(b.next_id().0 + 2);
    let task_ptr = b.ptr(task);
    let inner = b.struct_("", 8, &[member("exit_code", int, 0), member("exit_signal", int, 32)]);
    let made = b.struct_(
        "task_struct",
        128,
        &[
            member("state", uint, 0),
            member("pid", int, 32),
            member("tgid", int, 64),
            MemberDef { name: "sched_reset", ty: uint, bit_offset: 96, bit_size: 1 },
            MemberDef { name: "in_execve", ty: uint, bit_offset: 97, bit_size: 3 },
            member("comm", comm, 128),
            member("real_parent", task_ptr, 256),
            member("mm", mm_ptr, 320),
            member("numbers", numbers, 384),
            member("", inner, 512),
            member("stack", void_ptr, 576),
            member("group_leader", task_ptr, 640),
            member("alive", bool_, 704),
            member("jit", ulong, 768),
            member("thread_info", info, 832),
        ],
    );
    debug_assert_eq!(made, task);
    b.enum_("color", 4, false, &[("RED", 1), ("GREEN", 2)]);
    b.enum_("", 4, false, &[("TCP_ESTABLISHED", 1)]);
    let proto = b.func_proto(TypeId(0), &[("__data", void_ptr), ("regs", task_ptr), ("id", long)]);
    let proto = b.ptr(proto);
    b.typedef("btf_trace_sys_enter", proto);
    b.typedef("btf_trace_sys_exit", proto);
    let proto = b.func_proto(TypeId(0), &[("__data", void_ptr), ("preempt", bool_), ("prev", task_ptr)]);
    let proto = b.ptr(proto);
    b.typedef("btf_trace_sched_switch", proto);
    let proto = b.func_proto(int, &[("task", task_ptr), ("count", ulong)]);
    b.func("do_thing", proto, Linkage::Static);
    b.struct_("bpf_iter__task", 16, &[member("meta", void_ptr, 0), member("task", task_ptr, 64)]);
    b.struct_(
        "pt_regs",
        168,
        &[member("r15", ulong, 0), member("di", ulong, 896), member("orig_ax", ulong, 960)],
    );
    let packet = b.struct_("sk_buff", 8, &[member("len", uint, 0)]);
    let packet = b.ptr(packet);
    let proto = b.func_proto(TypeId(0), &[("__data", void_ptr), ("skb", packet)]);
    let proto = b.ptr(proto);
    b.typedef("btf_trace_consume_skb", proto);
    b.finish()
}

const COMMON: &str = "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;
";

/// (category, name, fields)
const TRACEPOINTS: &[(&str, &str, &str)] = &[
    (
        "raw_syscalls",
        "sys_enter",
        "\tfield:long id;\toffset:8;\tsize:8;\tsigned:1;\n\tfield:unsigned long args[6];\toffset:16;\tsize:48;\tsigned:0;\n",
    ),
    (
        "raw_syscalls",
        "sys_exit",
        "\tfield:long id;\toffset:8;\tsize:8;\tsigned:1;\n\tfield:long ret;\toffset:16;\tsize:8;\tsigned:1;\n",
    ),
    (
        "sched",
        "sched_process_exec",
        "\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:0;\n\tfield:pid_t pid;\toffset:12;\tsize:4;\tsigned:1;\n",
    ),
    (
        "sched",
        "sched_process_fork",
        "\tfield:char parent_comm[16];\toffset:8;\tsize:16;\tsigned:0;\n\tfield:pid_t child_pid;\toffset:44;\tsize:4;\tsigned:1;\n",
    ),
    (
        "sock",
        "inet_sock_set_state",
        "\tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;\n\tfield:int newstate;\toffset:20;\tsize:4;\tsigned:1;\n\tfield:__u16 sport;\toffset:24;\tsize:2;\tsigned:0;\n\tfield:__u8 saddr[4];\toffset:32;\tsize:4;\tsigned:0;\n",
    ),
    (
        "syscalls",
        "sys_enter_execve",
        "\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;\n\tfield:const char * filename;\toffset:16;\tsize:8;\tsigned:0;\n\tfield:const char *const * argv;\toffset:24;\tsize:8;\tsigned:0;\n",
    ),
    (
        "syscalls",
        "sys_enter_openat",
        "\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;\n\tfield:int dfd;\toffset:16;\tsize:8;\tsigned:0;\n\tfield:const char * filename;\toffset:24;\tsize:8;\tsigned:0;\n\tfield:int flags;\toffset:32;\tsize:8;\tsigned:0;\n\tfield:umode_t mode;\toffset:40;\tsize:8;\tsigned:0;\n",
    ),
    (
        "syscalls",
        "sys_enter_read",
        "\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;\n\tfield:unsigned int fd;\toffset:16;\tsize:8;\tsigned:0;\n\tfield:char * buf;\toffset:24;\tsize:8;\tsigned:0;\n\tfield:size_t count;\toffset:32;\tsize:8;\tsigned:0;\n",
    ),
    (
        "syscalls",
        "sys_exit_read",
        "\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;\n\tfield:long ret;\toffset:16;\tsize:8;\tsigned:1;\n",
    ),
];

/// Types that this module itself has written.
fn btf(bytes: Vec<u8>) -> Arc<Btf> {
    Arc::new(Btf::parse(bytes, None).unwrap_or_else(|_| unreachable!("what the builder writes is read")))
}

impl Fake {
    /// A machine of Linux `version` with every feature.
    pub fn new(version: KernelVersion) -> Fake {
        Fake { version, btf: btf(types()), lacks: Vec::new() }
    }
}

/// USDT probes of /bin/bash: one with two places whose arguments lie apart, one with a semaphore.
fn notes() -> Vec<Note> {
    let note = |name: &str, offset, semaphore, args: &str| Note {
        provider: "shell".to_owned(),
        name: name.to_owned(),
        offset,
        semaphore,
        args: args.to_owned(),
    };
    vec![
        note("eval", 0x2010, 0, "8@%rdi -4@-20(%rbp)"),
        note("eval", 0x2050, 0, "8@%rbx -4@$-7"),
        note("eval", 0x2090, 0, "8@%rdi -4@-20(%rbp)"),
        note("key", 0x3004, 0x5000, "1@%al 8f@%xmm0"),
    ]
}

fn names(list: &[&str]) -> Answer {
    Answer::Names(Arc::new(list.iter().map(|n| (*n).to_owned()).collect()))
}

impl Target for Fake {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        let missing = |what: &str| Err(TargetError::NotFound(what.to_owned()));
        Ok(match question {
            Question::KernelVersion => Answer::Version(self.version),
            Question::Arch => Answer::Arch(Arch::X86_64),
            Question::PossibleCpus => Answer::Number(4),
            Question::Has(feature) => Answer::Yes(!self.lacks.iter().any(|lacked| lacked == feature.name())),
            Question::Btf(name) if name.is_empty() => Answer::Btf(self.btf.clone()),
            Question::Btf(name) => return missing(name),
            Question::BpfPrograms => names(&["7:count_it", "9:count_all"]),
            Question::Modules | Question::PidNamespace | Question::MappedBinaries(_) => names(&[]),
            Question::Interfaces => {
                let of = |(name, index, hardware): (&str, u32, u32)| Interface {
                    name: name.to_owned(),
                    index,
                    hardware,
                    mtu: 1500,
                };
                Answer::Interfaces(Arc::new(
                    [("lo", 1, 772), ("eth0", 2, 1), ("tun0", 3, 0xfffe), ("can0", 4, 280)].map(of).to_vec(),
                ))
            }
            Question::Tracepoints => Answer::Names(Arc::new(
                TRACEPOINTS.iter().map(|(category, name, _)| format!("{category}:{name}")).collect(),
            )),
            Question::TracepointFormat { category, name } => {
                let Some((_, _, fields)) = TRACEPOINTS.iter().find(|(c, n, _)| c == category && n == name)
                else {
                    return missing(name);
                };
                Answer::Text(format!("name: {name}\nID: 7\nformat:\n{COMMON}\n{fields}").into())
            }
            Question::KernelFunctions => {
                names(&["do_thing", "do_thong", "ext4:ext4_open", "vfs_read", "vfs_write"])
            }
            Question::KernelSymbol(name) if name == "jiffies" => Answer::Number(0xffff_ffff_8000_0000),
            Question::BinaryPath(name) if name == "bash" || name == "/bin/bash" => {
                Answer::Text("/bin/bash".into())
            }
            Question::Binaries { name, .. } => match name.as_str() {
                "bash" | "/bin/bash" => names(&["/bin/bash"]),
                "/lib/lib*.so" => names(&["/lib/liba.so", "/lib/libb.so"]),
                _ => names(&[]),
            },
            Question::InstructionAt { start, offset, .. } => Answer::Yes((offset - start) % 4 == 0),
            Question::BinaryNotes(path) if path == "/bin/bash" => Answer::Notes(Arc::new(notes())),
            Question::BinarySymbols(_) => Answer::Symbols(Arc::new(
                [
                    ("main", 0x1000, 64),
                    ("readline", 0x2000, 128),
                    ("rl_insert", 0x3000, 16),
                    ("_ZN4hive4feedEl", 0x4000, 16),
                ]
                .map(|(name, offset, size)| Symbol {
                    name: name.to_owned(),
                    address: 0x40_0000 + offset,
                    offset,
                    size,
                })
                .to_vec(),
            )),
            Question::BinaryVariable { name, .. }
            | Question::KernelSymbol(name)
            | Question::BinaryPath(name)
            | Question::CgroupId(name)
            | Question::UserId(name)
            | Question::File(name)
            | Question::Directory(name)
            | Question::BinaryNotes(name) => {
                return missing(name);
            }
            Question::BinaryTypes(_) | Question::SourceLine { .. } | Question::DemangledSymbols(_) => {
                return binary::answer(question);
            }
        })
    }
}
