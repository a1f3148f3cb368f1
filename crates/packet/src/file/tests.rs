//! Files that are built here, in every byte order and resolution, and every way of cutting them.

use std::io::Write;

use super::*;
use crate::filter::batch::{Batch, Slots};

/// A file in memory, of which `present` bytes are there.
fn memory<'s>(bytes: &'s [u8], present: impl Fn() -> usize + 's) -> Input<'s> {
    Input::memory(Memory { bytes, present: Box::new(present), fetch: |_| {} })
}

/// Tests of packets by a function of their bytes and length.
struct By<F>(F, Batch, Vec<u8>);

impl<F: Fn(&[u8], u32) -> bool> By<F> {
    fn new(wanted: F, reach: usize) -> By<F> {
        let layout = Batch::new(reach);
        By(wanted, layout, vec![0; layout.size()])
    }
}

impl<F: Fn(&[u8], u32) -> bool> Tests for By<F> {
    fn slots(&mut self) -> Slots<'_> {
        self.1.slots(&mut self.2)
    }

    fn test(&mut self, count: usize, found: impl FnMut(usize)) {
        let wanted = |index: &usize| {
            let (bytes, len) = self.1.packet(&self.2, *index).unwrap();
            (self.0)(bytes, len)
        };
        (0..count).filter(wanted).for_each(found);
    }
}

/// Interface, time, data, length.
type Seen = (usize, u64, Vec<u8>, u32);

/// What is read of a file: its packets, and how it ended.
fn read(bytes: &[u8]) -> (Vec<Seen>, Option<String>) {
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error.to_string())),
    };
    let mut packets = Vec::new();
    loop {
        match reader.advance() {
            Ok(true) => {
                let p = reader.packet();
                assert!(p.interface < reader.interfaces().len());
                packets.push((p.interface, p.time, p.data.to_vec(), p.len));
            }
            Ok(false) => return (packets, None),
            Err(error) => {
                assert!(!reader.advance().unwrap(), "nothing comes after damage");
                return (packets, Some(error.to_string()));
            }
        }
    }
}

fn pcap(magic: u32, big: bool, records: &[(u32, u32, &[u8], u32)]) -> Vec<u8> {
    let word = |w: u32| if big { w.to_be_bytes() } else { w.to_le_bytes() };
    let half = |h: u16| if big { h.to_be_bytes() } else { h.to_le_bytes() };
    let mut file = Vec::new();
    file.extend(word(magic));
    file.extend(half(2));
    file.extend(half(4));
    for w in [0, 0, 262_144, 1] {
        file.extend(word(w));
    }
    for (seconds, fraction, data, len) in records {
        for w in [*seconds, *fraction, data.len() as u32, *len] {
            file.extend(word(w));
        }
        if magic == 0xa1b2_cd34 {
            file.extend([0; 8]);
        }
        file.extend_from_slice(data);
    }
    file
}

#[test]
fn pcap_in_every_byte_order_and_resolution() {
    for (magic, unit) in [(0xa1b2_c3d4, 1000), (0xa1b2_3c4d, 1), (0xa1b2_cd34, 1000)] {
        for big in [false, true] {
            let file = pcap(magic, big, &[(3, 500_000, b"abc", 60), (4, 1, b"", 0)]);
            let (packets, end) = read(&file);
            let expected = [
                (0, 3_000_000_000 + 500_000 * unit, b"abc".to_vec(), 60),
                (0, 4_000_000_000 + unit, Vec::new(), 0),
            ];
            assert_eq!((packets.as_slice(), end), (expected.as_slice(), None), "{magic:x} {big}");
        }
    }
}

/// A section in one byte order with an interface of each clock and one packet on each.
fn section(big: bool) -> Vec<u8> {
    let word = |w: u32| if big { w.to_be_bytes() } else { w.to_le_bytes() };
    let half = |h: u16| if big { h.to_be_bytes() } else { h.to_le_bytes() };
    let block = |kind: u32, body: &[u8]| {
        let mut out = Vec::from(word(kind));
        let len = (body.len().next_multiple_of(4) + 12) as u32;
        out.extend(word(len));
        out.extend_from_slice(body);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(word(len));
        out
    };
    let option = |code: u16, value: &[u8]| {
        let mut out = Vec::from(half(code));
        out.extend(half(value.len() as u16));
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    };
    let mut file = block(0x0a0d_0d0a, &[&word(0x1a2b_3c4d)[..], &half(1), &half(0), &[0xff; 8]].concat());
    for resolution in [6u8, 9, 0x80 | 10] {
        let head = [&half(1)[..], &half(0), &word(4)].concat();
        let body = [head, option(2, b"eth0"), option(9, &[resolution]), option(0, b"")].concat();
        file.extend(block(1, &body));
    }
    // 2 seconds in each clock's units.
    for (interface, count) in [(0, 2_000_000), (1, 2_000_000_000), (2, 2048)] {
        let head: Vec<u8> = [interface, 0, count, 3, 99].into_iter().flat_map(word).collect();
        let body =
            [head, b"abc\0".to_vec(), option(1, b"seen"), option(2, &word(1)), option(0, b"")].concat();
        file.extend(block(6, &body));
    }
    // An unknown block, a simple packet that the snap length cuts, and a packet block of the first drafts.
    file.extend(block(0x0bad, b"whatever"));
    file.extend(block(3, &[&word(6)[..], b"simple\0\0"].concat()));
    let head = [&half(1)[..], &half(7), &word(0), &word(5), &word(2), &word(2)].concat();
    file.extend(block(2, &[head, b"xy\0\0".to_vec()].concat()));
    file
}

#[test]
fn pcapng_in_every_byte_order_and_resolution_also_in_one_file() {
    let file = [section(false), section(true)].concat();
    let (packets, end) = read(&file);
    assert_eq!(end, None);
    let second = |base: usize| {
        vec![
            (base, 2_000_000_000, b"abc".to_vec(), 99),
            (base + 1, 2_000_000_000, b"abc".to_vec(), 99),
            (base + 2, 2_000_000_000, b"abc".to_vec(), 99),
            (base, 0, b"simp".to_vec(), 6),
            (base + 1, 5, b"xy".to_vec(), 2),
        ]
    };
    assert_eq!(packets, [second(0), second(3)].concat());
    let mut reader = Reader::new(file.as_slice()).unwrap();
    reader.advance().unwrap();
    assert_eq!(reader.packet().comment, Some("seen"));
    assert_eq!(reader.packet().direction, Some(Direction::In));
    assert_eq!(reader.interfaces()[2], Interface { link: 1, snaplen: 4, name: "eth0".to_owned() });
}

#[test]
fn what_is_written_is_read() {
    let data: Vec<u8> = (0..200).collect();
    let interface = Interface { link: 113, snaplen: 128, name: "any".to_owned() };
    let mut packet = Packet {
        interface: 0,
        time: 1_700_000_000_123_456_789,
        data: &data,
        len: 300,
        direction: Some(Direction::Out),
        comment: Some("a comment"),
    };
    let mut ng = PcapngWriter::new(Vec::new(), "skep test").unwrap();
    assert_eq!(ng.write(&packet).unwrap_err().kind(), std::io::ErrorKind::Other);
    assert_eq!(ng.interface(&interface).unwrap(), 0);
    ng.write(&packet).unwrap();
    let file = ng.into_inner();
    let mut reader = Reader::new(file.as_slice()).unwrap();
    assert!(reader.advance().unwrap());
    assert_eq!(reader.packet(), packet);
    assert_eq!(reader.interfaces(), [interface]);
    assert!(!reader.advance().unwrap());

    for (nano, time) in [(true, packet.time), (false, packet.time / 1000 * 1000)] {
        let mut writer = PcapWriter::new(Vec::new(), 113, 128, nano).unwrap();
        writer.write(&packet).unwrap();
        let file = writer.into_inner();
        let mut reader = Reader::new(file.as_slice()).unwrap();
        assert!(reader.advance().unwrap());
        packet.time = time;
        let plain = Packet { direction: None, comment: None, ..packet };
        assert_eq!(reader.packet(), plain);
    }
}

#[test]
fn small_and_large_packets_are_written_alike() {
    let sizes = [0, 1, 2, 3, 4, 509, 510, 511, 512, 513, 514, 515, 1500];
    let data: Vec<Vec<u8>> = sizes.iter().map(|size| vec![*size as u8; *size]).collect();
    for comment in [None, Some("why"), Some("four")] {
        let mut ng = PcapngWriter::new(Vec::new(), "x").unwrap();
        let mut old = PcapWriter::new(Vec::new(), 1, 4096, true).unwrap();
        let interface = ng.interface(&Interface { link: 1, snaplen: 0, name: "abc".to_owned() }).unwrap();
        for (time, data) in data.iter().enumerate() {
            let (time, len) = (time as u64, data.len() as u32 + 9);
            let packet = Packet { interface, time, data, len, direction: Some(Direction::Out), comment };
            let before = ng.get_mut().len() as u64;
            assert_eq!(ng.write(&packet).unwrap(), ng.get_mut().len() as u64 - before);
            old.write(&packet).unwrap();
        }
        for file in [ng.into_inner(), old.into_inner()] {
            let (packets, end) = read(&file);
            assert_eq!(end, None);
            let seen: Vec<_> = packets.into_iter().map(|(_, time, data, len)| (time, data, len)).collect();
            let wanted = data.iter().enumerate();
            let wanted: Vec<_> =
                wanted.map(|(time, data)| (time as u64, data.clone(), data.len() as u32 + 9)).collect();
            assert_eq!(seen, wanted);
        }
    }
}

#[test]
fn gzip_is_unpacked() {
    let file = section(true);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&file).unwrap();
    assert_eq!(read(&packed.finish().unwrap()), read(&file));
}

#[test]
fn a_cut_file_gives_all_that_is_there() {
    for file in [pcap(0xa1b2_c3d4, false, &[(1, 0, b"first", 5), (2, 0, b"second", 6)]), section(false)] {
        let (whole, _) = read(&file);
        let mut ends = 0;
        for end in 0..file.len() {
            let (packets, told) = read(&file[..end]);
            assert!(packets.len() <= whole.len());
            for (got, expected) in packets.iter().zip(&whole) {
                assert_eq!((got.0, got.1, got.3), (expected.0, expected.1, expected.3));
                assert!(expected.2.starts_with(&got.2));
            }
            let complete = packets.iter().zip(&whole).filter(|(got, all)| got == all).count();
            assert!(complete + 1 >= packets.len(), "only the last may be cut");
            ends += usize::from(told.is_none());
        }
        assert!(ends > 0, "a file may end between two records");
    }
    let file = pcap(0xa1b2_c3d4, false, &[(1, 0, b"first", 5)]);
    let (packets, told) = read(&file[..file.len() - 2]);
    assert_eq!(packets, [(0, 1_000_000_000, b"fir".to_vec(), 5)]);
    let wanted = "the file is cut in the middle of a packet: 2 of its 21 bytes are missing at offset 24";
    assert_eq!(told.as_deref(), Some(wanted));
}

#[test]
fn damage_is_named() {
    let word = |at: usize, value: u32| {
        let mut file = section(false);
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        read(&file).1.unwrap_or_default()
    };
    assert!(word(4, 13).contains("a block of 13 bytes"), "{}", word(4, 13));
    assert!(word(4, u32::MAX - 3).contains("expected a multiple of 4"));
    assert!(word(8, 1).contains("byte-order magic is 0x00000001"));
    let huge = pcap(0xa1b2_c3d4, true, &[]);
    let record: Vec<u8> = [0u32, 0, 0x7fff_ffff, 1].into_iter().flat_map(u32::to_be_bytes).collect();
    assert!(read(&[huge, record].concat()).1.unwrap().contains("record 1 claims 2147483647 bytes"));
    assert_eq!(read(b"").1.unwrap(), "the file is empty; a capture begins with 24 or more");
    assert!(read(b"hello, world, this is text").1.unwrap().contains("neither pcap nor pcapng"));
}

#[test]
fn files_are_merged_by_time() {
    let a = pcap(0xa1b2_c3d4, false, &[(1, 0, b"a1", 2), (4, 0, b"a4", 2)]);
    let b = pcap(0xa1b2_3c4d, true, &[(2, 0, b"b2", 2), (3, 0, b"b3", 2), (5, 0, b"b5", 2)]);
    let cut = &b[..b.len() - 1];
    let open = |bytes| Reader::new(bytes).unwrap();
    let mut merge = Merge::new(vec![("a".to_owned(), open(a.as_slice())), ("b".to_owned(), open(cut))]);
    let mut seen = Vec::new();
    let mut failed = Vec::new();
    loop {
        match merge.advance() {
            Ok(true) => {
                let (file, packet) = merge.packet().unwrap();
                seen.push((file, packet.data.to_vec()));
            }
            Ok(false) => break,
            Err(error) => failed.push(error.to_string()),
        }
    }
    assert_eq!(
        seen,
        [
            (0, b"a1".to_vec()),
            (1, b"b2".to_vec()),
            (1, b"b3".to_vec()),
            (0, b"a4".to_vec()),
            (1, b"b".to_vec())
        ]
    );
    assert_eq!(failed.len(), 1);
    assert!(failed[0].starts_with("b: the file is cut"), "{failed:?}");
}

/// A block in the little byte order.
fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let [kind, len] = [kind, body.len() as u32 + 12].map(u32::to_le_bytes);
    [&kind[..], &len, body, &len].concat()
}

/// Numbers of the packets that are wanted, and how many there are; by looking ahead.
fn ahead(file: &[u8], reach: usize, wanted: impl Fn(&[u8], u32) -> bool) -> (Vec<u64>, u64, bool) {
    let mut reader = Reader::over(memory(file, || file.len())).unwrap();
    let mut tests = By::new(&wanted, reach);
    let (mut found, mut looked) = (Vec::new(), false);
    loop {
        if reader.next_wanted() {
            assert!(wanted(reader.packet().data, reader.packet().len));
            found.push(reader.count());
        } else if reader.look_ahead(&mut tests) {
            looked = true;
        } else {
            match reader.advance() {
                Ok(true) if wanted(reader.packet().data, reader.packet().len) => found.push(reader.count()),
                Ok(true) => {}
                Ok(false) | Err(_) => return (found, reader.count(), looked),
            }
        }
    }
}

#[test]
fn looking_ahead_finds_what_going_on_finds() {
    let data: Vec<Vec<u8>> = (0..5000u32).map(|i| vec![(i % 7) as u8; (i % 300) as usize]).collect();
    let records: Vec<_> = (0u32..).zip(&data).map(|(i, d)| (i, 1, d.as_slice(), 300)).collect();
    let mut blocks = [section(true), section(false)].concat();
    for (i, data) in data.iter().enumerate() {
        let body: Vec<u8> =
            [0, 0, i as u32, data.len() as u32, 300].into_iter().flat_map(u32::to_le_bytes).collect();
        let mut data = data.clone();
        data.resize(data.len().next_multiple_of(4), 0);
        blocks.extend(block(pcapng::PACKET, &[body, data].concat()));
        if i % 100 == 3 {
            blocks.extend(block(5, &[0; 12]));
        }
    }
    let wanted = |bytes: &[u8], len: u32| len == 300 && bytes.first() == Some(&3);
    for file in [pcap(0xa1b2_c3d4, true, &records), blocks] {
        for end in [file.len(), file.len() - 10] {
            let (all, _) = read(&file[..end]);
            let expected: Vec<u64> =
                (1u64..).zip(&all).filter(|(_, p)| wanted(&p.2, p.3)).map(|(n, _)| n).collect();
            assert!(expected.len() > 600);
            for reach in [1, 64, 100, 300] {
                assert_eq!(ahead(&file[..end], reach, wanted), (expected.clone(), all.len() as u64, true));
            }
        }
    }
}

#[test]
fn a_file_in_memory_that_is_cut_meanwhile_ends_there() {
    let data = vec![7u8; 1000];
    let records: Vec<_> = (0..2000).map(|i| (i, 0, data.as_slice(), 1000)).collect();
    let file = pcap(0xa1b2_c3d4, false, &records);
    let present = std::cell::Cell::new(file.len());
    let mut reader = Reader::over(memory(&file, || present.get())).unwrap();
    let mut count = 0;
    let end = loop {
        match reader.advance() {
            Ok(true) => count += 1,
            Ok(false) => panic!("the file ends as if nothing was missing"),
            Err(error) => break error.to_string(),
        }
        if count == 10 {
            present.set(1_000_000);
        }
    };
    assert!(end.contains("the file is cut in the middle of a packet"), "{end}");
    assert!((984..1000).contains(&count), "{count}");
    let packed = {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&file).unwrap();
        packed.finish().unwrap()
    };
    let mut reader = Reader::over(memory(&packed, || packed.len())).unwrap();
    assert!(reader.advance().unwrap());
    assert_eq!(reader.packet().data, data);
}
