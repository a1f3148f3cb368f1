//! The command line: one definition gives parser, help, completions and man pages. One file per command; what several
//! take is here.

mod assembly;
mod capture;
mod conformance;
mod doctor;
mod objects;
mod route;
mod run;
mod trace;

pub(crate) use assembly::{Asm, Disasm};
pub(crate) use capture::{By, Capture, FilterStage, Live as CaptureLive, Way};
pub(crate) use conformance::Conformance;
pub(crate) use doctor::Doctor;
pub(crate) use objects::{DumpKind, Links, LinksAction, Load, Maps, MapsAction, Progs, ProgsAction};
pub(crate) use route::{Route, RouteAction, RouteSync, RouteWords};
pub(crate) use run::{Engine, Filling, Run, With};
pub(crate) use trace::{Buffering, Mode, Stage, Trace, Without};

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// The house for eBPF: trace what the Linux kernel does. Text in, verified eBPF out.
#[derive(Debug, Parser)]
#[command(name = "skep", version, max_term_width = 100, propagate_version = true)]
pub(crate) struct Cli {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a bpftrace program: compile, load, attach, print what it sees
    Trace(Box<Trace>),
    /// Capture packets, live or from files: print, filter, count, write, convert, merge them
    Capture(Box<Capture>),
    /// Forward packets by a table of your own, on XDP and TC
    Route(Route),
    /// Run a program on the offline machine: no kernel, no privilege; packets, a context or recorded events in
    Run(Box<Run>),
    /// Say what this kernel can do and what stands in the way, with the mend
    Doctor(Doctor),
    /// Load an object file of any compiler: list, attach and pin its programs
    Load(Box<Load>),
    /// List, print and change the kernel's maps
    Maps(Maps),
    /// List and print the kernel's programs
    Progs(Progs),
    /// List what is attached where, and detach
    Links(Links),
    /// Print an object file, or instructions, as text
    Disasm(Disasm),
    /// Make an object file, or instructions, from such a text
    Asm(Asm),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Run one program in the offline machine, as a plugin of bpf_conformance
    #[command(hide = true)]
    Conformance(Conformance),
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Man {
        /// The directory, which must exist
        dir: PathBuf,
    },
}

/// Output formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// An output format.
fn format(text: &str) -> Result<Format, String> {
    Format::from_str(text, false).map_err(|_| format!("Invalid output format \"{text}\""))
}
