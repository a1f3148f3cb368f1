//! Acting on events: a record enters, and what its program asked for is done.

use std::io;

use skep_bpf::backend::{Backend, BackendError};
use skep_bpf::event::{Action, EventLayout, Spot, Stream};
use skep_bpf::format::Format;
use skep_bpf::object::{MapSchema, Object, Storage};
use skep_bpf::schema::{Agg, Clock, ValueType};

use crate::decode;
use crate::maps::{self, Selection};
use crate::render::escape::{self, Keep};
use crate::render::{Names, errno, printf};
use crate::session::Session;
use crate::sink::{Message, MessageKind, Place, Severity, Sink};
use crate::strftime::{Dialect, strftime};
use crate::value::Value;

/// Does what `record` asks for. Records that hold nothing known are counted and skipped.
pub(crate) fn act<S: Sink>(
    session: &mut Session<'_, S>,
    backend: &mut dyn Backend,
    record: &[u8],
) -> io::Result<()> {
    let object = session.object;
    let layout = decode::event_number(record).and_then(|number| object.events.get(number));
    let Some(layout) = layout.filter(|layout| record.len() >= layout.head as usize) else {
        session.outcome.damaged += 1;
        return Ok(());
    };
    if let Action::Printf { format, stream: Stream::Out } = &layout.action {
        let mut text = std::mem::take(&mut session.text);
        text.clear();
        let mut names = Names::new(backend, object, session.sink.escapes(Stream::Out));
        printf::render_with(&mut text, format, &mut decode::arguments(layout, record), &mut names);
        let printed = session.sink.printf(&text);
        session.text = text;
        return printed;
    }
    let args = decode::event(layout, record);
    match &layout.action {
        Action::Printf { format, stream } => {
            let severity = if *stream == Stream::Error { Severity::Error } else { Severity::Warning };
            let text = rendered(session, backend, format, *stream, &args);
            message(session, layout, MessageKind::Program, severity, &text)
        }
        Action::Print | Action::PrintMapEntry { .. } => {
            let value = args.last().unwrap_or(&Value::None);
            let mut names = Names::new(backend, object, session.sink.escapes(Stream::Out));
            session.sink.value(value, &mut names)
        }
        Action::PrintMap { map } => {
            let what = Selection { top: number(&args, 0), div: number(&args, 1), default: true };
            session.print_map(backend, *map, what)
        }
        Action::Clear { map } => clear(session, backend, *map),
        Action::Zero { map } => zero(session, backend, *map),
        Action::Time { format } => {
            let text = strftime(format, &backend.now(), Dialect::Posix);
            session.sink.time(text.as_bytes())
        }
        Action::Join { delimiter } => {
            let text = joined(session, delimiter, &args);
            session.sink.join(&text)
        }
        Action::System { format } => system(session, backend, format, &args),
        Action::Cat { format } => cat(session, backend, format, &args),
        Action::Exit => {
            session.outcome.exit_code = number(&args, 0) as i32;
            match number(&args, 1) {
                0 => session.exiting = true,
                _ => session.leaving = true,
            }
            Ok(())
        }
        Action::SavePacket { path, offset } => {
            let packet = record.get(layout.head as usize..).unwrap_or(&[]);
            save_packet(session, backend, path, &args, packet, *offset)
        }
        Action::Unwatch => match backend.unwatch(number(&args, 0)) {
            Ok(0) => {
                let text = format!("unwatch({:#x}): nothing watches this address", number(&args, 0));
                session.sink.notice(Severity::Warning, &text)
            }
            Ok(_) => Ok(()),
            Err(e) => session.sink.notice(Severity::Error, &format!("unwatch: {e}")),
        },
        Action::RuntimeError { message: text } => {
            message(session, layout, MessageKind::Runtime, Severity::Warning, text.as_bytes())
        }
        Action::HelperError { helper } => {
            let result = number(&args, 0) as i64;
            let text = match session.sink.explains() {
                true => helper_failed(helper, result),
                false => errno::text(i32::try_from(result.saturating_neg()).unwrap_or(0)),
            };
            message(session, layout, MessageKind::Helper(helper, result), Severity::Warning, text.as_bytes())
        }
    }
}

/// E2BIG and ENOENT (include/uapi/asm-generic/errno-base.h, Linux 6.18), as helpers return them.
const FULL: i64 = -7;
const MISSING: i64 = -2;

/// What the failure of a helper means, in the words of the reference.
fn helper_failed(helper: &str, result: i64) -> String {
    match (helper, result) {
        ("map_update_elem", FULL) => {
            "Map full; can't update element. Try increasing max_map_keys config or manually setting the max entries \
             in a map declaration e.g. `let @a = hash(5000)`"
        }
        ("map_delete_elem", MISSING) => "Can't delete map element because it does not exist.",
        ("map_lookup_elem", _) => "Can't lookup map element because it does not exist.",
        _ => return errno::text(i32::try_from(result.saturating_neg()).unwrap_or(0)),
    }
    .to_owned()
}

/// Argument `index` as a number; zero when there is none.
fn number(args: &[Value<'_>], index: usize) -> u64 {
    args.get(index).and_then(Value::bits).unwrap_or(0)
}

fn rendered<S: Sink>(
    session: &Session<'_, S>,
    backend: &mut dyn Backend,
    format: &Format,
    stream: Stream,
    args: &[Value<'_>],
) -> Vec<u8> {
    let mut text = Vec::new();
    let mut names = Names::new(backend, session.object, session.sink.escapes(stream));
    printf::render(&mut text, format, args, &mut names);
    text
}

/// A file name or a command: strings go in as they are.
fn rendered_raw(backend: &mut dyn Backend, object: &Object, format: &Format, args: &[Value<'_>]) -> String {
    let mut text = Vec::new();
    printf::render(&mut text, format, args, &mut Names::new(backend, object, false));
    String::from_utf8_lossy(&text).into_owned()
}

fn message<S: Sink>(
    session: &mut Session<'_, S>,
    layout: &EventLayout,
    kind: MessageKind<'_>,
    severity: Severity,
    text: &[u8],
) -> io::Result<()> {
    if severity == Severity::Error && kind == MessageKind::Program {
        session.outcome.errors += 1;
    }
    if severity == Severity::Warning && !session.options.warnings {
        return Ok(());
    }
    say(session, (layout.file.as_deref(), layout.line, layout.columns), kind, severity, text)?;
    for Spot { file, line, columns } in &layout.uses {
        say(session, (file.as_deref(), *line, *columns), MessageKind::Expansion, severity, b"expanded from")?;
    }
    Ok(())
}

/// Where a message is about: file (`None`: the script), line, columns.
type Where<'a> = (Option<&'a str>, u32, Option<(u32, u32)>);

fn say<S: Sink>(
    session: &mut Session<'_, S>,
    (file, line, columns): Where<'_>,
    kind: MessageKind<'_>,
    severity: Severity,
    text: &[u8],
) -> io::Result<()> {
    // What the program says itself needs no line of it.
    let shown = kind != MessageKind::Program && file.is_none();
    let file = file.unwrap_or(&session.options.source_name);
    let place = Place { file, line, columns };
    let index = line.saturating_sub(1) as usize;
    if shown && session.lines.is_empty() {
        let text = &session.options.source_text;
        let starts = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        session.lines = std::iter::once(0).chain(starts).collect();
    }
    let start =
        session.lines.get(index).copied().filter(|_| shown && !session.options.source_text.is_empty());
    let context = start.and_then(|start| session.options.source_text.get(start..)?.lines().next());
    session.sink.message(&Message { kind, severity, place, text, context })
}

/// The strings up to the first empty one.
fn joined<S: Sink>(session: &Session<'_, S>, delimiter: &str, args: &[Value<'_>]) -> Vec<u8> {
    let mut text = Vec::new();
    let strings = args.iter().map_while(|arg| match arg {
        Value::Str { bytes, .. } if !bytes.is_empty() => Some(*bytes),
        _ => None,
    });
    for (i, bytes) in strings.enumerate() {
        if i > 0 {
            text.extend_from_slice(delimiter.as_bytes());
        }
        if session.sink.escapes(Stream::Out) {
            escape::printable(&mut text, bytes, Keep::Nothing);
        } else {
            text.extend_from_slice(bytes);
        }
    }
    text
}

fn system<S: Sink>(
    session: &mut Session<'_, S>,
    backend: &mut dyn Backend,
    format: &Format,
    args: &[Value<'_>],
) -> io::Result<()> {
    if !session.options.allow_system {
        let text = "system() runs commands, which needs --unsafe; nothing was run";
        return session.sink.notice(Severity::Error, text);
    }
    if session.ending {
        session.outcome.dropped += 1;
        return Ok(());
    }
    session.ran_command = true;
    let command = rendered_raw(backend, session.object, format, args);
    session.sink.flush()?; // what the command prints itself comes after what was printed before
    match backend.run_command(&command, session.options.command_bytes) {
        Ok(output) => session.sink.command(&output),
        Err(e) => session.sink.notice(Severity::Error, &format!("system({command:?}): {e}")),
    }
}

fn cat<S: Sink>(
    session: &mut Session<'_, S>,
    backend: &mut dyn Backend,
    format: &Format,
    args: &[Value<'_>],
) -> io::Result<()> {
    let path = rendered_raw(backend, session.object, format, args);
    let limit = match usize::try_from(session.object.session.cat_bytes) {
        Ok(0) | Err(_) => session.options.cat_bytes,
        Ok(limit) => limit,
    };
    match backend.read_file(&path, limit) {
        Ok(contents) => session.sink.cat(&contents),
        Err(BackendError::Os { errno, .. }) => {
            let why = errno::text(errno);
            session.sink.notice(Severity::Error, &format!("failed to open file '{path}' ({why})"))
        }
        Err(e) => session.sink.notice(Severity::Error, &format!("failed to open file '{path}' ({e})")),
    }
}

/// Hands on the packet behind a record's head, whose time and length `args` are, without its first `offset` bytes. One that
/// has no more is not worth a word, as in the reference.
fn save_packet<S: Sink>(
    session: &mut Session<'_, S>,
    backend: &mut dyn Backend,
    path: &str,
    args: &[Value<'_>],
    packet: &[u8],
    offset: u64,
) -> io::Result<()> {
    let length = usize::try_from(number(args, 1)).unwrap_or(usize::MAX);
    let packet = packet.get(..length).unwrap_or(packet);
    let packet = usize::try_from(offset).ok().and_then(|offset| packet.get(offset..)).unwrap_or(&[]);
    let Some(packets) = session.packets.as_mut().filter(|_| !packet.is_empty()) else { return Ok(()) };
    let time = backend.wall_time(Clock::Boot, number(args, 0));
    let nanos = u64::try_from(time.secs).unwrap_or(0).saturating_mul(1_000_000_000);
    match packets.save(path, nanos.saturating_add(u64::from(time.nanos)), packet) {
        Ok(()) => Ok(()),
        Err(error) => {
            session.sink.notice(Severity::Error, &format!("cannot write packets to '{path}': {error}"))
        }
    }
}

fn clear<S: Sink>(session: &mut Session<'_, S>, backend: &mut dyn Backend, map: usize) -> io::Result<()> {
    if let Some(zeroed) = session.zeroed.get_mut(map) {
        *zeroed = false;
    }
    let cleared = backend.map_clear(map);
    failed(session, "clear", map, cleared)
}

fn zero<S: Sink>(session: &mut Session<'_, S>, backend: &mut dyn Backend, map: usize) -> io::Result<()> {
    let spec = session.object.maps.get(map);
    let schema = spec.and_then(|spec| spec.schema.as_ref());
    let done = match schema {
        Some(schema) if schema.storage != Storage::Hash => zero_scalar(session, backend, map, schema),
        _ => backend.map_zero(map),
    };
    failed(session, "zero", map, done)
}

/// Zero, but written, if it was written before.
fn zero_scalar<S: Sink>(
    session: &mut Session<'_, S>,
    backend: &mut dyn Backend,
    map: usize,
    schema: &MapSchema,
) -> Result<(), BackendError> {
    let entries = backend.map_entries(map)?;
    if !maps::is_written(schema, &entries) {
        return Ok(());
    }
    if matches!(schema.value, ValueType::Agg(Agg::Hist { .. } | Agg::LHist { .. } | Agg::TSeries { .. })) {
        if let Some(zeroed) = session.zeroed.get_mut(map) {
            *zeroed = true;
        }
        return backend.map_zero(map);
    }
    let size = session.object.maps.get(map).map_or(0, |spec| spec.value_size as usize);
    backend.map_update(map, &0u32.to_ne_bytes(), &maps::zero_but_written(schema, size))
}

fn failed<S: Sink>(
    session: &mut Session<'_, S>,
    what: &str,
    map: usize,
    result: Result<(), BackendError>,
) -> io::Result<()> {
    let name = session.object.maps.get(map).map_or("?", |spec| spec.name.as_str());
    match result {
        Ok(()) => Ok(()),
        Err(e) => session.sink.notice(Severity::Error, &format!("{what}({name}): {e}")),
    }
}
