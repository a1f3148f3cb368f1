//! A recording's lines as JSON.

use serde_json::{Map, Value, json};
use skep_bpf::backend::{BackendError, Symbol};
use skep_bpf::{helpers, record};

use super::{Answer, Head, Line, MapUse, Phase, Question, Run, Told, VERSION, hex};

/// The first line.
pub(super) fn head(head: &Head) -> Value {
    let options: Map<String, Value> =
        head.options.iter().map(|(name, values)| (name.clone(), json!(values))).collect();
    json!({
        "skep": "recording",
        "version": VERSION,
        "kernel": head.kernel,
        "arch": head.arch,
        "cpus": head.cpus,
        "name": head.name,
        "text": head.text,
        "options": options,
        "target": super::base64::encode(&head.target),
    })
}

/// Another line.
pub(super) fn line(line: &Line) -> Value {
    match line {
        Line::Run(run) => self::run(run),
        Line::Asked(question, told) => asked(question, told),
        Line::Map { name, how, at } => {
            let how = match how {
                MapUse::Read => "read",
                MapUse::Change => "changed",
            };
            json!({ "map": name, "how": how, "at": at })
        }
        Line::Table { name, room, packed } => {
            json!({ "table": name, "room": room, "packed": super::base64::encode(packed) })
        }
        Line::Phase { phase, at } => match phase {
            Phase::Start { clocks } => json!({ "phase": "start", "at": at, "clocks": hex::encode(clocks) }),
            Phase::Attached { probes, said } => {
                json!({ "phase": "attached", "at": at, "probes": probes, "said": said })
            }
            Phase::Stopped => json!({ "phase": "stopped", "at": at }),
            Phase::Detached => json!({ "phase": "detached", "at": at }),
            Phase::Ended => json!({ "phase": "ended", "at": at }),
        },
        Line::Close { lost, incomplete } => {
            json!({ "phase": "closed", "lost": lost, "incomplete": incomplete })
        }
    }
}

fn run(run: &Run) -> Value {
    let keys: Vec<Value> = run.keys.iter().map(|(map, key)| json!([map, hex::encode(key)])).collect();
    let events: Vec<Value> = run.events.iter().map(|(at, event)| json!([at, hex::encode(event)])).collect();
    let mut value = json!({
        "run": run.id,
        "probe": run.probe,
        "program": run.program,
        "cpu": run.cpu,
        "time": run.time,
        "pid": run.process >> 32,
        "tid": run.process as u32,
        "uid": run.user as u32,
        "gid": run.user >> 32,
        "comm": bytes(&run.comm),
        "context": hex::encode(&run.context),
        "answers": run.answers.iter().map(answer).collect::<Vec<_>>(),
        "returned": run.returned as i64,
        "events": events,
        "end": run.end,
    });
    if let Some(object) = value.as_object_mut() {
        if !keys.is_empty() {
            object.insert("keys".to_owned(), keys.into());
        }
        if let Some(packet) = &run.packet {
            object.insert("packet".to_owned(), hex::encode(packet).into());
        }
        if let Some(gate) = run.gate {
            object.insert("gate".to_owned(), gate.into());
        }
    }
    value
}

/// Text where it is text, else its digits in a list.
fn bytes(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!([hex::encode(bytes)]),
    }
}

fn answer(answer: &Answer) -> Value {
    match answer {
        Answer::Helper { id, address, returned, data } => {
            let mut object = Map::new();
            let name = helpers::by_id(*id).map_or_else(|| id.to_string(), |h| h.name.to_owned());
            object.insert("helper".to_owned(), name.into());
            if *address != 0 {
                object.insert("at".to_owned(), format!("{address:#x}").into());
            }
            object.insert("returned".to_owned(), (*returned as i64).into());
            if !data.is_empty() {
                object.insert("data".to_owned(), hex::encode(data).into());
            }
            object.into()
        }
        Answer::Kfunc { number, returned } => {
            json!({ "kfunc": record::kfunc_name(*number).unwrap_or("?"), "returned": *returned as i64 })
        }
        Answer::Memory { address, data } => {
            json!({ "memory": format!("{address:#x}"), "data": hex::encode(data) })
        }
    }
}

fn asked(question: &Question, told: &Told) -> Value {
    let (name, of) = match question {
        Question::KernelSymbol(address) => ("kernel_symbol", json!([address])),
        Question::UserSymbols(pid, addresses) => ("user_symbols", json!([pid, addresses])),
        Question::BuildIds(pid, addresses) => ("build_ids", json!([pid, addresses])),
        Question::Stack(map, id) => ("stack", json!([map, id])),
        Question::UserName(uid) => ("user_name", json!([uid])),
        Question::CgroupPaths(id) => ("cgroup_paths", json!([id])),
        Question::WallTime(clock, ns) => ("wall_time", json!([clock, ns])),
        Question::Now => ("now", json!([])),
        Question::File(path) => ("file", json!([path])),
        Question::Command(command) => ("command", json!([command])),
        Question::Misses => ("misses", json!([])),
        Question::Losses => ("losses", json!([])),
    };
    let (form, answer) = self::told(told);
    json!({ "asked": name, "of": of, form: answer })
}

fn told(told: &Told) -> (&'static str, Value) {
    match told {
        Told::Symbols(symbols) => ("symbols", symbols.iter().map(symbol).collect::<Vec<_>>().into()),
        Told::BuildIds(frames) => {
            let frames = frames.iter().map(|f| json!([hex::encode(&f.build_id), f.offset]));
            ("build_ids", frames.collect::<Vec<_>>().into())
        }
        Told::Numbers(numbers) => ("numbers", json!(numbers)),
        Told::Name(name) => ("name", json!(name)),
        Told::Pairs(pairs) => ("pairs", json!(pairs)),
        Told::Time(t) => ("time", json!([t.secs, t.nanos, t.utc_offset, t.zone])),
        Told::Bytes(bytes) => ("bytes", hex::encode(bytes).into()),
        Told::Failed(BackendError::Os { operation, errno }) => ("failed", json!([operation, errno])),
        Told::Failed(BackendError::Map { map, why }) => ("failed", json!([map, why])),
        Told::Failed(BackendError::Unsupported(why)) => ("failed", json!([why])),
    }
}

fn symbol(symbol: &Symbol) -> Value {
    let inlined: Vec<Value> = symbol.inlined.iter().map(|i| json!([i.name, i.source])).collect();
    json!([symbol.name, symbol.offset, symbol.module, symbol.source, inlined])
}
