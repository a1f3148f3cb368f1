//! The scripts that are measured, by kind of probe. `TARGET` in a script stands for this program's file, `LIBC`
//! for the C library's.

use crate::load::Load;

/// A script with the load that makes its events.
#[derive(Debug)]
pub(crate) struct Script {
    /// Its name in the tables.
    pub(crate) name: &'static str,
    /// The program's text.
    pub(crate) text: &'static str,
    /// What makes events.
    pub(crate) load: Load,
    /// Events that match in one call of the load; 0: the load only keeps a CPU busy.
    pub(crate) events: u64,
}

impl Script {
    /// The text with this program's file in its place.
    pub(crate) fn text(&self) -> String {
        let target = crate::load::program().map(|p| p.display().to_string()).unwrap_or_default();
        let libc = crate::target::libc().unwrap_or_default();
        self.text.replace("TARGET", &target).replace("LIBC", &libc)
    }
}

const fn script(name: &'static str, load: Load, events: u64, text: &'static str) -> Script {
    Script { name, text, load, events }
}

/// Ten varied scripts on tracepoints.
pub(crate) const TRACEPOINTS: &[Script] = &[
    script(
        "strings printed",
        Load::Open,
        1,
        "tracepoint:syscalls:sys_enter_openat { printf(\"%-6d %-16s %s\\n\", pid, comm, str(args.filename)); }",
    ),
    script(
        "strings as keys",
        Load::Open,
        1,
        "tracepoint:syscalls:sys_enter_openat { @[str(args.filename)] = count(); }",
    ),
    script(
        "strings compared",
        Load::Open,
        1,
        "tracepoint:syscalls:sys_enter_openat /strncmp(comm, \"skep\", 4) == 0/ \
         { if (str(args.filename) == \"/dev/null\") { @ = count(); } else { @other = count(); } }",
    ),
    script(
        "kernel stacks",
        Load::Getppid,
        1,
        "tracepoint:raw_syscalls:sys_enter /comm == \"skep-bench\"/ { @[kstack] = count(); }",
    ),
    script(
        "user stacks",
        Load::Getppid,
        1,
        "tracepoint:raw_syscalls:sys_enter /comm == \"skep-bench\"/ { @[ustack(5), comm] = count(); }",
    ),
    script(
        "histograms",
        Load::Getppid,
        1,
        "tracepoint:raw_syscalls:sys_enter /comm == \"skep-bench\"/ \
         { @us = hist(args.id); @l = lhist(args.id, 0, 400, 20); }",
    ),
    script(
        "latency by map",
        Load::Read,
        2,
        "tracepoint:syscalls:sys_enter_read { @start[tid] = nsecs; } \
         tracepoint:syscalls:sys_exit_read /@start[tid]/ \
         { @ns[comm] = hist(nsecs - @start[tid]); delete(@start, tid); }",
    ),
    script(
        "nested keys",
        Load::Getppid,
        1,
        "tracepoint:raw_syscalls:sys_enter \
         { @[comm, pid, args.id] = sum(args.id); @n[pid, (cpu, uid)] = count(); }",
    ),
    script(
        "path walk",
        Load::Open,
        1,
        "tracepoint:syscalls:sys_enter_openat { $d = curtask.fs.pwd.dentry; \
         unroll (4) { @[str($d.d_name.name)] = count(); $d = $d.d_parent; } }",
    ),
    script(
        "statistics",
        Load::Getppid,
        1,
        "tracepoint:raw_syscalls:sys_enter { @s[comm] = stats(args.id); @a[cpu] = avg(args.id); \
         @m[pid] = min(args.id); @x[tid] = max(nsecs); }",
    ),
];

/// Other kinds of probes, by kind: events that a load makes.
pub(crate) const CALLED: &[(&str, &[Script])] = &[
    (
        "rawtracepoint",
        &[
            script("count()", Load::Getppid, 1, "rawtracepoint:sys_enter { @ = count(); }"),
            script("by comm", Load::Getppid, 1, "rawtracepoint:sys_enter { @[comm] = count(); }"),
        ],
    ),
    (
        "uprobe",
        &[
            script("count()", Load::Target, 1, "uprobe:LIBC:getppid { @ = count(); }"),
            script("arguments", Load::Target, 1, "uprobe:LIBC:getppid { @[comm] = hist(arg0); }"),
        ],
    ),
    (
        "uretprobe",
        &[
            script("count()", Load::Target, 1, "uretprobe:LIBC:getppid { @ = count(); }"),
            script("values", Load::Target, 1, "uretprobe:LIBC:getppid { @[comm] = hist(retval); }"),
        ],
    ),
    (
        "usdt",
        &[
            script("count()", Load::Usdt, 1, "usdt:TARGET:bench:pass { @ = count(); }"),
            script("arguments", Load::Usdt, 1, "usdt:TARGET:bench:pass { @[comm] = hist(arg0); }"),
        ],
    ),
];

/// Kinds of probes whose events come by themselves.
pub(crate) const TIMED: &[(&str, &[Script])] = &[
    (
        "profile",
        &[
            script("by comm", Load::Getppid, 0, "profile:hz:997 { @[comm] = count(); }"),
            script("kernel stacks", Load::Getppid, 0, "profile:hz:997 { @[kstack] = count(); }"),
        ],
    ),
    (
        "software",
        &[script("by pid", Load::Getppid, 0, "software:cpu-clock:1000000 { @[pid, cpu] = count(); }")],
    ),
    (
        "iter",
        &[script(
            "tasks",
            Load::Getppid,
            0,
            "interval:s:1000 { exit(); } iter:task { @[ctx.task.comm, ctx.task.pid] = count(); }",
        )],
    ),
];
