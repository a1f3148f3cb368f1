//! Arbitrary bytes under arbitrary types, layouts and maps: nothing panics, and output stays bounded and valid.

#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use proptest::prelude::*;
use skep_bpf::backend::Entries;
use skep_bpf::event::{Action, EventArg, EventLayout, Stream};
use skep_bpf::format::{Conv, ConvKind, Piece};
use skep_bpf::object::{MapSchema, Object, Storage};
use skep_bpf::schema::{Agg, Clock, Field, StackFormat, StackMode, ValueType};
use skep_runtime::maps::{self, Selection};
use skep_runtime::render::{Names, printf};
use skep_runtime::session::{Options, Session};
use skep_runtime::sink::{JsonSink, Sink, TextSink};
use skep_runtime::{decode, strftime};
use support::{Fake, stack_map};

fn small_or_any() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0u32..40, 1 => any::<u32>()]
}

fn stack() -> impl Strategy<Value = StackFormat> {
    let mode = prop_oneof![
        Just(StackMode::Bpftrace),
        Just(StackMode::Perf),
        Just(StackMode::Raw),
        Just(StackMode::BuildId)
    ];
    (small_or_any(), mode).prop_map(|(limit, mode)| StackFormat { limit, mode })
}

fn agg() -> impl Strategy<Value = Agg> {
    prop_oneof![
        Just(Agg::Count),
        any::<bool>().prop_map(|signed| Agg::Sum { signed }),
        any::<bool>().prop_map(|signed| Agg::Min { signed }),
        any::<bool>().prop_map(|signed| Agg::Max { signed }),
        any::<bool>().prop_map(|signed| Agg::Avg { signed }),
        any::<bool>().prop_map(|signed| Agg::Stats { signed }),
        any::<u8>().prop_map(|bits| Agg::Hist { bits }),
        (0u8..6).prop_map(|bits| Agg::Hist { bits }),
        (any::<i64>(), any::<i64>(), any::<i64>()).prop_map(|(min, max, step)| Agg::LHist { min, max, step }),
        (0i64..9, 0i64..99, -1i64..9).prop_map(|(min, max, step)| Agg::LHist { min, max, step }),
    ]
}

fn value_type() -> impl Strategy<Value = ValueType> {
    let size = || prop_oneof![9 => prop::sample::select(vec![1u8, 2, 4, 8]), 1 => any::<u8>()];
    let leaf = prop_oneof![
        Just(ValueType::None),
        (size(), any::<bool>()).prop_map(|(size, signed)| ValueType::Int { size, signed }),
        (size(), any::<bool>()).prop_map(|(size, signed)| ValueType::Enum {
            size,
            signed,
            names: vec![(0, "ZERO".to_owned()), (-1, "MINUS".to_owned())]
        }),
        Just(ValueType::Bool),
        Just(ValueType::Pointer),
        small_or_any().prop_map(|size| ValueType::Str { size }),
        small_or_any().prop_map(|size| ValueType::Buf { size }),
        stack().prop_map(ValueType::KStack),
        stack().prop_map(ValueType::UStack),
        prop::sample::select(vec![
            ValueType::KSym,
            ValueType::USym,
            ValueType::Inet,
            ValueType::Mac,
            ValueType::Username,
            ValueType::CgroupPath { filter: String::new() },
            ValueType::StrError,
            ValueType::Signal
        ]),
        "[%a-zA-Z0-9_]{0,6}".prop_map(|format| ValueType::Timestamp { format, clock: Clock::Boot }),
        agg().prop_map(ValueType::Agg),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let bits = prop::option::weighted(0.2, (any::<u8>(), any::<u8>()));
        let field = (small_or_any(), inner.clone(), bits).prop_map(|(offset, ty, bits)| Field {
            name: "f".to_owned(),
            offset,
            ty,
            bits,
        });
        let fields = prop::collection::vec(field, 0..4).boxed();
        prop_oneof![
            (inner.clone(), small_or_any())
                .prop_map(|(elem, count)| ValueType::Array { elem: Box::new(elem), count }),
            prop::collection::vec(inner, 0..4).prop_map(ValueType::tuple),
            fields.clone().prop_map(ValueType::Tuple),
            (small_or_any(), fields).prop_map(|(size, fields)| ValueType::Record { size, fields }),
        ]
    })
}

fn conv() -> impl Strategy<Value = Conv> {
    let kind = prop::sample::select(vec![
        ConvKind::Signed,
        ConvKind::Unsigned,
        ConvKind::HexLower,
        ConvKind::HexUpper,
        ConvKind::Octal,
        ConvKind::Char,
        ConvKind::Pointer,
        ConvKind::String,
        ConvKind::Buf,
        ConvKind::BufHex,
        ConvKind::BufHexBlank,
    ]);
    let length = prop::sample::select(vec!["", "hh", "h", "l", "ll", "hhh"]);
    (any::<[bool; 5]>(), prop::option::of(small_or_any()), length, kind).prop_map(
        |(f, width, length, kind)| {
            let [left, plus, space, alt, zero] = f;
            Conv { left, plus, space, alt, zero, width, length: length.to_owned(), kind, ..Conv::default() }
        },
    )
}

fn layout() -> impl Strategy<Value = EventLayout> {
    let arg = (small_or_any(), value_type(), any::<bool>()).prop_map(|(offset, ty, tail)| EventArg {
        offset,
        ty,
        tail,
    });
    (prop::collection::vec(arg, 0..4), small_or_any()).prop_map(|(args, head)| EventLayout {
        action: Action::Print,
        args,
        head,
        line: 1,
        file: None,
        columns: None,
        uses: Vec::new(),
    })
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..96),
        prop::collection::vec(prop::sample::select(vec![0u8, 1, 2, 8, 10, 16, 27, 255]), 0..96)
    ]
}

/// Prints with both sinks; JSON must be JSON and text for a terminal must hold no control characters but newlines
/// and tabs.
fn both(each: &dyn Fn(&mut dyn Sink, &mut Names<'_>)) -> Result<(), TestCaseError> {
    let object = Object { maps: vec![stack_map()], ..Object::default() };
    let mut fake = Fake::default();
    let mut text = TextSink::new(Vec::new(), Vec::new(), true);
    let mut json = JsonSink::new(Vec::new(), Vec::new());
    each(&mut text, &mut Names::new(&mut fake, &object, true));
    each(&mut json, &mut Names::new(&mut fake, &object, false));
    let shown = text.into_inner().0;
    prop_assert!(shown.iter().all(|b| *b >= 0x20 || b"\n\t".contains(b)));
    for line in json.into_inner().0.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
        prop_assert!(serde_json::from_slice::<serde_json::Value>(line).is_ok());
        prop_assert!(!String::from_utf8_lossy(line).contains(char::is_control));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values(ty in value_type(), bytes in bytes()) {
        let value = decode::value(&ty, &bytes);
        both(&|sink, names| sink.value(&value, names).unwrap())?;
    }

    #[test]
    fn records(layout in layout(), bytes in bytes(), conv in conv()) {
        let values = decode::event(&layout, &bytes);
        prop_assert_eq!(values.len(), layout.args.len());
        let format: Vec<Piece> = values.iter().map(|_| Piece::Conv(conv.clone())).collect();
        both(&|sink, names| {
            let mut text = Vec::new();
            printf::render(&mut text, &format, &values, names);
            // A single byte of %c may be the half of a character, and is sent as it is.
            if conv.kind != ConvKind::Char { sink.printf(&text).unwrap(); }
        })?;
    }

    #[test]
    fn map_views(
        key in prop::collection::vec(value_type(), 0..3),
        value in value_type(),
        storage in prop::sample::select(vec![Storage::Hash, Storage::PercpuScalar, Storage::Scalar]),
        sizes in (0usize..40, 0usize..40, 0usize..40, 0usize..4),
        rows in prop::collection::vec((bytes(), bytes()), 0..6),
        what in (any::<u64>(), any::<u64>(), any::<bool>()),
    ) {
        let (key_size, value_size, stride, cpus) = sizes;
        let mut entries = Entries::new(key_size, value_size, stride, cpus);
        rows.iter().for_each(|(k, v)| entries.push(k, v));
        let schema = MapSchema { storage, key, value, order: 0 };
        let (top, div, default) = what;
        let view = maps::view("@", &schema, &entries, Selection { top, div, default });
        maps::is_written(&schema, &entries);
        maps::zero_but_written(&schema, value_size);
        both(&|sink, names| sink.map(&view, names).unwrap())?;
    }

    #[test]
    fn sessions(layouts in prop::collection::vec(layout(), 0..4), records in prop::collection::vec(bytes(), 0..8)) {
        let mut object = Object { events: layouts, ..Object::default() };
        for (i, layout) in object.events.iter_mut().enumerate() {
            layout.action = match i {
                0 => Action::Printf { format: vec![Piece::Conv(Conv::default())], stream: Stream::Error },
                1 => Action::PrintMap { map: 7 },
                2 => Action::Join { delimiter: " ".to_owned() },
                _ => Action::Exit,
            };
        }
        let mut fake = Fake::default();
        let mut n = 0u32;
        fake.records.extend(records.into_iter().map(|mut r| {
            n += 1;
            if let Some(number) = r.get_mut(..4) { number.copy_from_slice(&(n % 5).to_ne_bytes()); }
            r
        }));
        let sent = fake.records.len() as u64;
        let mut session = Session::new(&object, TextSink::new(Vec::new(), Vec::new(), true), Options::default());
        session.pump(&mut fake, &|| true).unwrap();
        session.settle(&mut fake).unwrap();
        let outcome = session.finish(&mut fake).unwrap();
        prop_assert_eq!(outcome.records, sent);
    }

    #[test]
    fn times(format in "\\PC{0,20}", secs in any::<i64>(), nanos in any::<u32>(), offset in any::<i32>()) {
        let at = skep_bpf::backend::WallTime { secs, nanos, utc_offset: offset, zone: "Z".to_owned() };
        strftime::strftime(&format, &at, strftime::Dialect::Fractions);
        strftime::strftime(&format, &at, strftime::Dialect::Posix);
    }
}
