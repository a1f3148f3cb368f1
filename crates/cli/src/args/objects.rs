//! Options of the commands about objects: `load`, `maps`, `progs`, `links`.

use super::Format;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Options of `skep load`.
#[derive(Debug, Args)]
#[command(after_help = LOAD_EXAMPLES)]
pub(crate) struct Load {
    /// The object file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// List the programs of the file, load nothing
    #[arg(long = "list", conflicts_with_all = ["attach", "pin"])]
    pub(crate) list: bool,

    /// Attach the programs where their sections say, until Ctrl-C, or, with --pin, until the links are unpinned
    #[arg(long = "attach")]
    pub(crate) attach: bool,

    /// Keep programs, maps and links as files below DIR of a BPF file system
    #[arg(long = "pin", value_name = "DIR")]
    pub(crate) pin: Option<PathBuf>,

    /// Where maps that are pinned by name are, and go
    #[arg(long = "pin-root", value_name = "DIR")]
    pub(crate) pin_root: Option<PathBuf>,

    /// Only these programs, by the names of their functions
    #[arg(long = "prog", value_name = "NAME")]
    pub(crate) programs: Vec<String>,

    /// Resolve relocations against the types in FILE, not the running kernel's
    #[arg(long = "btf", value_name = "FILE")]
    pub(crate) btf: Option<PathBuf>,

    /// The interface for XDP, TC and netkit programs
    #[arg(long = "dev", value_name = "INTERFACE", requires = "attach")]
    pub(crate) interface: Option<String>,

    /// TC programs whose section says no direction see what the interface sends
    #[arg(long = "egress", requires = "interface")]
    pub(crate) egress: bool,

    /// The cgroup for cgroup programs
    #[arg(long = "cgroup", value_name = "PATH", requires = "attach")]
    pub(crate) cgroup: Option<PathBuf>,

    /// The network namespace for socket lookup programs
    #[arg(long = "netns", value_name = "PATH", requires = "attach")]
    pub(crate) netns: Option<PathBuf>,

    /// Output format of --list
    #[arg(short = 'f', long = "format", value_name = "FORMAT", value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,

    /// Print the verifier's log
    #[arg(short = 'v', long = "verbose")]
    pub(crate) verbose: bool,
}

/// Options of `skep maps`.
#[derive(Debug, Args)]
#[command(after_help = MAPS_EXAMPLES)]
pub(crate) struct Maps {
    /// What to do; without it, list
    #[command(subcommand)]
    pub(crate) action: Option<MapsAction>,

    /// Output format
    #[arg(short = 'f', long = "format", value_name = "FORMAT", value_enum, default_value_t = Format::Text, global = true)]
    pub(crate) format: Format,
}

/// What to do with maps. MAP is an id, a name, or the path of a pin.
#[derive(Debug, Subcommand)]
pub(crate) enum MapsAction {
    /// List the maps
    List,
    /// Say all that there is to say of a map
    Show {
        /// Id, name, or path of a pin
        map: String,
    },
    /// Print all entries
    Dump {
        /// Id, name, or path of a pin
        map: String,
    },
    /// Print the value of a key
    Lookup {
        /// Id, name, or path of a pin
        map: String,
        /// JSON by the key's type, a plain text, or hex:BYTES
        key: String,
    },
    /// Set the value of a key
    Update {
        /// Id, name, or path of a pin
        map: String,
        /// JSON by the key's type, a plain text, or hex:BYTES
        key: String,
        /// The same for the value
        value: String,
    },
    /// Remove the entry of a key
    Delete {
        /// Id, name, or path of a pin
        map: String,
        /// JSON by the key's type, a plain text, or hex:BYTES
        key: String,
    },
    /// Keep a map as a file of a BPF file system
    Pin {
        /// Id, name, or path of a pin
        map: String,
        /// The new file
        path: PathBuf,
    },
    /// Remove such a file
    Unpin {
        /// The file
        path: PathBuf,
    },
}

/// Options of `skep progs`.
#[derive(Debug, Args)]
pub(crate) struct Progs {
    /// What to do; without it, list
    #[command(subcommand)]
    pub(crate) action: Option<ProgsAction>,

    /// Output format
    #[arg(short = 'f', long = "format", value_name = "FORMAT", value_enum, default_value_t = Format::Text, global = true)]
    pub(crate) format: Format,
}

/// What to do with programs. PROG is an id, a name, or the path of a pin.
#[derive(Debug, Subcommand)]
pub(crate) enum ProgsAction {
    /// List the programs
    List,
    /// Say all that there is to say of a program
    Show {
        /// Id, name, or path of a pin
        prog: String,
    },
    /// Print a program's instructions as they run
    Dump {
        /// Id, name, or path of a pin
        prog: String,
        /// The verifier's rewritten instructions, or the machine code in hex
        #[arg(value_enum, default_value_t = DumpKind::Xlated)]
        what: DumpKind,
    },
    /// Keep a program as a file of a BPF file system
    Pin {
        /// Id, name, or path of a pin
        prog: String,
        /// The new file
        path: PathBuf,
    },
    /// Remove such a file
    Unpin {
        /// The file
        path: PathBuf,
    },
}

/// What `skep progs dump` prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum DumpKind {
    /// Instructions as the verifier has rewritten them
    Xlated,
    /// Machine code, in hex
    Jited,
}

/// Options of `skep links`.
#[derive(Debug, Args)]
pub(crate) struct Links {
    /// What to do; without it, list
    #[command(subcommand)]
    pub(crate) action: Option<LinksAction>,

    /// Output format
    #[arg(short = 'f', long = "format", value_name = "FORMAT", value_enum, default_value_t = Format::Text, global = true)]
    pub(crate) format: Format,
}

/// What to do with links. LINK is an id or the path of a pin.
#[derive(Debug, Subcommand)]
pub(crate) enum LinksAction {
    /// List the links
    List,
    /// Take a program off its place
    Detach {
        /// Id, or path of a pin
        link: String,
    },
    /// Remove the file that holds a link; without another holder, the program is detached
    Unpin {
        /// The file
        path: PathBuf,
    },
}

const LOAD_EXAMPLES: &str = "\
Examples:
  skep load prog.o --list
  skep load prog.o --attach
  skep load prog.o --attach --pin /sys/fs/bpf/prog
  skep load xdp.o --attach --dev veth0";

const MAPS_EXAMPLES: &str = "\
Examples:
  skep maps
  skep maps dump 17 -f json
  skep maps update counts '{\"uid\": 1000, \"comm\": \"bee\"}' 5
  skep maps lookup 17 hex:01000000";
