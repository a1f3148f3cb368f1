//! Reading a recording: text enters, its head and lines leave, or the first line that is none and why. What is read is
//! hostile: everything is checked, and what refers to nothing is refused when it is used.

use serde_json::Value;
use skep_bpf::backend::{BackendError, BuildIdFrame, Inlined, Symbol, WallTime};
use skep_bpf::{helpers, record};

use super::{Answer, Head, Line, MapUse, Phase, Question, Run, Told, VERSION, base64, hex};

/// Most CPUs that a kernel can be built for (NR_CPUS, arch/x86/Kconfig, Linux 6.18).
const MAX_CPUS: u32 = 8192;

/// A recording.
#[derive(Clone, PartialEq, Debug)]
pub struct Recorded {
    /// Its first line.
    pub head: Head,
    /// The others.
    pub lines: Vec<Line>,
}

/// Reads a recording.
pub fn read(text: &str) -> Result<Recorded, String> {
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let Some((number, first)) = lines.next() else { return Err("it is empty".to_owned()) };
    let head = parse(first).and_then(|value| head(&value)).map_err(|why| format!("line {number}: {why}"))?;
    let lines = lines.map(|(number, text)| {
        parse(text).and_then(|value| line(&value)).map_err(|why| format!("line {number}: {why}"))
    });
    Ok(Recorded { head, lines: lines.collect::<Result<_, _>>()? })
}

fn parse(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| format!("this is no JSON: {e}"))
}

/// What a value should have been.
fn wanted(what: &str, name: &str) -> String {
    format!("`{name}` should be {what}")
}

fn number(value: &Value, name: &str) -> Result<u64, String> {
    value[name].as_u64().ok_or_else(|| wanted("a number", name))
}

fn small(value: &Value, name: &str) -> Result<u32, String> {
    u32::try_from(number(value, name)?).map_err(|_| wanted("a number below 2^32", name))
}

fn text(value: &Value, name: &str) -> Result<String, String> {
    value[name].as_str().map(str::to_owned).ok_or_else(|| wanted("text", name))
}

fn list<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], String> {
    value[name].as_array().map(Vec::as_slice).ok_or_else(|| wanted("a list", name))
}

fn digits(value: &Value, name: &str) -> Result<Vec<u8>, String> {
    value.as_str().and_then(hex::decode).ok_or_else(|| wanted("hexadecimal digits", name))
}

fn numbers(value: &Value, name: &str) -> Result<Vec<u64>, String> {
    let list = value.as_array().ok_or_else(|| wanted("a list", name))?;
    list.iter().map(|n| n.as_u64().ok_or_else(|| wanted("a list of numbers", name))).collect()
}

/// What a program returned: numbers are written with their sign.
fn signed(value: &Value, name: &str) -> Result<u64, String> {
    let number = &value[name];
    let signed = number.as_i64().map(|n| n as u64);
    signed.or_else(|| number.as_u64()).ok_or_else(|| wanted("a number", name))
}

fn address(value: &Value, name: &str) -> Result<u64, String> {
    let digits = value[name].as_str().and_then(|text| text.strip_prefix("0x"));
    let address = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    address.ok_or_else(|| wanted("an address (0x…)", name))
}

fn head(value: &Value) -> Result<Head, String> {
    if value["skep"] != "recording" {
        return Err("this is no recording that `skep trace --record` wrote".to_owned());
    }
    let version = number(value, "version")?;
    if version != VERSION {
        return Err(format!("the recording has version {version}; this skep reads version {VERSION}"));
    }
    let cpus = small(value, "cpus")?;
    if !(1..=MAX_CPUS).contains(&cpus) {
        return Err(wanted("a number of CPUs", "cpus"));
    }
    let options = value["options"].as_object().ok_or_else(|| wanted("an object", "options"))?;
    let option = |(name, values): (&String, &Value)| {
        let values = values.as_array().into_iter().flatten();
        (name.clone(), values.filter_map(|v| v.as_str().map(str::to_owned)).collect())
    };
    let target = value["target"].as_str().and_then(base64::decode);
    Ok(Head {
        kernel: text(value, "kernel")?,
        arch: text(value, "arch")?,
        cpus,
        name: text(value, "name")?,
        text: text(value, "text")?,
        options: options.iter().map(option).collect(),
        target: target.ok_or_else(|| wanted("base64", "target"))?,
    })
}

fn line(value: &Value) -> Result<Line, String> {
    let has = |name: &str| value.get(name).is_some();
    if has("run") {
        return Ok(Line::Run(Box::new(run(value)?)));
    }
    if has("asked") {
        return Ok(Line::Asked(question(value)?, told(value)?));
    }
    if has("map") {
        let how = match value["how"].as_str() {
            Some("read") => MapUse::Read,
            Some("changed") => MapUse::Change,
            _ => return Err(wanted("`read` or `changed`", "how")),
        };
        return Ok(Line::Map { name: text(value, "map")?, how, at: number(value, "at")? });
    }
    if has("table") {
        let packed = value["packed"].as_str().and_then(base64::decode);
        let packed = packed.ok_or_else(|| wanted("base64", "packed"))?;
        return Ok(Line::Table { name: text(value, "table")?, room: small(value, "room")?, packed });
    }
    if !has("phase") {
        return Err("a line has `run`, `asked`, `map`, `table` or `phase`".to_owned());
    }
    let phase = match value["phase"].as_str().unwrap_or("") {
        "start" => Phase::Start { clocks: digits(&value["clocks"], "clocks")? },
        "attached" => {
            Phase::Attached { probes: number(value, "probes")?, said: value["said"].as_bool() == Some(true) }
        }
        "stopped" => Phase::Stopped,
        "detached" => Phase::Detached,
        "ended" => Phase::Ended,
        "closed" => {
            let (lost, incomplete) = (number(value, "lost")?, number(value, "incomplete")?);
            return Ok(Line::Close { lost, incomplete });
        }
        other => return Err(format!("`{other}` is no phase")),
    };
    Ok(Line::Phase { phase, at: number(value, "at")? })
}

fn run(value: &Value) -> Result<Run, String> {
    let pair = |high: &str, low: &str| -> Result<u64, String> {
        Ok(u64::from(small(value, high)?) << 32 | u64::from(small(value, low)?))
    };
    let comm = match &value["comm"] {
        Value::String(text) => text.clone().into_bytes(),
        other => digits(&other[0], "comm")?,
    };
    let mut keys = Vec::new();
    if value.get("keys").is_some() {
        for key in list(value, "keys")? {
            let map = key[0].as_u64().and_then(|n| u32::try_from(n).ok());
            keys.push((map.ok_or_else(|| wanted("a map's number", "keys"))?, digits(&key[1], "keys")?));
        }
    }
    let mut events = Vec::new();
    for event in list(value, "events")? {
        let at = event[0].as_u64().ok_or_else(|| wanted("a count and digits", "events"))?;
        events.push((at, digits(&event[1], "events")?));
    }
    let answers = list(value, "answers")?.iter().map(answer).collect::<Result<_, _>>()?;
    Ok(Run {
        id: number(value, "run")?,
        program: small(value, "program")?,
        probe: text(value, "probe")?,
        cpu: small(value, "cpu")?,
        time: number(value, "time")?,
        process: pair("pid", "tid")?,
        user: pair("gid", "uid")?,
        comm,
        context: digits(&value["context"], "context")?,
        packet: value.get("packet").map(|packet| digits(packet, "packet")).transpose()?,
        answers,
        keys,
        gate: value.get("gate").and_then(Value::as_u64),
        returned: signed(value, "returned")?,
        events,
        end: number(value, "end")?,
        incomplete: false,
    })
}

fn answer(value: &Value) -> Result<Answer, String> {
    let data = || match value.get("data") {
        Some(data) => digits(data, "data"),
        None => Ok(Vec::new()),
    };
    if value.get("kfunc").is_some() {
        let name = text(value, "kfunc")?;
        let number = record::kfunc_number(&name)
            .ok_or_else(|| format!("results of the kernel function `{name}` are not recorded"))?;
        return Ok(Answer::Kfunc { number, returned: signed(value, "returned")? });
    }
    if value.get("memory").is_some() {
        return Ok(Answer::Memory { address: address(value, "memory")?, data: data()? });
    }
    let name = text(value, "helper")?;
    let id = helpers::by_name(&name).map(|h| h.id).or_else(|| name.parse().ok());
    Ok(Answer::Helper {
        id: id.ok_or_else(|| format!("there is no helper `{name}`"))?,
        address: if value.get("at").is_some() { address(value, "at")? } else { 0 },
        returned: signed(value, "returned")?,
        data: data()?,
    })
}

fn question(value: &Value) -> Result<Question, String> {
    let name = text(value, "asked")?;
    let of = list(value, "of")?;
    let bad = || format!("`of` does not fit the question `{name}`");
    let item = |i: usize| of.get(i).unwrap_or(&Value::Null);
    let long = |i: usize| item(i).as_u64().ok_or_else(bad);
    let short = |i: usize| long(i).and_then(|n| u32::try_from(n).map_err(|_| bad()));
    let word = |i: usize| item(i).as_str().map(str::to_owned).ok_or_else(bad);
    Ok(match name.as_str() {
        "kernel_symbol" => Question::KernelSymbol(long(0)?),
        "user_symbols" => Question::UserSymbols(short(0)?, numbers(item(1), "of")?),
        "build_ids" => Question::BuildIds(short(0)?, numbers(item(1), "of")?),
        "stack" => Question::Stack(word(0)?, item(1).as_i64().ok_or_else(bad)?),
        "user_name" => Question::UserName(short(0)?),
        "cgroup_paths" => Question::CgroupPaths(long(0)?),
        "wall_time" => Question::WallTime(u8::try_from(long(0)?).map_err(|_| bad())?, long(1)?),
        "now" => Question::Now,
        "file" => Question::File(word(0)?),
        "command" => Question::Command(word(0)?),
        "misses" => Question::Misses,
        "losses" => Question::Losses,
        _ => return Err(format!("`{name}` is no question")),
    })
}

fn told(value: &Value) -> Result<Told, String> {
    if value.get("symbols").is_some() {
        return Ok(Told::Symbols(list(value, "symbols")?.iter().map(symbol).collect::<Result<_, _>>()?));
    }
    if value.get("build_ids").is_some() {
        let frame = |f: &Value| -> Result<BuildIdFrame, String> {
            let offset = f[1].as_u64().ok_or_else(|| wanted("digits and an offset", "build_ids"))?;
            Ok(BuildIdFrame { build_id: digits(&f[0], "build_ids")?, offset })
        };
        return Ok(Told::BuildIds(list(value, "build_ids")?.iter().map(frame).collect::<Result<_, _>>()?));
    }
    if let Some(list) = value.get("numbers") {
        return Ok(Told::Numbers(numbers(list, "numbers")?));
    }
    if let Some(name) = value.get("name") {
        return Ok(Told::Name(name.as_str().map(str::to_owned)));
    }
    if value.get("pairs").is_some() {
        let pair = |p: &Value| Some((p[0].as_str()?.to_owned(), p[1].as_str()?.to_owned()));
        let pairs: Option<Vec<_>> = list(value, "pairs")?.iter().map(pair).collect();
        return pairs.map(Told::Pairs).ok_or_else(|| wanted("pairs of texts", "pairs"));
    }
    if let Some(time) = value.get("time") {
        let parsed = (|| {
            Some(WallTime {
                secs: time[0].as_i64()?,
                nanos: u32::try_from(time[1].as_u64()?).ok()?,
                utc_offset: i32::try_from(time[2].as_i64()?).ok()?,
                zone: time[3].as_str()?.to_owned(),
            })
        })();
        return parsed.map(Told::Time).ok_or_else(|| wanted("seconds, nanoseconds, offset, zone", "time"));
    }
    if let Some(bytes) = value.get("bytes") {
        return Ok(Told::Bytes(digits(bytes, "bytes")?));
    }
    failed(&value["failed"]).map(Told::Failed).ok_or_else(|| "a question has no answer".to_owned())
}

fn failed(value: &Value) -> Option<BackendError> {
    let why = |i: usize| value[i].as_str().map(str::to_owned);
    match (&value[0], &value[1]) {
        (Value::String(operation), Value::Number(errno)) => Some(BackendError::Os {
            operation: operation.clone(),
            errno: i32::try_from(errno.as_i64()?).ok()?,
        }),
        (Value::Number(map), Value::String(_)) => {
            Some(BackendError::Map { map: usize::try_from(map.as_u64()?).ok()?, why: why(1)? })
        }
        _ => Some(BackendError::Unsupported(why(0)?)),
    }
}

fn symbol(value: &Value) -> Result<Symbol, String> {
    let source = |v: &Value| {
        let line = v[1].as_u64().and_then(|n| u32::try_from(n).ok())?;
        Some((v[0].as_str()?.to_owned(), line))
    };
    let inlined = value[4].as_array().into_iter().flatten().map(|i| {
        let name = i[0].as_str().ok_or_else(|| wanted("names", "symbols"))?;
        Ok(Inlined { name: name.to_owned(), source: source(&i[1]) })
    });
    Ok(Symbol {
        name: value[0].as_str().map(str::to_owned),
        offset: value[1].as_u64().ok_or_else(|| wanted("symbols", "symbols"))?,
        module: value[2].as_str().unwrap_or_default().to_owned(),
        source: source(&value[3]),
        inlined: inlined.collect::<Result<_, String>>()?,
    })
}
