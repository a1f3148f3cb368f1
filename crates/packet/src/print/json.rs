//! A packet as one JSON object: its time, its lengths, and the fields of its layers as the packet model's table names them.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};
use skep_compiler::layers::{FieldKind, Place, Stop, Value, decode};

use super::link;
use super::text::Mac;
use super::{Direction, Shown};

/// Adds the object and the end of its line.
pub(super) fn object(packet: &Shown<'_>, out: &mut String) {
    let mut all = Map::new();
    let (seconds, nanos) = (packet.time / 1_000_000_000, packet.time % 1_000_000_000);
    all.insert("time".to_owned(), format!("{seconds}.{nanos:09}").into());
    if !packet.interface.is_empty() {
        all.insert("interface".to_owned(), packet.interface.into());
    }
    if let Some(direction) = packet.direction {
        all.insert("direction".to_owned(), if direction == Direction::In { "in" } else { "out" }.into());
    }
    if !packet.process.is_empty() {
        all.insert("process".to_owned(), packet.process.into());
    }
    if let Some(comment) = packet.comment {
        all.insert("comment".to_owned(), comment.into());
    }
    all.insert("length".to_owned(), packet.len.into());
    all.insert("captured".to_owned(), packet.data.len().into());
    match link::type_of(packet.link) {
        None => {
            all.insert("link_type".to_owned(), packet.link.into());
        }
        Some(link) => {
            let decoded = decode(link, packet.data);
            let layers: Vec<Json> = decoded.layers.iter().map(|place| layer(*place, packet.data)).collect();
            all.insert("layers".to_owned(), layers.into());
            all.insert("payload".to_owned(), packet.data.len().saturating_sub(decoded.payload).into());
            if let Stop::Truncated(layer) | Stop::Damaged(layer) = decoded.stop {
                let cut = matches!(decoded.stop, Stop::Truncated(_));
                let key = if cut { "truncated" } else { "damaged" };
                all.insert(key.to_owned(), layer.row().name.into());
            }
        }
    }
    // JSON leaves these as they are; a terminal would act on them.
    for c in Json::Object(all).to_string().chars() {
        match c {
            '\u{7f}'..='\u{9f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('\n');
}

fn layer(place: Place, data: &[u8]) -> Json {
    let row = place.layer.row();
    let bytes = data.get(place.start..place.end).unwrap_or_default();
    let mut all = Map::new();
    all.insert("layer".to_owned(), row.name.into());
    for field in row.fields {
        let Some(value) = field.value(bytes) else { continue };
        // ARP's addresses may be of other kinds than the table's.
        if row.name == "arp" && field.kind != FieldKind::Number && bytes.get(4..6) != Some(&[6, 4]) {
            continue;
        }
        all.insert(field.name.to_owned(), of(value));
    }
    Json::Object(all)
}

fn of(value: Value<'_>) -> Json {
    match value {
        Value::Number(number) => number.into(),
        Value::Flag(set) => set.into(),
        Value::Mac(mac) => Mac(&mac).to_string().into(),
        Value::Ip4(address) => address.to_string().into(),
        Value::Ip6(address) => address.to_string().into(),
        Value::Bytes(bytes) => json!(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    }
}
