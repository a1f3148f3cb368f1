//! Options of `skep capture`.

use clap::{ArgAction, Args, ValueEnum};
use std::path::PathBuf;

/// Options of `skep capture`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Capture {
    /// Read packets from FILE, pcap or pcapng, also packed by gzip (`-`: standard input); several are merged by time
    #[arg(short = 'r', value_name = "FILE", conflicts_with_all = LIVE)]
    pub(crate) read: Vec<PathBuf>,

    /// Capture from an interface, by name or number; `any`: from all. Several may be given
    #[arg(short = 'i', long = "interface", value_name = "INTERFACE")]
    pub(crate) interfaces: Vec<String>,

    /// List the interfaces
    #[arg(short = 'D', long = "interfaces", conflicts_with_all = ["read", "interfaces"])]
    pub(crate) list: bool,

    #[command(flatten)]
    pub(crate) live: Live,

    /// Write the packets to FILE (`-`: standard output) in place of printing them
    #[arg(short = 'w', value_name = "FILE", conflicts_with_all = ["json", "count"])]
    pub(crate) write: Option<PathBuf>,

    /// Write the old pcap format, not pcapng
    #[arg(long = "pcap", requires = "write")]
    pub(crate) pcap: bool,

    /// Write times of a pcap file in nanoseconds, which older tools do not read
    #[arg(long = "nano", requires = "pcap")]
    pub(crate) nano: bool,

    /// Stop after so many packets that match
    #[arg(short = 'c', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,

    /// Take at most so many bytes of each packet (0: all)
    #[arg(short = 's', value_name = "BYTES")]
    pub(crate) snaplen: Option<u32>,

    /// Print only how many packets match
    #[arg(long = "count")]
    pub(crate) count: bool,

    /// Print each packet as a JSON object on a line of its own
    #[arg(long = "json")]
    pub(crate) json: bool,

    /// Print details of the headers
    #[arg(short = 'v', action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Print of TCP and UDP only how much they carry
    #[arg(short = 'q')]
    pub(crate) quiet: bool,

    /// Print the link's header
    #[arg(short = 'e')]
    pub(crate) link: bool,

    /// Print the bytes in hexadecimal (twice: the link's header too)
    #[arg(short = 'x', action = ArgAction::Count)]
    pub(crate) hex: u8,

    /// Print the bytes in hexadecimal and as characters (twice: the link's header too)
    #[arg(short = 'X', action = ArgAction::Count, conflicts_with = "hex")]
    pub(crate) hex_text: u8,

    /// Print the bytes as characters
    #[arg(short = 'A', conflicts_with_all = ["hex", "hex_text"])]
    pub(crate) text: bool,

    /// No time (twice: seconds since 1970; three times: since the packet before; four: with the date; five: since the
    /// first packet)
    #[arg(short = 't', action = ArgAction::Count)]
    pub(crate) time: u8,

    /// Print sequence numbers of TCP as they are
    #[arg(short = 'S')]
    pub(crate) absolute: bool,

    /// Write each packet's line at once
    #[arg(short = 'l')]
    pub(crate) line_buffered: bool,

    /// Print the filter at these stages of its compilation, and stop: for a packet socket on Ethernet, or with the link type
    /// of a file that -r names
    #[arg(short = 'd', value_name = "STAGE", value_enum, value_delimiter = ',')]
    pub(crate) dump: Vec<FilterStage>,

    /// Taken for the sake of tcpdump's users: files are written as packets come
    #[arg(short = 'U', hide = true)]
    pub(crate) unbuffered: bool,

    /// Taken for the sake of tcpdump's users: names are never looked up
    #[arg(short = 'n', action = ArgAction::Count, hide = true)]
    pub(crate) numeric: u8,

    /// The filter as libpcap means it, also where it is known to be wrong
    #[arg(long = "strict-libpcap")]
    pub(crate) strict: bool,

    /// Read the filter from FILE
    #[arg(short = 'F', value_name = "FILE", conflicts_with = "expression")]
    pub(crate) filter_file: Option<PathBuf>,

    /// The filter, in the language of pcap-filter(7)
    #[arg(value_name = "EXPRESSION", allow_hyphen_values = true, trailing_var_arg = true)]
    pub(crate) expression: Vec<String>,
}

impl Capture {
    /// Most bytes of a packet, where they are limited.
    pub(crate) fn most(&self) -> Option<u32> {
        self.snaplen.filter(|bytes| *bytes > 0)
    }
}

/// Stages that `-d` prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum FilterStage {
    /// The expression as it was understood
    Tree,
    /// The tests on bytes, in their order
    Tests,
    /// The intermediate representation as it is built
    Ir,
    /// The same after the passes
    Opt,
    /// Classic BPF, as packet sockets are given it
    Classic,
    /// The instructions of the eBPF program
    Asm,
    /// All of them
    All,
}

/// Options that only a live capture has.
const LIVE: [&str; 11] =
    ["interfaces", "way", "plain", "buffer", "netns", "process", "pid", "comm", "cgroup", "drops", "top"];

/// Options of a live capture, and of files that follow each other.
#[derive(Debug, Args)]
pub(crate) struct Live {
    /// Which way packets go: `in`, `out` or both (`inout`)
    #[arg(short = 'Q', long = "direction", value_name = "WAY", value_enum, default_value = "inout")]
    pub(crate) way: Way,

    /// No promiscuous mode: only what the interface receives anyhow
    #[arg(short = 'p', long = "no-promiscuous-mode")]
    pub(crate) plain: bool,

    /// Room in the kernel for each interface's packets, in KiB
    #[arg(short = 'B', long = "buffer-size", value_name = "KIB", default_value = "8192",
        value_parser = clap::value_parser!(u32).range(1..=4_194_304))]
    pub(crate) buffer: u32,

    /// Interfaces, or drops, of another network namespace: its name (`ip netns`) or the id of a process in it
    #[arg(long = "netns", value_name = "NAME|PID")]
    pub(crate) netns: Option<String>,

    /// Say of each packet which process sends or receives it, `?` where that is not known
    #[arg(long = "process")]
    pub(crate) process: bool,

    /// Only packets of the process with this id
    #[arg(long = "pid", value_name = "PID")]
    pub(crate) pid: Option<u32>,

    /// Only packets of processes of this name
    #[arg(long = "comm", value_name = "NAME")]
    pub(crate) comm: Option<String>,

    /// Only packets of processes in this cgroup or one below: its folder, or its path in the hierarchy of version 2
    #[arg(long = "cgroup", value_name = "PATH")]
    pub(crate) cgroup: Option<String>,

    /// Packets that the kernel drops, of all interfaces and network namespaces (or of one: --netns), each with the reason
    /// and the place
    #[arg(long = "drops", conflicts_with_all = ["interfaces", "way", "plain", "buffer", "process", "pid", "comm",
        "cgroup", "top"])]
    pub(crate) drops: bool,

    /// In place of packets print a table of flows each second, with their processes
    #[arg(long = "top", conflicts_with_all = ["write", "json", "count", "hex", "hex_text", "text"])]
    pub(crate) top: bool,

    /// What the table is ordered by
    #[arg(long = "top-by", value_name = "BY", value_enum, default_value = "bytes", requires = "top")]
    pub(crate) by: By,

    /// Rows of the table
    #[arg(long = "top-rows", value_name = "COUNT", default_value = "20", requires = "top",
        value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rows: u16,

    /// Begin another file after so many million bytes
    #[arg(short = 'C', long = "rotate-size", value_name = "MB", requires = "write",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) size: Option<u64>,

    /// Begin another file after so many seconds; the name may have conversions as `%Y-%m-%d_%H:%M:%S`
    #[arg(short = 'G', long = "rotate-seconds", value_name = "SECONDS", requires = "write",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) seconds: Option<u64>,

    /// Begin another file after so many packets
    #[arg(long = "rotate-packets", value_name = "COUNT", requires = "write",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) packets: Option<u64>,

    /// At most so many files: then the oldest is written over, or, with -G alone, the capture ends
    #[arg(short = 'W', long = "rotate-files", value_name = "COUNT", requires = "write",
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) files: Option<u32>,

    /// At most so many million bytes on disk: the oldest files go
    #[arg(long = "max-disk", value_name = "MB", requires = "write",
        value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) disk: Option<u64>,
}

/// What a table of flows is ordered by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum By {
    /// Bytes on the wire
    Bytes,
    /// Packets
    Packets,
    /// The process's name
    Process,
}

/// Which way packets go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Way {
    /// Received
    In,
    /// Sent
    Out,
    /// Both
    Inout,
}

const EXAMPLES: &str = "\
Examples:
  skep capture -i eth0 'tcp port 443'
  skep capture -i any -w all.pcapng -C 100 -W 10 'not port 22'
  skep capture -i any --comm curl
  skep capture --drops 'tcp port 80'
  skep capture -i eth0 --top
  skep capture -r trace.pcap 'tcp port 443 and host 10.0.0.1'
  skep capture -r a.pcap -r b.pcapng.gz -w both.pcapng
  skep capture -r trace.pcap --json 'udp port 53'
  skep capture -d tests 'tcp port 80 and net 10.0.0.0/8'
  skep capture -r trace.pcap --count 'tcp[tcpflags] & tcp-syn != 0'";
