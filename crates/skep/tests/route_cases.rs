//! Tests of routing tables, `tests/route/*.yaml`, on the offline machine; and what is said of those that fail or make no sense.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at what it does not understand")]

use skep::route::{Tested, test};
use std::path::Path;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/route")
}

fn run(text: &str) -> Result<Tested, String> {
    test("t.yaml", text, &|path| std::fs::read(folder().join(path))).map_err(|e| e.to_string())
}

#[test]
fn all_cases() {
    let mut files: Vec<_> = std::fs::read_dir(folder()).unwrap().map(|f| f.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    assert!(files.len() > 1);
    let mut failures = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        match test(&name, &text, &|path| std::fs::read(folder().join(path))) {
            Ok(tested) => {
                assert!(tested.passed + tested.failures.len() > 0, "{name} tests nothing");
                failures.extend(tested.failures);
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

const CASE: &str = "\
interfaces:
  eth1: {addresses: 10.0.1.1/24}
  eth2: {addresses: 10.0.2.1/24}
neighbours: {10.0.2.2: '02:00:00:00:02:02'}
routes: |
  10.1.0.0/16 via 10.0.2.2
  10.2.0.0/16 drop
packets:
  - {about: it goes on, into: eth1, packet: 10.0.1.9 > 10.1.2.3 ttl 9, out: eth2, by: xdp, to: '02:00:00:00:02:02',
     becomes: 10.0.1.9 > 10.1.2.3 ttl 8}
";

#[test]
fn failures_say_what_was_expected_and_what_was() {
    assert_eq!(run(CASE).unwrap(), Tested { passed: 1, failures: Vec::new() });
    for (from, into, part) in [
        (
            "out: eth2",
            "out: drop",
            "t.yaml:9:5: it goes on: drop by xdp was expected, but it was out eth2 by xdp",
        ),
        ("by: xdp", "by: tc", "out eth2 by tc was expected, but it was out eth2 by xdp"),
        (
            "to: '02:00:00:00:02:02'",
            "to: '02:00:00:00:02:03'",
            "to 02:00:00:00:02:03 was expected, but it went to 02:00:00:00:02:02",
        ),
        ("ttl 8}", "ttl 9}", "it became another packet, from byte 22 on\n  expected "),
        ("10.2.0.0/16 drop", "10.1.2.0/24 drop", "out eth2 by xdp was expected, but it was drop by xdp"),
        ("neighbours: {10.0.2.2", "neighbours: {10.0.2.5", "but it was out eth2 by tc"),
    ] {
        let tested = run(&CASE.replacen(from, into, 1)).unwrap();
        assert!(tested.failures.len() == 1 && tested.failures[0].contains(part), "{part}: {tested:?}");
    }
    let unknown = CASE.replacen("10.0.2.2:", "10.0.2.5:", 1).replacen("by: xdp", "by: tc", 1);
    let tested = run(&unknown).unwrap();
    assert!(
        tested.failures[0].contains("the kernel asks for 10.0.2.2 first: `neighbours` has no such"),
        "{tested:?}"
    );
}

#[test]
fn mistakes_have_places() {
    for (from, into, part) in [
        ("10.2.0.0/16 drop", "10.2.0.1/16 drop", "t.yaml:7:1: 10.2.0.1/16 has bits behind its length"),
        ("10.2.0.0/16 drop", "10.1.0.0/16 drop", "t.yaml:7:1: there is a route to 10.1.0.0/16 already"),
        ("via 10.0.2.2", "via 10.0.9.2", "t.yaml:6:1: 10.0.9.2 is in no network"),
        (
            "10.0.2.1/24}",
            "10.0.2.1/24, vlan: 5}",
            "t.yaml:3:3: a VLAN device has `on`, an interface before it, and `vlan`",
        ),
        ("10.0.2.1/24}", "10.0.2.1/24, on: eth1, vlan: 4095}", "a VLAN tag from 1 to 4094 was expected"),
        (
            "neighbours: {10.0.2.2",
            "neighbours: {10.0.7.2",
            "t.yaml:4:14: 10.0.7.2 is in no network of the interfaces",
        ),
        (
            "packet: 10.0.1.9 > 10.1.2.3 ttl 9",
            "packet: {capture: nothing.pcap}",
            "t.yaml:9:5: nothing.pcap: No such file",
        ),
    ] {
        let why = run(&CASE.replacen(from, into, 1)).unwrap_err();
        assert!(why.contains(part), "{part}: {why}");
    }
}

#[test]
fn captures_go_in_and_come_out() {
    use skep_packet::file::{Packet, PcapWriter};
    use skep_packet::route::case::Frame;
    let capture = |texts: &[&str]| {
        let mut writer = PcapWriter::new(Vec::new(), 1, 65_535, false).unwrap();
        for text in texts {
            let data = Frame::read(text, ([2, 0, 0, 0, 0xff, 1], [2, 0, 0, 0, 0, 1])).unwrap().bytes;
            let len = data.len() as u32;
            writer
                .write(&Packet { interface: 0, time: 0, data: &data, len, direction: None, comment: None })
                .unwrap();
        }
        writer.into_inner()
    };
    let into = capture(&["10.0.1.9 > 10.1.2.3 ttl 9", "10.0.1.9 > 10.1.2.4 ttl 7 udp 1 > 2"]);
    let eth = "eth 02:00:00:00:00:02 > 02:00:00:00:02:02";
    let out = capture(&[
        &format!("{eth} 10.0.1.9 > 10.1.2.3 ttl 8"),
        &format!("{eth} 10.0.1.9 > 10.1.2.4 ttl 5 udp 1 > 2"),
    ]);
    let (head, _) = CASE.split_once("packets:").unwrap();
    let text = format!(
        "{head}packets:\n  - {{into: eth1, packet: {{capture: in}}, out: eth2, becomes: {{capture: out}}}}\n"
    );
    let tested =
        test("t.yaml", &text, &|path| Ok(if path == "in" { into.clone() } else { out.clone() })).unwrap();
    assert_eq!(tested.passed, 1);
    assert!(tested.failures.len() == 1 && tested.failures[0].ends_with("(packet 2)"), "{tested:?}");
    let text = text.replace("becomes: {capture: out}", "becomes: 10.0.1.9 > 10.1.2.3");
    let why = test("t.yaml", &text, &|_| Ok(into.clone())).unwrap_err().to_string();
    assert!(why.contains("2 packets cannot become 1"), "{why}");
}

#[test]
fn conditions_and_cpus_have_places_too() {
    for (into, part) in [
        ("10.2.0.0/16 drop if \"tcp port\"", "t.yaml:7:1: "),
        ("10.2.0.0/16 drop cpu 4", "t.yaml:7:1: `cpu` was not expected behind `drop`"),
        ("10.2.0.0/16 cpu 4", "t.yaml:7:1: there is no CPU `4`: this machine has 0-3"),
        ("10.2.0.0/16 drop if", "t.yaml:7:1: behind `if` a filter expression was expected"),
    ] {
        let why = run(&CASE.replacen("10.2.0.0/16 drop", into, 1)).unwrap_err();
        assert!(why.contains(part), "{part}: {why}");
    }
    // The place within the expression is underlined.
    let why = run(&CASE.replacen("10.2.0.0/16 drop", "10.2.0.0/16 drop if \"tcp prt 80\"", 1)).unwrap_err();
    assert!(why.contains("tcp prt 80") && why.contains("^"), "{why}");
    let steered = CASE.replacen("via 10.0.2.2", "via 10.0.2.2 cpu 1", 1);
    assert_eq!(run(&steered.replacen("by: xdp", "by: xdp, cpu: 1", 1)).unwrap().passed, 1);
    let failed = run(&steered.replacen("by: xdp", "by: xdp, cpu: 2", 1)).unwrap().failures;
    assert!(failed[0].contains("CPU 2 was expected to go on with it, but CPU 1 did"), "{failed:?}");
    let failed = run(&CASE.replacen("by: xdp", "by: xdp, cpu: 2", 1)).unwrap().failures;
    assert!(failed[0].contains("it stayed where it came in"), "{failed:?}");
}
