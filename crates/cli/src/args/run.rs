//! Options of `skep run`.

use super::{Format, format};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Options of `skep run`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Run {
    /// The program's text; without it, the first argument is its file
    #[arg(short = 'e', value_name = "TEXT")]
    pub(crate) text: Option<String>,

    /// Run an XDP or TC program once for each packet of the capture IN (pcap or pcapng), and count the verdicts
    #[arg(long = "pcap", value_name = "IN", conflicts_with_all = ["event", "context"])]
    pub(crate) pcap: Option<PathBuf>,

    /// Write the packets that pass or leave, as the program made them, to the pcap file OUT
    #[arg(long = "out", value_name = "OUT", requires = "pcap")]
    pub(crate) out: Option<PathBuf>,

    /// Let a session that `skep trace --record` wrote happen again; without a program, with its own
    #[arg(long = "event", value_name = "FILE", conflicts_with = "context")]
    pub(crate) event: Option<PathBuf>,

    /// Run a program with these bytes (in hexadecimal) as its context
    #[arg(long = "ctx", value_name = "HEX", value_parser = hex)]
    pub(crate) context: Option<Hex>,

    /// Run it N times and print how long a run takes
    #[arg(long = "repeat", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) repeat: u64,

    /// The program to run, by name or number, where the file has several
    #[arg(long = "prog", value_name = "NAME")]
    pub(crate) program: Option<String>,

    /// Set an entry of a map before programs run: MAP[KEY]=VALUE, each as JSON, a plain text or hex:BYTES; or MAP=FILE, entries as
    /// `skep maps dump -f json` prints them
    #[arg(long = "map", value_name = "MAP[KEY]=VALUE", value_parser = filling)]
    pub(crate) fill: Vec<Filling>,

    /// CPUs of the machine
    #[arg(long = "cpus", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) cpus: u32,

    /// Print all maps at the end, those without names in the language too
    #[arg(long = "maps")]
    pub(crate) maps: bool,

    /// Print each instruction as it runs, with the registers that it changes and its line of source
    #[arg(long = "trace", conflicts_with = "profile")]
    pub(crate) trace: bool,

    /// Count how often each instruction and line runs
    #[arg(long = "profile")]
    pub(crate) profile: bool,

    /// List the programs and maps, and stop
    #[arg(long = "list")]
    pub(crate) list: bool,

    /// What runs the instructions
    #[arg(long = "engine", value_name = "ENGINE", value_enum, default_value_t = Engine::Interpreter)]
    pub(crate) engine: Engine,

    /// Blind the constants of programs before they are compiled, as the kernel does against JIT spraying
    #[arg(long = "blind")]
    pub(crate) blind: bool,

    /// Print the machine code that a program is compiled to, and stop
    #[arg(long = "jit-dump")]
    pub(crate) jit_dump: bool,

    /// Start of the random numbers that programs get
    #[arg(long = "seed", value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,

    /// Instructions that one run may take
    #[arg(long = "budget", value_name = "N")]
    pub(crate) budget: Option<u64>,

    /// Types of the kernel to run as on, in place of this one's: a BTF file
    #[arg(long = "btf", value_name = "FILE")]
    pub(crate) btf: Option<PathBuf>,

    /// Output format of what the program prints
    #[arg(short = 'f', long = "format", value_name = "FORMAT", value_parser = format, default_value = "text")]
    pub(crate) format: Format,

    /// Print only what the program prints
    #[arg(short = 'q', long = "quiet")]
    pub(crate) quiet: bool,

    /// Leave the optimising passes out
    #[arg(long = "no-passes", hide = true)]
    pub(crate) no_passes: bool,

    /// The program (without -e): an object file, assembly (`.s`), a script or a recording; then the script's parameters
    #[arg(value_name = "FILE | PARAMETER")]
    pub(crate) args: Vec<String>,
}

/// What runs the instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Engine {
    /// One after the other, each looked at
    Interpreter,
    /// Compiled to machine code first
    Jit,
}

/// Bytes from the command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

/// Hexadecimal digits; blanks, `:` and a leading `0x` are skipped.
fn hex(text: &str) -> Result<Hex, String> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    let value = |c: &char| c.to_digit(16).ok_or_else(|| format!("`{c}` is no hexadecimal digit"));
    if !digits.len().is_multiple_of(2) {
        return Err(format!("{} digits: two are a byte", digits.len()));
    }
    let bytes = digits.chunks(2).map(|pair| match pair {
        [high, low] => Ok((value(high)? << 4 | value(low)?) as u8),
        _ => Ok(0),
    });
    bytes.collect::<Result<_, _>>().map(Hex)
}

/// What is put into a map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Filling {
    /// The map.
    pub(crate) map: String,
    /// What.
    pub(crate) with: With,
}

/// Entries for a map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum With {
    /// One: key and value as given.
    Entry(String, String),
    /// Those of a file.
    File(PathBuf),
}

fn filling(text: &str) -> Result<Filling, String> {
    let expected = || "expected MAP[KEY]=VALUE or MAP=FILE".to_owned();
    let at = text.find(['[', '=']).filter(|at| *at > 0).ok_or_else(expected)?;
    let (map, rest) = text.split_at(at);
    let with = match rest.strip_prefix('[') {
        Some(entry) => {
            let (key, value) = entry.split_once("]=").ok_or_else(expected)?;
            With::Entry(key.to_owned(), value.to_owned())
        }
        None => With::File(PathBuf::from(&rest[1..])),
    };
    Ok(Filling { map: map.to_owned(), with })
}

const EXAMPLES: &str = "\
Examples:
  skep run -e 'begin { printf(\"%d\\n\", 6 * 7); }'
  skep run filter.o --pcap in.pcap --out passed.pcap
  skep run filter.o --ctx 0000 --trace
  skep run forward.o --pcap in.pcap --map 'ports[1]={\"ifindex\": 3, \"program\": \"on_its_way\"}' --map routes=routes.json
  skep trace --record session.rec script.bt; skep run session.rec";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_maps_and_files_of_them() {
        let entry = |map: &str, key: &str, value: &str| Filling {
            map: map.to_owned(),
            with: With::Entry(key.to_owned(), value.to_owned()),
        };
        assert_eq!(filling("counts[5]=7"), Ok(entry("counts", "5", "7")));
        assert_eq!(filling("@a[[1, 2]]={\"x\": 1}"), Ok(entry("@a", "[1, 2]", "{\"x\": 1}")));
        assert_eq!(filling("a[]=1"), Ok(entry("a", "", "1")));
        let file = Filling { map: "a".to_owned(), with: With::File(PathBuf::from("b[1]=c.json")) };
        assert_eq!(filling("a=b[1]=c.json"), Ok(file));
        for bad in ["", "a", "=b", "[1]=2", "a[1]", "a[1]2"] {
            assert!(filling(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hexadecimal_digits() {
        assert_eq!(hex("0x0aFF").unwrap().0, [0x0a, 0xff]);
        assert_eq!(hex("01:02 03").unwrap().0, [1, 2, 3]);
        assert_eq!(hex("").unwrap().0, Vec::<u8>::new());
        assert!(hex("123").unwrap_err().contains("3 digits"));
        assert!(hex("0g").unwrap_err().contains("`g`"));
    }
}
