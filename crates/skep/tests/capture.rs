//! Capture files through the facade: files that are built here, an expression, and what leaves each kind of sink.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at what it does not understand")]

use std::io::Cursor;

use skep::capture::{Expression, Form, Limits, Offline, Sink, Stamp, Style, Zone};

/// A pcap file of UDP packets: time in seconds, destination port.
fn file(packets: &[(u32, u16)]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        out.extend(word.to_le_bytes());
    }
    for (time, port) in packets {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        frame.extend([0x45, 0, 0, 32, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0x10, 0]);
        frame.extend(port.to_be_bytes());
        frame.extend([0, 12, 0, 0, 1, 2, 3, 4]);
        for word in [*time, 0, frame.len() as u32, frame.len() as u32] {
            out.extend(word.to_le_bytes());
        }
        out.extend(frame);
    }
    out
}

fn open<'s>(files: &[&'s [u8]], expression: &str, limits: Limits) -> Result<Offline<'s>, String> {
    let files =
        files.iter().enumerate().map(|(i, bytes)| (format!("file{i}"), Cursor::new(*bytes))).collect();
    Offline::open(files, Expression::new(expression, false), limits).map_err(|error| error.to_string())
}

/// What a sink of this form makes of the packets that match, and the damage that was told.
fn run(offline: &mut Offline<'_>, form: Form) -> (Vec<u8>, Vec<String>) {
    let mut out = Vec::new();
    let link = offline.first_link().unwrap_or(1);
    let mut sink = Sink::new(form, &mut out, false).unwrap();
    while let Some(matched) = offline.next_match().unwrap() {
        sink.take(&matched).unwrap();
    }
    sink.finish(link).unwrap();
    drop(sink);
    (out, offline.damage())
}

fn lines(style: Style) -> Form {
    Form::Lines(style, Zone::utc())
}

#[test]
fn packets_that_match_are_printed_in_the_order_of_time() {
    let (a, b) = (file(&[(1, 53), (4, 99)]), file(&[(2, 80), (3, 99)]));
    let mut offline = open(&[&a, &b], "udp port 80 or port 99", Limits::default()).unwrap();
    let (out, damage) = run(&mut offline, lines(Style::default()));
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "00:00:02.000000 IP 10.0.0.1.4096 > 10.0.0.2.80: UDP, length 4\n\
         00:00:03.000000 IP 10.0.0.1.4096 > 10.0.0.2.99: UDP, length 4\n\
         00:00:04.000000 IP 10.0.0.1.4096 > 10.0.0.2.99: UDP, length 4\n"
    );
    assert!(damage.is_empty());
    assert_eq!((offline.totals().read, offline.totals().matched), (4, 3));
}

#[test]
fn files_that_are_written_are_read_again() {
    let original = file(&[(1, 53), (2, 80), (3, 53)]);
    for form in [Form::Pcapng, Form::Pcap { nano: false }, Form::Pcap { nano: true }] {
        let limits = Limits { count: Some(1), bytes: Some(38) };
        let (written, _) = run(&mut open(&[&original], "port 53", limits).unwrap(), form);
        let style = Style { stamp: Stamp::Seconds, ..Style::default() };
        let (out, damage) = run(&mut open(&[&written], "", Limits::default()).unwrap(), lines(style));
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "1.000000 IP 10.0.0.1.4096 > 10.0.0.2.53:  [|udp]\n");
        assert!(damage.is_empty());
    }
    let (written, _) =
        run(&mut open(&[&original], "port 7", Limits::default()).unwrap(), Form::Pcap { nano: false });
    assert_eq!(written.len(), 24, "a file of no packets has a header");
    let (out, _) = run(&mut open(&[&original], "", Limits::default()).unwrap(), Form::Json);
    assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 3);
}

#[test]
fn link_types_do_not_mix_in_a_pcap_file() {
    let ethernet = file(&[(1, 53)]);
    let mut raw = file(&[(2, 53)]);
    raw[20] = 101;
    let mut offline = open(&[&ethernet, &raw], "", Limits::default()).unwrap();
    let mut sink = Sink::new(Form::Pcap { nano: false }, Vec::new(), false).unwrap();
    sink.take(&offline.next_match().unwrap().unwrap()).unwrap();
    let error = sink.take(&offline.next_match().unwrap().unwrap()).unwrap_err().to_string();
    assert!(error.contains("1 was first, now comes 101 (write pcapng instead)"), "{error}");
    let mut offline = open(&[&ethernet, &raw], "", Limits::default()).unwrap();
    assert_eq!(run(&mut offline, Form::Pcapng).1, Vec::<String>::new());
}

#[test]
fn mistakes_and_damage_have_words() {
    let whole = file(&[(1, 53), (2, 53)]);
    let error = open(&[&whole], "tcp prot 80", Limits::default()).unwrap_err();
    assert!(error.contains("tcp prot 80") && error.contains("^^^^"), "{error}");
    let error = open(&[b"hello, this is text"], "", Limits::default()).unwrap_err();
    assert!(error.starts_with("file0: it begins with 68 65 6c 6c"), "{error}");
    let mut offline = open(&[&whole[..whole.len() - 10], &whole], "", Limits::default()).unwrap();
    let (_, damage) = run(&mut offline, Form::Count);
    assert_eq!(offline.totals().matched, 4, "the cut packet and the other file's are there");
    assert!(damage[0].starts_with("file0: the file is cut in the middle of a packet"), "{damage:?}");
    let mut strange = whole.clone();
    strange[20] = 147;
    let error = open(&[&strange], "udp", Limits::default()).unwrap_err();
    assert!(error.contains("no filter for packets of link type 147"), "{error}");
    assert_eq!(
        run(&mut open(&[&strange], "", Limits::default()).unwrap(), Form::Count).1,
        Vec::<String>::new()
    );
}

/// Large files are filtered by machine code: with the same outcome as the same packets in two files, which are not.
#[test]
fn a_large_file_gives_what_small_ones_give() {
    let packets: Vec<(u32, u16)> =
        (0..120_000u32).map(|i| (i, [53, 80, 99, 443, 7][(i % 13 % 5) as usize])).collect();
    let (whole, half) = (file(&packets), file(&packets[..60_000]));
    let rest = file(&packets[60_000..]);
    let (blocks, _) = run(&mut open(&[&whole], "", Limits::default()).unwrap(), Form::Pcapng);
    for text in
        ["udp port 80 or port 99", "len = 46", "ip[2:2] = 32 and udp[2:2] & 3 = 1", "tcp", "not port 7"]
    {
        let outcome = |files: &[&[u8]], limits| {
            let mut offline = open(files, text, limits).unwrap();
            let (out, damage) = run(&mut offline, lines(Style { stamp: Stamp::Seconds, ..Style::default() }));
            assert!(damage.is_empty(), "{damage:?}");
            (String::from_utf8(out).unwrap(), offline.totals())
        };
        let (large, small) =
            (outcome(&[&whole], Limits::default()), outcome(&[&half, &rest], Limits::default()));
        assert!(large == small, "`{text}`: {:?} {:?}", large.1, small.1);
        let limits = Limits { count: Some(70_000), bytes: None };
        let (large, small) = (outcome(&[&whole], limits), outcome(&[&half, &rest], limits));
        assert!(large == small, "`{text}`, the first ones: {:?} {:?}", large.1, small.1);
        let blocks = outcome(&[&blocks], limits);
        assert!(large == blocks, "`{text}`, of pcapng: {:?} {:?}", large.1, blocks.1);
    }
    let mut offline = open(&[&whole[..whole.len() - 10]], "port 53", Limits::default()).unwrap();
    let (_, damage) = run(&mut offline, Form::Count);
    assert!(damage[0].contains("cut in the middle of a packet"), "{damage:?}");
    assert_eq!(offline.totals().read, 120_000);
}
