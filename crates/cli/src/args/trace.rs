//! Options of `skep trace`, which are those of bpftrace and skep's own.

use super::{Format, format};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Options of `skep trace`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, help_template = TEMPLATE, disable_version_flag = true)]
pub(crate) struct Trace {
    /// Print the version
    #[arg(short = 'V', long = "version")]
    pub(crate) version: bool,

    /// The program's text; without it, the first argument is its file (`-`: standard input)
    #[arg(short = 'e', value_name = "TEXT", overrides_with = "text")]
    pub(crate) text: Option<String>,

    /// List probes that match PATTERN (all without one); with -v their arguments too
    #[arg(short = 'l', long = "list")]
    pub(crate) list: bool,

    /// Only events of this process
    #[arg(short = 'p', long = "pid", value_name = "PID", value_parser = pid, conflicts_with = "command")]
    pub(crate) pid: Option<u32>,

    /// Run COMMAND and trace until it ends; it starts once everything is attached
    #[arg(short = 'c', long = "cmd", value_name = "COMMAND")]
    pub(crate) command: Option<String>,

    /// Output format
    #[arg(short = 'f', long = "format", value_name = "FORMAT", value_parser = format, default_value = "text")]
    pub(crate) format: Format,

    /// Write what the program prints to FILE
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Buffering of the output
    #[arg(short = 'B', value_name = "MODE", value_enum, default_value_t = Buffering::Line)]
    pub(crate) buffering: Buffering,

    /// Record to FILE what the programs see, as JSON lines; `skep run FILE` replays it without this kernel
    #[arg(long = "record", value_name = "FILE", conflicts_with_all = ["dump", "emit", "dry_run", "mode", "test", "bench"])]
    pub(crate) record: Option<PathBuf>,

    /// Print only what the program prints
    #[arg(short = 'q', long = "quiet")]
    pub(crate) quiet: bool,

    /// Say what is chosen and done (twice: the verifier's log too)
    #[arg(short = 'v', long = "verbose", action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Print stages of the compilation and stop: ast, hir, ir, opt, asm, or all
    #[arg(
        short = 'd',
        long = "dump",
        alias = "debug",
        value_name = "STAGE",
        value_enum,
        value_delimiter = ','
    )]
    pub(crate) dump: Vec<Stage>,

    /// Write the compiled program to FILE, an ELF object that other kernels load, and stop; `skep trace FILE` runs it
    #[arg(long = "emit", alias = "emit-elf", value_name = "FILE", conflicts_with_all = ["pid", "command", "dump"])]
    pub(crate) emit: Option<PathBuf>,

    /// Write a program to FILE that carries the script and runs it, with options and parameters of its own, and stop
    #[arg(long = "aot", value_name = "FILE", conflicts_with_all = ["emit", "pid", "command", "dump"])]
    pub(crate) aot: Option<PathBuf>,

    /// Emit for kernels from VERSION on (5.10 or later): do without what is newer
    #[arg(long = "target", value_name = "VERSION", requires = "emit")]
    pub(crate) target: Option<String>,

    /// Compile and load, attach nothing
    #[arg(long = "dry-run")]
    pub(crate) dry_run: bool,

    /// Allow functions that change the system (`system`, `signal`, `override`)
    #[arg(long = "unsafe")]
    pub(crate) allow_unsafe: bool,

    /// Warn where a helper fails: a read of memory, a lookup of a map
    #[arg(short = 'k', long = "warnings", conflicts_with = "no_warnings")]
    pub(crate) helper_errors: bool,

    /// Do not print warnings
    #[arg(long = "no-warnings")]
    pub(crate) no_warnings: bool,

    /// Look for included and imported files in DIR too
    #[arg(short = 'I', value_name = "DIR")]
    pub(crate) include_dirs: Vec<String>,

    /// Include FILE before the program
    #[arg(long = "include", value_name = "FILE")]
    pub(crate) includes: Vec<String>,

    /// Look for debug information in these directories first
    #[arg(long = "debuginfo", value_name = "DIR[:DIR]", value_delimiter = ':')]
    pub(crate) debuginfo: Vec<String>,

    /// Take the traceable kernel functions from FILE
    #[arg(long = "traceable-functions", value_name = "FILE")]
    pub(crate) traceable_functions: Option<String>,

    /// Enable USDT semaphores by file, not by process
    #[arg(long = "usdt-file-activation")]
    pub(crate) usdt_file_activation: bool,

    /// Do without these features of the kernel
    #[arg(long = "no-feature", value_name = "FEATURE", value_enum, value_delimiter = ',')]
    pub(crate) without: Vec<Without>,

    /// Which probes run, or what is done instead
    #[arg(long = "mode", value_name = "MODE", value_enum)]
    pub(crate) mode: Option<Mode>,

    /// Print the program in the standard layout
    #[arg(long = "fmt", conflicts_with_all = ["mode", "test", "bench"])]
    pub(crate) fmt: bool,

    /// Run the `test:` probes
    #[arg(long = "test", conflicts_with = "mode")]
    pub(crate) test: bool,

    /// Run the `bench:` probes
    #[arg(long = "bench", conflicts_with_all = ["mode", "test"])]
    pub(crate) bench: bool,

    /// Only `test:` and `bench:` probes whose name matches REGEX
    #[arg(long = "probe-filter", value_name = "REGEX")]
    pub(crate) probe_filter: Option<String>,

    /// Print what this kernel supports, in the form of bpftrace (`skep doctor` says more)
    #[arg(long = "info")]
    pub(crate) info: bool,

    /// Let `dw_ustack` walk the stacks of this process too, by its call frame information; may be given more than once
    #[arg(long = "dwarf-pid", value_name = "PID", value_parser = pid)]
    pub(crate) dwarf_pids: Vec<u32>,

    /// Taken for the sake of bpftrace's users; nothing is left to ask for
    #[arg(short = 'b', long = "btf", hide = true)]
    pub(crate) btf: bool,

    /// The same
    #[arg(long = "verify-llvm-ir", hide = true)]
    pub(crate) verify_ir: bool,

    /// Leave the optimising passes out (to find compiler bugs)
    #[arg(long = "no-passes", hide = true)]
    pub(crate) no_passes: bool,

    /// The script that the running program carries (`--aot`): its name and text
    #[arg(skip)]
    pub(crate) carried: Option<(String, String)>,

    /// The program's file (without -e), then its parameters $1, $2 …; with -l the pattern
    #[arg(value_name = "FILE | PARAMETER")]
    pub(crate) args: Vec<String>,
}

/// What `--mode` asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Mode {
    /// Run the `test:` probes
    Test,
    /// Run the `bench:` probes
    Bench,
    /// Compile only
    Codegen,
    /// Print the program in the standard layout
    Format,
}

/// Features that `--no-feature` takes away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Without {
    /// Attaching many kprobes at once
    #[value(name = "kprobe_multi")]
    KprobeMulti,
    /// Kprobe sessions
    #[value(name = "kprobe_session")]
    KprobeSession,
    /// Attaching many uprobes at once
    #[value(name = "uprobe_multi")]
    UprobeMulti,
    /// TC programs on links
    #[value(name = "tcx")]
    Tcx,
    /// XDP on frames in several buffers
    #[value(name = "xdp_frags")]
    XdpFrags,
}

/// Buffering of the output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Buffering {
    /// Written after each line
    Line,
    /// Written when the buffer is full
    Full,
    /// Written at once
    None,
}

/// Stages that `-d` prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Stage {
    /// The syntax tree
    Ast,
    /// The checked program: probes expanded, names and types resolved
    #[value(alias = "types")]
    Hir,
    /// The intermediate representation as the front-end makes it
    #[value(alias = "codegen")]
    Ir,
    /// The same after the passes
    #[value(alias = "codegen-opt")]
    Opt,
    /// The instructions
    #[value(aliases = ["insn", "dis"])]
    Asm,
    /// All of them
    All,
}

/// The largest process id (`PID_MAX_LIMIT` of the kernel's include/linux/threads.h).
const PID_MAX: u64 = 4 << 20;

/// A process id.
fn pid(text: &str) -> Result<u32, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Err(format!("Failed to parse pid: invalid integer: {text}"));
    }
    if digits < text.len() {
        return Err(format!("Failed to parse pid: invalid trailing bytes: {text}"));
    }
    match text.parse::<u64>() {
        Ok(pid) if pid <= PID_MAX => u32::try_from(pid).map_err(|e| e.to_string()),
        _ => Err(format!("Pid out of range: {text}")),
    }
}

const TEMPLATE: &str = "{about-with-newline}\nUSAGE:\n    {usage}\n\n{all-args}{after-help}";

const EXAMPLES: &str = "\
Examples:
  skep trace -e 'tracepoint:syscalls:sys_enter_openat { printf(\"%s %s\\n\", comm, str(args.filename)); }'
  skep trace -e 'tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }'
  skep trace -l 'tracepoint:sched:*'
  skep trace -lv tracepoint:syscalls:sys_enter_openat
  skep trace -c 'ls /' -e 'tracepoint:raw_syscalls:sys_enter { @ = count(); }'";
