//! Registers: offsets in `struct pt_regs` of those that carry arguments and results, by architecture
//! (arch/x86/include/asm/ptrace.h, arch/arm64/include/asm/ptrace.h, Linux 6.18; both are ABI for kprobe programs).

use skep_bpf::target::Arch;

/// What the conventions of an architecture say, as byte offsets in `struct pt_regs`.
#[derive(Debug)]
pub(crate) struct Conventions {
    /// Arguments of functions.
    pub(crate) args: &'static [u32],
    /// Arguments of system calls.
    pub(crate) syscall_args: &'static [u32],
    /// Number of the system call, valid from entry to exit; on aarch64 32 bits, whose neighbour is zero or unused.
    pub(crate) syscall_nr: u32,
    /// Result of functions and system calls.
    pub(crate) ret: u32,
    /// Registers by name.
    pub(crate) names: &'static [(&'static str, u32)],
}

static X86_64: Conventions = Conventions {
    args: &[112, 104, 96, 88, 72, 64],
    syscall_args: &[112, 104, 96, 56, 72, 64],
    syscall_nr: 120,
    ret: 80,
    names: &[
        ("r15", 0),
        ("r14", 8),
        ("r13", 16),
        ("r12", 24),
        ("bp", 32),
        ("bx", 40),
        ("r11", 48),
        ("r10", 56),
        ("r9", 64),
        ("r8", 72),
        ("ax", 80),
        ("cx", 88),
        ("dx", 96),
        ("si", 104),
        ("di", 112),
        ("orig_ax", 120),
        ("ip", 128),
        ("pc", 128),
        ("cs", 136),
        ("flags", 144),
        ("sp", 152),
        ("ss", 160),
    ],
};

static AARCH64: Conventions = Conventions {
    args: &[0, 8, 16, 24, 32, 40, 48, 56],
    syscall_args: &[272, 8, 16, 24, 32, 40],
    syscall_nr: 280,
    ret: 0,
    names: &[
        ("r0", 0),
        ("r1", 8),
        ("r2", 16),
        ("r3", 24),
        ("r4", 32),
        ("r5", 40),
        ("r6", 48),
        ("r7", 56),
        ("r8", 64),
        ("r9", 72),
        ("r10", 80),
        ("r11", 88),
        ("r12", 96),
        ("r13", 104),
        ("r14", 112),
        ("r15", 120),
        ("r16", 128),
        ("r17", 136),
        ("r18", 144),
        ("r19", 152),
        ("r20", 160),
        ("r21", 168),
        ("r22", 176),
        ("r23", 184),
        ("r24", 192),
        ("r25", 200),
        ("r26", 208),
        ("r27", 216),
        ("r28", 224),
        ("r29", 232),
        ("r30", 240),
        ("sp", 248),
        ("pc", 256),
        ("pstate", 264),
    ],
};

/// The conventions of `arch`.
pub(crate) fn conventions(arch: Arch) -> &'static Conventions {
    match arch {
        Arch::X86_64 => &X86_64,
        Arch::Aarch64 => &AARCH64,
    }
}

/// Registers of x86-64 by their DWARF numbers (System V ABI 1.0, figure 3.36), as bytes into `struct pt_regs`: rax, rdx,
/// rcx, rbx, rsi, rdi, rbp, rsp, r8 to r15.
const X86_DWARF: [u32; 16] = [80, 96, 88, 40, 104, 112, 32, 152, 72, 64, 56, 48, 24, 16, 8, 0];

/// The register with a DWARF number.
pub(crate) fn by_dwarf(arch: Arch, number: u16) -> Option<u32> {
    match arch {
        Arch::X86_64 => X86_DWARF.get(usize::from(number)).copied(),
        // x0 to x30, sp (AAPCS64 DWARF, 4.1).
        Arch::Aarch64 => (number < 32).then_some(u32::from(number) * 8),
    }
}

/// Name of an architecture for messages.
pub(crate) fn arch_name(arch: Arch) -> &'static str {
    match arch {
        Arch::X86_64 => "x86_64",
        Arch::Aarch64 => "aarch64",
    }
}
