//! Walks `tests/runtime/*.txt`: values, formats and maps with the text and JSON that they must print.
//!
//! A file is a sequence of cases, each started by `== TITLE`. Lines of a case: `type`, `bytes`, `tail`, `format`,
//! `arg TYPE = BYTES` (or `tail TYPE = BYTES`), `map NAME STORAGE KEYTYPES -> VALUETYPE`, `cpus N`, `top N`, `div N`,
//! `default`, `entry KEY => CPU0 | CPU1`, `terminal` (escape), and the expectations `text` (with `\n` and `\e`; a
//! newline at the end is implied for values), `json`, and for more lines `> ` each. `#` starts a comment.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::path::PathBuf;

use skep_bpf::backend::Entries;
use skep_bpf::event::{Action, EVENT_HEADER, Stream, lay_out};
use skep_bpf::object::{MapSchema, Object, Storage};
use skep_bpf::schema::ValueType;
use skep_runtime::decode;
use skep_runtime::maps::{self, Selection};
use skep_runtime::render::{Names, printf};
use skep_runtime::sink::{JsonSink, Sink, TextSink};
use skep_runtime::value::Value;
use support::{Fake, notation};

#[derive(Default)]
struct Case {
    title: String,
    /// (word, rest of the line).
    lines: Vec<(String, String)>,
    /// Lines that start with `> `.
    expected: Vec<String>,
}

impl Case {
    fn get(&self, word: &str) -> Option<&str> {
        self.lines.iter().find(|(w, _)| w == word).map(|(_, rest)| rest.as_str())
    }

    fn number(&self, word: &str) -> u64 {
        self.get(word).map_or(0, |n| n.parse().unwrap())
    }
}

fn cases() -> Vec<(String, Case)> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/runtime");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&dir).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let mut all = Vec::new();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "txt")) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        for line in std::fs::read_to_string(file).unwrap().lines() {
            if let Some(title) = line.strip_prefix("== ") {
                all.push((name.clone(), Case { title: title.to_owned(), ..Case::default() }));
            } else if let Some((_, case)) = all.last_mut() {
                match line.strip_prefix('>') {
                    Some(text) => case.expected.push(text.strip_prefix(' ').unwrap_or(text).to_owned()),
                    None if line.trim().is_empty() || line.starts_with('#') => {}
                    None => {
                        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
                        case.lines.push((word.to_owned(), rest.to_owned()));
                    }
                }
            }
        }
    }
    all
}

/// A record with these arguments, laid out as the compiler would.
fn record(args: &[(bool, ValueType, Vec<u8>)]) -> (skep_bpf::event::EventLayout, Vec<u8>) {
    let action = Action::Printf { format: Vec::new(), stream: Stream::Out };
    let mut layout = lay_out(action, args.iter().map(|(_, t, _)| t.clone()).collect(), 1);
    let mut bytes = vec![0u8; layout.head.max(EVENT_HEADER) as usize];
    for (arg, (tail, _, content)) in layout.args.iter_mut().zip(args) {
        assert!(!tail || arg.tail, "{:?} cannot be a tail", arg.ty);
        let at = arg.offset as usize;
        if arg.tail {
            let start = bytes.len() as u32;
            bytes[at..at + 4].copy_from_slice(&start.to_ne_bytes());
            bytes[at + 4..at + 8].copy_from_slice(&(content.len() as u32).to_ne_bytes());
            bytes.extend_from_slice(content);
        } else {
            let content = [content.as_slice(), &vec![0; arg.ty.size() as usize]].concat();
            bytes[at..at + arg.ty.size() as usize].copy_from_slice(&content[..arg.ty.size() as usize]);
        }
    }
    (layout, bytes)
}

struct Printed {
    text: String,
    json: String,
}

fn print(case: &Case, each: &dyn Fn(&mut dyn Sink, &mut Names<'_>)) -> Printed {
    let mut object = Object { maps: vec![support::stack_map()], ..Object::default() };
    object.session.truncation_trailer = "..".to_owned();
    let mut fake = Fake::default();
    fake.stacks.insert(5, vec![0x105, 0x20, 0x3, 0, 0]);
    let mut text = TextSink::new(Vec::new(), Vec::new(), case.get("terminal").is_some());
    let mut json = JsonSink::new(Vec::new(), Vec::new());
    let escapes = text.escapes(Stream::Out);
    each(&mut text, &mut Names::new(&mut fake, &object, escapes));
    each(&mut json, &mut Names::new(&mut fake, &object, false));
    let show = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Printed { text: show(text.into_inner().0), json: show(json.into_inner().0) }
}

fn print_value(case: &Case, value: &Value<'_>) -> Printed {
    print(case, &|sink, names| sink.value(value, names).unwrap())
}

fn print_format(case: &Case, format: &str) -> Printed {
    let args: Vec<(bool, ValueType, Vec<u8>)> = case
        .lines
        .iter()
        .filter(|(word, _)| word == "arg" || word == "tail")
        .map(|(word, rest)| {
            let (ty, bytes) = rest.split_once('=').expect("TYPE = BYTES");
            (word == "tail", notation::value_type(ty), notation::bytes(bytes))
        })
        .collect();
    let (layout, bytes) = record(&args);
    let values = decode::event(&layout, &bytes);
    let format = notation::format(format);
    print(case, &|sink, names| {
        let mut text = Vec::new();
        printf::render(&mut text, &format, &values, names);
        sink.printf(&text).unwrap();
    })
}

fn print_map(case: &Case, head: &str) -> Printed {
    let (left, value) = head.split_once("->").expect("NAME STORAGE KEY -> VALUE");
    let mut words = left.trim().splitn(3, ' ');
    let name = words.next().unwrap().to_owned();
    let storage = match words.next().unwrap() {
        "hash" => Storage::Hash,
        "percpu" => Storage::PercpuScalar,
        "scalar" => Storage::Scalar,
        other => panic!("no storage {other}"),
    };
    let key = match words.next().map(|k| notation::value_type(&format!("({k})"))) {
        Some(ValueType::Tuple(parts)) => parts.into_iter().map(|f| f.ty).collect(),
        _ => Vec::new(),
    };
    let schema = MapSchema { storage, key, value: notation::value_type(value), order: 0 };
    let rows: Vec<(Vec<u8>, Vec<Vec<u8>>)> = case
        .lines
        .iter()
        .filter(|(word, _)| word == "entry")
        .map(|(_, rest)| {
            let (key, values) = rest.split_once("=>").expect("KEY => VALUE");
            (notation::bytes(key), values.split('|').map(notation::bytes).collect())
        })
        .collect();
    let cpus = rows.iter().map(|(_, v)| v.len()).max().unwrap_or(1);
    let size = rows.iter().flat_map(|(_, v)| v).map(Vec::len).max().unwrap_or(8);
    let key_size = rows.iter().map(|(k, _)| k.len()).max().unwrap_or(4);
    let mut entries = Entries::new(key_size, size, size, cpus);
    for (key, values) in &rows {
        let all: Vec<u8> = values
            .iter()
            .flat_map(|v| v.iter().copied().chain(std::iter::repeat(0)).take(size).collect::<Vec<u8>>())
            .collect();
        entries.push(key, &all);
    }
    let what = Selection {
        top: case.number("top"),
        div: case.number("div"),
        default: case.get("default").is_some(),
    };
    let view = maps::view(&name, &schema, &entries, what);
    print(case, &|sink, names| sink.map(&view, names).unwrap())
}

fn run(case: &Case) -> Printed {
    if let Some(head) = case.get("map") {
        return print_map(case, head);
    }
    if let Some(format) = case.get("format") {
        return print_format(case, format);
    }
    let ty = notation::value_type(case.get("type").expect("type, format or map"));
    match case.get("tail") {
        Some(tail) => {
            let (layout, bytes) = record(&[(true, ty, notation::bytes(tail))]);
            print_value(case, &decode::event(&layout, &bytes)[0])
        }
        None => {
            let bytes = notation::bytes(case.get("bytes").expect("bytes or tail"));
            print_value(case, &decode::value(&ty, &bytes))
        }
    }
}

#[test]
fn fixtures_print_what_they_say() {
    let cases = cases();
    assert!(cases.len() > 30, "only {} cases found", cases.len());
    let mut wrong = Vec::new();
    for (file, case) in &cases {
        let printed = run(case);
        let data = |json: &str| match serde_json::from_str::<serde_json::Value>(json) {
            Ok(_) => json
                .split_once("\"data\": ")
                .and_then(|(_, d)| d.strip_suffix("}\n"))
                .unwrap_or("")
                .to_owned(),
            Err(e) => format!("not JSON: {e}: {json}"),
        };
        let newline = if case.get("type").is_some() { "\n" } else { "" };
        let expected = match (case.get("text"), case.expected.as_slice()) {
            (Some(text), []) => Some(notation::unescape(text) + newline),
            (None, []) => None,
            (None, lines) => Some(lines.iter().map(|l| format!("{l}\n")).collect()),
            (Some(_), _) => panic!("{file}: {}: both text and >", case.title),
        };
        if let Some(expected) = expected.filter(|e| *e != printed.text) {
            wrong.push(format!("{file}: {}\nexpected:\n{expected}\ngot:\n{}", case.title, printed.text));
        }
        let json = if printed.json.is_empty() { String::new() } else { data(&printed.json) };
        if let Some(expected) = case.get("json").filter(|e| *e != json) {
            wrong.push(format!("{file}: {}\nexpected {expected}\n     got {json}", case.title));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}
