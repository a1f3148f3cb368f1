//! libpcap as the oracle. Written for and tested with libpcap 1.10.3.

use super::classic::Insn;
use skep_packet::filter::Source;
use skep_packet::filter::link::LinkType;
use std::io::Write;

/// The version of libpcap that is installed; the tests were made for 1.10.3.
pub fn version() -> String {
    let told = std::process::Command::new("pcap-config").arg("--version").output();
    told.map_or_else(
        |_| "of unknown version".to_owned(),
        |told| String::from_utf8_lossy(&told.stdout).trim().to_owned(),
    )
}

/// A source of packets that libpcap compiles for.
pub enum Oracle {
    File(pcap::Capture<pcap::Offline>),
    Live(pcap::Capture<pcap::Active>),
}

/// What libpcap makes of an expression.
pub struct Compiled {
    pub optimised: Vec<Insn>,
    pub plain: Vec<Insn>,
}

impl Oracle {
    /// An empty capture file of this link type.
    pub fn file(link: LinkType, swapped: bool) -> Oracle {
        let mut file = Vec::new();
        let words = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 262_144, link.number().into()];
        for (i, word) in words.into_iter().enumerate() {
            let word = if i == 1 { 2 | 4 << 16 } else { word };
            match (swapped, i) {
                (false, _) => file.extend(word.to_le_bytes()),
                (true, 1) => file.extend([0, 2, 0, 4]),
                (true, _) => file.extend(word.to_be_bytes()),
            }
        }
        let path = std::env::temp_dir().join(format!(
            "skep-{}-{}-{swapped}.pcap",
            std::process::id(),
            link.number()
        ));
        std::fs::File::create(&path).and_then(|mut f| f.write_all(&file)).expect("a temporary file");
        let opened = pcap::Capture::from_file(&path).expect("libpcap reads the file");
        let _ = std::fs::remove_file(&path);
        Oracle::File(opened)
    }

    /// The loopback interface, which only root may open; nothing is read from it.
    pub fn live() -> Result<Oracle, pcap::Error> {
        pcap::Capture::from_device("lo")?.snaplen(262_144).open().map(Oracle::Live)
    }

    pub fn source(&self, swapped: bool) -> Source {
        match self {
            Oracle::File(_) => Source::File { swapped },
            Oracle::Live(_) => Source::Socket,
        }
    }

    pub fn compile(&self, text: &str) -> Result<Compiled, String> {
        let one = |optimise: bool| {
            let program = match self {
                Oracle::File(capture) => capture.compile(text, optimise),
                Oracle::Live(capture) => capture.compile(text, optimise),
            };
            program
                .map(|program| program.get_instructions().iter().map(insn).collect())
                .map_err(|e| e.to_string())
        };
        Ok(Compiled { optimised: one(true)?, plain: one(false)? })
    }
}

/// The library shows an instruction as `code jt jf k` in decimal.
fn insn(shown: &pcap::BpfInstruction) -> Insn {
    let text = shown.to_string();
    let mut parts = text.split(' ').map(|part| part.parse::<u64>().expect("a number"));
    let mut next = || parts.next().expect("four numbers");
    Insn { code: next() as u16, jt: next() as u8, jf: next() as u8, k: next() as u32 }
}
