//! What `skep capture -r` prints: the packets and lines of `tests/packet`, whose README has the format. Where tcpdump is
//! installed, the lines that are marked to be as tcpdump's are held to it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at what it does not understand")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// One `*.print` file.
#[derive(Default)]
struct Case {
    /// The lines up to the first run, as they stand.
    head: Vec<String>,
    /// As a pcap file.
    capture: Vec<u8>,
    runs: Vec<Run>,
}

#[derive(Default)]
struct Run {
    words: String,
    /// Lines with their marks.
    lines: Vec<String>,
}

#[derive(Default)]
struct Packet {
    micros: u64,
    len: Option<u32>,
    bytes: Vec<u8>,
}

fn parse(text: &str, name: &str) -> Case {
    let mut case = Case::default();
    let (mut link, mut cut, mut packets) = (1u32, 0, Vec::<Packet>::new());
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}:{}: `{line}`", number + 1);
        if let Some(words) = line.strip_prefix("$ ") {
            case.runs.push(Run { words: words.to_owned(), lines: Vec::new() });
            continue;
        }
        if let Some(run) = case.runs.last_mut() {
            match line.as_bytes() {
                [] | [b'#', ..] => {}
                [b'=' | b'~' | b'!', ..] => run.lines.push(line.to_owned()),
                _ => panic!("{place}"),
            }
            continue;
        }
        case.head.push(line.to_owned());
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [] | ["#", ..] => {}
            ["link", number] => link = number.parse().unwrap(),
            ["cut", bytes] => cut = bytes.parse().unwrap(),
            ["at", time, of @ ..] => packets.push(Packet {
                micros: time.replace('.', "").parse().unwrap(),
                len: of.get(1).map(|len| len.parse().unwrap()),
                bytes: Vec::new(),
            }),
            digits if line.starts_with("  ") => {
                let digits = digits.concat();
                let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
                let bytes =
                    (0..digits.len()).step_by(2).map(|at| byte(at).unwrap_or_else(|| panic!("{place}")));
                let packet = packets.last_mut().unwrap_or_else(|| panic!("{place}"));
                packet.bytes.extend(bytes);
            }
            _ => panic!("{place}"),
        }
    }
    case.capture = pcap(link, &packets);
    case.capture.truncate(case.capture.len() - cut);
    case
}

fn pcap(link: u32, packets: &[Packet]) -> Vec<u8> {
    let header = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 262_144, link];
    let mut file: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    for packet in packets {
        let kept = packet.bytes.len() as u32;
        let (seconds, micros) = ((packet.micros / 1_000_000) as u32, (packet.micros % 1_000_000) as u32);
        let words = [seconds, micros, kept, packet.len.unwrap_or(kept)];
        file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        file.extend(&packet.bytes);
    }
    file
}

/// Words as a shell would have them, quotes being the only thing that is special.
fn split(words: &str) -> Vec<String> {
    let parts = words.split('"').enumerate();
    let split = |(index, part): (usize, &str)| -> Vec<String> {
        if index % 2 == 1 {
            vec![part.to_owned()]
        } else {
            part.split_whitespace().map(str::to_owned).collect()
        }
    };
    parts.flat_map(split).collect()
}

fn run(program: &str, words: &[&str], args: &[String], capture: &[u8]) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(words).args(["-r", "-"]).args(args).env("TZ", "UTC");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().ok()?;
    // Who has seen enough reads no more.
    let _ = child.stdin.take().unwrap().write_all(capture);
    child.wait_with_output().ok()
}

/// What tcpdump prints, each packet's head on one line; empty where it refuses.
fn tcpdump(args: &[String], capture: &[u8]) -> Vec<String> {
    let output = run("tcpdump", &["--immediate-mode", "-Z", "root"], args, capture).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).replace("\n    ", " ");
    text.lines().map(str::to_owned).collect()
}

/// Whether tcpdump is there, in the version that the marks were made with.
fn has_tcpdump() -> bool {
    let output = Command::new("tcpdump").arg("--version").output();
    output.is_ok_and(|o| [o.stdout, o.stderr].concat().starts_with(b"tcpdump version 4.99.3"))
}

/// The lines that a run gives now, with their marks: those of `before` where nobody can tell.
fn lines(run_of: &Run, capture: &[u8], peer: bool) -> Vec<String> {
    let args = split(&run_of.words);
    let output = run(env!("CARGO_BIN_EXE_skep"), &["capture"], &args, capture).unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap_or_else(|e| panic!("{}: {e}", run_of.words));
    let mut theirs = if peer { tcpdump(&args, capture) } else { Vec::new() }.into_iter();
    let mut out = Vec::new();
    for line in stdout.lines() {
        let ours = || run_of.lines.get(out.len())?.chars().next();
        let mark = match peer {
            true => {
                let mut ahead = theirs.clone();
                if ahead.any(|other| other == line) {
                    theirs = ahead;
                    '='
                } else {
                    '~'
                }
            }
            false => ours().filter(|mark| *mark != '!').unwrap_or('~'),
        };
        out.push(format!("{mark} {line}"));
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    out.extend(stderr.lines().map(|line| format!("! {line}").trim_end().to_owned()));
    assert_eq!(output.status.success(), stderr.is_empty(), "{}: {stderr}", run_of.words);
    out
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/packet");
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = all.filter(|path| path.extension().is_some_and(|e| e == "print")).collect();
    files.sort();
    files
}

#[test]
fn captures_are_printed_as_they_are_written_down() {
    let (bless, peer) = (std::env::var_os("SKEP_BLESS").is_some(), has_tcpdump());
    let (mut wrong, mut same, mut all) = (String::new(), 0, 0);
    for path in files() {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let case = parse(&std::fs::read_to_string(&path).unwrap(), &name);
        let mut text = case.head.iter().map(|line| format!("{line}\n")).collect::<String>();
        for (index, run) in case.runs.iter().enumerate() {
            let now = lines(run, &case.capture, peer);
            same += now.iter().filter(|line| line.starts_with('=')).count();
            all += now.len();
            for at in 0..now.len().max(run.lines.len()) {
                if now.get(at) != run.lines.get(at) {
                    let shown = |lines: &[String]| lines.get(at).cloned().unwrap_or_default();
                    let (was, is) = (shown(&run.lines), shown(&now));
                    let _ = writeln!(wrong, "{name}: $ {}\n  expected {was}\n  found    {is}", run.words);
                }
            }
            let gap = if index == 0 { "" } else { "\n" };
            let _ = writeln!(text, "{gap}$ {}", run.words);
            now.iter().for_each(|line| text.push_str(&format!("{line}\n")));
        }
        if bless {
            std::fs::write(&path, text).unwrap();
        }
    }
    println!("{all} lines, {same} of them as tcpdump's{}", if peer { "" } else { " when they were written" });
    assert!(all > 300, "the captures are gone");
    assert!(bless || wrong.is_empty(), "{wrong}");
}
