//! `skep load`, `maps`, `progs`, `links`, `disasm` and `asm`, with objects that clang made of `tests/elf/*.c`. What loads runs
//! as root in a mount and network namespace of the test's own, with a BPF file system of its own; without root these tests
//! say so and pass.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at what it does not understand")]

use std::path::PathBuf;
use std::process::{Command, Output};

const SKEP: &str = env!("CARGO_BIN_EXE_skep");

fn object(name: &str) -> String {
    format!("{}/../../tests/elf/{name}.o", env!("CARGO_MANIFEST_DIR"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn skep(args: &[&str]) -> Output {
    Command::new(SKEP).args(args).output().unwrap()
}

/// A folder of the test's own.
fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("skep-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// Runs a script in namespaces of its own: `$S` is skep, `$E` the folder of objects. `None` without the rights to.
fn alone(script: &str) -> Option<Output> {
    let may = Command::new("unshare").args(["-m", "-n", "mount", "-t", "bpf", "bpf", "/sys/fs/bpf"]).output();
    if !may.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: no rights to load programs");
        return None;
    }
    let script = format!("set -e\nmount -t bpf bpf /sys/fs/bpf\n{script}");
    let folder = format!("{}/../../tests/elf", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("unshare");
    command.args(["-m", "-n", "sh", "-c", &script]).env("S", SKEP).env("E", folder);
    Some(command.output().unwrap())
}

fn expect(output: &Output, wanted: &[&str]) {
    let all = text(&output.stdout) + &text(&output.stderr);
    for line in wanted {
        assert!(all.contains(line), "`{line}` is not in\n{all}");
    }
}

#[test]
fn objects_as_text_and_back() {
    let dir = folder("asm");
    let path = |name: &str| dir.join(name).display().to_string();
    for name in ["calls", "core", "maps", "plain", "sections"] {
        let (first, again) = (path(&format!("{name}.s")), path(&format!("{name}2.s")));
        let made = path(&format!("{name}.o"));
        for args in [
            ["disasm", &object(name), "-o", &first],
            ["asm", &first, "-o", &made],
            ["disasm", &made, "-o", &again],
            ["asm", &again, "-o", &path("same.o")],
        ] {
            let done = skep(&args);
            assert!(done.status.success(), "{args:?}: {}", text(&done.stderr));
        }
        assert_eq!(std::fs::read(&made).unwrap(), std::fs::read(path("same.o")).unwrap(), "{name}");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn instructions_as_hex_and_back() {
    let dir = folder("hex");
    let (source, hex) = (dir.join("p.s"), dir.join("p.hex"));
    std::fs::write(&source, "r0 = 1\nexit\n").unwrap();
    let done = skep(&["asm", source.to_str().unwrap()]);
    assert_eq!(text(&done.stdout), "b700000001000000\n9500000000000000\n");
    std::fs::write(&hex, &done.stdout).unwrap();
    expect(&skep(&["disasm", hex.to_str().unwrap()]), &["0: r0 = 1", "1: exit"]);
    std::fs::write(&source, "r0 = what\n").unwrap();
    let done = skep(&["asm", source.to_str().unwrap()]);
    assert!(!done.status.success());
    expect(&done, &["line 1"]);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn programs_are_listed() {
    let done = skep(&["load", &object("sections"), "--list"]);
    expect(
        &done,
        &[
            "on_connect4  cgroup/connect4  cgroup_sock_addr  2 instructions",
            "on_optional  ?raw_tp/sys_exit  raw_tracepoint",
            "on_netkit  netkit/primary  sched_cls",
        ],
    );
    let done = skep(&["load", &object("maps"), "--list", "-f", "json"]);
    expect(&done, &["\"program\":\"count\"", "\"maps\":[\"outer\",\"jumps\""]);
}

#[test]
fn maps_of_a_loaded_object() {
    let Some(done) = alone(
        r#"
        D=/sys/fs/bpf/bees
        $S load $E/maps.o --attach --pin $D
        $S links | grep -q 'raw_tracepoint.*sys_enter'
        $S maps show $D/maps/by_comm
        $S maps update $D/maps/by_comm '{"uid": 7, "comm": "bee"}' '{"calls": 3, "state": "WARM", "high": 2}'
        $S maps lookup $D/maps/by_comm '{"uid": 7, "comm": "bee"}'
        $S maps lookup $D/maps/by_comm '{"uid": 7, "comm": "bee"}' -f json
        $S maps delete $D/maps/by_comm '{"uid": 7, "comm": "bee"}'
        $S maps lookup $D/maps/by_comm '{"uid": 7, "comm": "bee"}' || echo gone
        $S maps update $D/maps/by_comm '{"wings": 7}' 1 || echo refused
        $S maps dump $D/maps/_rodata
        $S maps dump $D/maps/outer | tail -1
        $S maps dump $D/maps/jumps | tail -1
        $S maps dump $D/maps/_data_custom -f json
        $S progs show $D/count
        $S progs dump $D/count
        $S load $E/maps.o --attach --pin $D || echo twice
        find $D -type f | wc -l
        for link in $D/links/*; do $S links unpin $link; done
        rm -r $D; $S maps unpin /sys/fs/bpf/pinned
        echo left $(ls /sys/fs/bpf | grep -v debug | wc -l)
        "#,
    ) else {
        return;
    };
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    expect(
        &done,
        &[
            "Attached to 2 places",
            "struct key -> struct value",
            "{ uid: 7, comm: \"bee\" }: { calls: 3, last: 0, state: WARM, low: 0, high: 2 }",
            "\"value\":{\"calls\":3,",
            "gone",
            "key.wings: 7, expected a member of struct key",
            "refused",
            "{ threshold: 3 }",
            "2 entries",
            "1 entry",
            "\"custom\":",
            "raw_tracepoint  count",
            "call bpf_get_current_uid_gid#15",
            "maps.c:",
            "there is such a file already",
            "twice",
            "left 0",
        ],
    );
}

#[test]
fn relocations_against_the_running_kernel() {
    let Some(done) = alone(
        r#"
        $S load $E/core.o --attach --pin /sys/fs/bpf/core
        true
        $S maps dump /sys/fs/bpf/core/maps/results | head -19 | tr '\n' ' '
        rm -r /sys/fs/bpf/core
        "#,
    ) else {
        return;
    };
    if text(&done.stderr).contains("the kernel's types") || text(&done.stderr).contains("bpf_rcu_read_lock") {
        eprintln!("skipped: {}", text(&done.stderr));
        return;
    }
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
    // Existing fields, sizes and enumerators; what is missing is 0 (see the source).
    expect(
        &done,
        &["0: 1 ", " 3: 1 4: 16 5: 0 6: 1 7: 0 8: 1 9: 1 10: 27 11: 0 12: 1 13: 1 14: 0 ", " 18: 1"],
    );
}

#[test]
fn places_that_sections_leave_open() {
    let Some(done) = alone(
        r#"
        $S load $E/sections.o --prog on_xdp --prog on_tcx --attach --dev lo --pin /sys/fs/bpf/net || true
        $S links
        rm -rf /sys/fs/bpf/net
        $S load $E/sections.o --prog on_xdp --attach || true
        $S load $E/sections.o --prog on_connect4 --attach || true
        $S load $E/sections.o --prog on_usdt --attach || true
        $S load $E/sections.o --prog on_struct_ops || true
        $S load $E/sections.o --prog nobody || true
        "#,
    ) else {
        return;
    };
    expect(
        &done,
        &[
            "xdp  prog",
            "interface lo",
            "attach_type tcx_ingress",
            "name the interface with --dev",
            "name the cgroup with --cgroup",
            "has no USDT probe `a:b`",
            "struct_ops",
            "there is no program `nobody`; the file has on_socket",
        ],
    );
}

#[test]
fn a_refused_program_is_explained() {
    let Some(done) = alone("$S load $E/refused.o || $S load $E/calls.o --pin /tmp/no-such-bpffs") else {
        return;
    };
    assert!(!done.status.success());
    expect(
        &done,
        &[
            "refused.o cannot be loaded",
            "careless (raw_tp/sys_enter)",
            "the verifier says: R0 invalid mem access 'map_value_or_null'",
            "refused.c:18: *value += 1;",
            "the end of its log",
            "mount -t bpf bpf /sys/fs/bpf",
        ],
    );
    assert!(!text(&done.stderr).contains("bug in skep"));
}

/// Lines of an output between marks `== NAME`.
fn part<'o>(output: &'o str, name: &str) -> &'o str {
    let from = output.find(&format!("== {name}\n")).unwrap_or_else(|| panic!("no {name} in\n{output}"));
    let rest = &output[from + name.len() + 4..];
    rest.split("\n== ").next().unwrap().trim()
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

/// A value as bpftool prints it, in our words: its bit fields are texts, and what has no type is bytes.
fn plain(value: &serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    let number = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    match value {
        Value::String(text) => number(text).map_or_else(|| value.clone(), Value::from),
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        Value::Array(bytes) if bytes.len() == 4 && bytes.iter().all(Value::is_string) => {
            let bytes: Vec<u8> = bytes.iter().map(|b| number(b.as_str().unwrap()).unwrap() as u8).collect();
            Value::from(u32::from_ne_bytes(bytes.try_into().unwrap()))
        }
        Value::Array(list) => list.iter().map(plain).collect(),
        other => other.clone(),
    }
}

/// Entries as (key, values) in an order of their own.
fn sorted(
    mut entries: Vec<(serde_json::Value, serde_json::Value)>,
) -> Vec<(serde_json::Value, serde_json::Value)> {
    entries.sort_by_key(|(key, _)| key.to_string());
    entries
}

#[test]
fn maps_and_programs_as_bpftool_shows_them() {
    if !Command::new("bpftool").arg("version").output().is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: there is no bpftool");
        return;
    }
    let maps = ["by_comm", "outer", "jumps", "per_cpu", "_rodata"];
    let mut script = r#"
        D=/sys/fs/bpf/bees
        $S load $E/maps.o --pin $D > /dev/null
        $S maps update $D/maps/by_comm '{"uid": 7, "comm": "bee"}' '{"calls": 3, "state": "WARM", "high": 2}' > /dev/null
        $S maps update $D/maps/by_comm '{"uid": 8, "comm": "wasp"}' '{"calls": 4, "state": "COLD", "low": 1}' > /dev/null
        $S maps update $D/maps/per_cpu 1 5 > /dev/null
        $S load $E/maps.o --attach --pin $D-2 > /dev/null
        "#
    .to_owned();
    for map in maps {
        script += &format!(
            r#"
            echo "== {map} show theirs"; bpftool -j map show pinned $D/maps/{map}; echo
            echo "== {map} show ours"; $S maps show $D/maps/{map} -f json
            echo "== {map} dump theirs"; bpftool -j map dump pinned $D/maps/{map}; echo
            echo "== {map} dump ours"; $S maps dump $D/maps/{map} -f json
            "#
        );
    }
    script += r#"
        echo "== prog theirs"; bpftool -j prog show pinned $D/count; echo
        echo "== prog ours"; $S progs show $D/count -f json
        echo "== xlated theirs"; bpftool prog dump xlated pinned $D/count
        echo "== xlated ours"; $S progs dump $D/count
        echo "== link theirs"; bpftool -j link show pinned $D-2/links/count; echo
        echo "== link ours"; $S links -f json | grep $D-2/links/count
        "#;
    let Some(done) = alone(&script) else { return };
    let output = text(&done.stdout);
    assert!(done.status.success(), "{output}{}", text(&done.stderr));
    let pair =
        |what: &str| (part(&output, &format!("{what} theirs")), part(&output, &format!("{what} ours")));
    let same = |theirs: &str, ours: &str, names: &[(&str, &str)]| {
        let (theirs, ours) = (json(theirs), json(ours));
        for (their, our) in names {
            assert_eq!(theirs[their], ours[our], "{their} of {theirs} and {ours}");
        }
    };
    for map in maps {
        let (theirs, ours) = pair(&format!("{map} show"));
        let names = [("bytes_key", "key_size"), ("bytes_value", "value_size")];
        let equal = ["id", "name", "type", "max_entries", "flags"].map(|name| (name, name));
        same(theirs, ours, &[&names[..], &equal].concat());
        let (theirs, ours) = pair(&format!("{map} dump"));
        let theirs = json(theirs);
        let entries = theirs.as_array().unwrap().iter().map(|entry| {
            let best = if entry["formatted"].is_object() { &entry["formatted"] } else { entry };
            let value = match best["values"].as_array() {
                Some(cpus) => cpus.iter().map(|cpu| plain(&cpu["value"])).collect(),
                None => plain(&best["value"]),
            };
            (plain(if best["key"].is_null() { &entry["key"] } else { &best["key"] }), value)
        });
        let mine = ours.lines().map(json).map(|entry| {
            let value = if entry["values"].is_null() { &entry["value"] } else { &entry["values"] };
            (entry["key"].clone(), value.clone())
        });
        let (theirs, ours) = (sorted(entries.collect()), sorted(mine.collect()));
        if map == "_rodata" {
            // Theirs prints a section as a list of its variables.
            let [(_, theirs)] = &theirs[..] else { panic!("{theirs:?}") };
            let variables =
                theirs[".rodata"].as_array().unwrap().iter().flat_map(|v| v.as_object().unwrap().clone());
            assert_eq!(serde_json::Value::Object(variables.collect()), ours[0].1);
        } else {
            assert_eq!(theirs, ours, "{map}");
        }
    }
    let (theirs, ours) = pair("prog");
    let equal = ["id", "name", "type", "tag", "uid", "bytes_xlated", "bytes_jited", "map_ids", "btf_id"];
    same(theirs, ours, &[&equal.map(|name| (name, name))[..], &[("gpl_compatible", "gpl")]].concat());
    let (theirs, ours) = pair("link");
    same(theirs, ours, &["id", "type", "prog_id"].map(|name| (name, name)));
    let (theirs, ours) = pair("xlated");
    let calls = |listing: &str| -> Vec<String> {
        let called = listing.lines().filter(|line| !line.trim_start().starts_with(';'));
        let called = called.filter_map(|line| line.split_once("call ")).map(|(_, name)| name.to_owned());
        called.map(|name| name.split('#').next().unwrap().to_owned()).collect()
    };
    assert_eq!(calls(theirs), calls(ours));
    assert!(calls(ours).len() >= 5 && !ours.contains("unknown"), "{ours}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn usdt_sections_are_attached() {
    let python = std::fs::read("/usr/bin/python3").unwrap_or_default();
    if !python.windows(14).any(|bytes| bytes == b"python\0audit\08") {
        eprintln!("skipped: /usr/bin/python3 has no USDT probe python:audit with arguments");
        return;
    }
    let Some(done) = alone(
        r#"
        D=/sys/fs/bpf/bees
        $S load $E/usdt.o --attach --pin $D
        /usr/bin/python3 -c 'import sys; sys.audit("bees.fly", 1); sys.audit("wasp"); sys.audit("bees.land")'
        $S maps dump $D/maps/_bss
        sed 's/python:audit/python:honey/' $E/usdt.o > /tmp/usdt-$$.o
        $S load /tmp/usdt-$$.o --attach || rm /tmp/usdt-$$.o
        "#,
    ) else {
        return;
    };
    expect(
        &done,
        &[
            "Loaded 1 program: on_audit",
            "0: { arguments: 2, name: \"bees.land\", seen: 2 }",
            "/usr/bin/python3 has no USDT probe `python:honey`",
        ],
    );
}

#[test]
fn an_object_with_maps_of_maps_runs_offline() {
    let done = skep(&["run", &object("maps"), "--prog", "count", "--ctx", &"00".repeat(24), "--maps"]);
    expect(
        &done,
        &[
            "r0 = 0x0 (0)",
            "first (hash):",
            "outer (array_of_maps):",
            "by_comm (hash):\n  { uid: 0, comm: ",
            ": { calls: 0, last: 0, state: WARM, low: 0, high: 9 }",
            "per_cpu (percpu_array):\n  0: 0\n  1: 3\n",
        ],
    );
}

/// A capture with one Ethernet frame for each destination (IPv4, without a payload), and one frame without a network layer.
fn capture(path: &std::path::Path, destinations: &[[u8; 4]]) {
    let mut bytes: Vec<u8> = Vec::new();
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<u8>>();
    bytes.extend(words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, 1]));
    let frame = |to: &[u8; 4]| {
        let link = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0];
        [&link[..], &[0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1], to].concat()
    };
    for data in destinations.iter().map(frame).chain([vec![0; 14]]) {
        let len = data.len() as u32;
        bytes.extend(words(&[1, 0, len, len]));
        bytes.extend(data);
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn maps_are_filled_before_programs_run() {
    let dir = folder("fill");
    let (pcap, table) = (dir.join("in.pcap"), dir.join("counts.json"));
    capture(&pcap, &[[10, 1, 2, 3], [10, 9, 9, 9], [192, 0, 2, 1]]);
    let (pcap, table) = (pcap.to_str().unwrap().to_owned(), table.to_str().unwrap().to_owned());
    let object = object("forward");
    let run = |maps: &[&str]| {
        let mut args = vec!["run", &object, "--prog", "forward", "--pcap", &pcap, "--maps"];
        maps.iter().for_each(|map| args.extend(["--map", map]));
        skep(&args)
    };
    let out = run(&[
        "routes[10.0.0.0/8]=1",
        "routes[10.9.0.0/16]=2",
        "ports[1]={\"ifindex\": 7, \"program\": \"on_its_way\"}",
        "ports[2]=9",
        "counts[0]=100",
        "next[1]=short_frame",
    ]);
    let wanted =
        ["1 out of interface 7", "1 out of interface 9", "1 XDP_PASS", "1 XDP_TX", "  0: 103", "  1: 7"];
    expect(&out, &wanted);
    expect(&run(&[]), &["3 XDP_PASS", "1 XDP_DROP", "  0: 3"]);
    // As `skep maps dump -f json` prints entries, of maps without types too.
    std::fs::write(&table, "{\"key\":0,\"value\":41}\n{\"key\":1,\"value\":\"hex:0500000000000000\"}\n")
        .unwrap();
    expect(&run(&[&format!("counts={table}")]), &["  0: 44", "  1: 5"]);
    for (map, why) in [
        ("other[1]=2", "map other: there is none; there are:"),
        ("routes[x]=1", "`x` is no prefix such as 10.0.0.0/8"),
        ("counts[9]=1", "it has 4 entries"),
        ("counts[0]=\"x\"", "value: \"x\", expected __u64"),
        ("ports[1]={\"ifindex\": 7, \"program\": \"x\"}", "there is no program `x`; there are: forward,"),
        ("ports[1]={\"x\": 1}", "`x` is none of its members: ifindex (a number), program (a name)"),
        ("ports[1]=hex:0000000000000000", "is neither a number nor"),
        ("next[1]=5", "5 is no program's name"),
    ] {
        let out = run(&[map]);
        assert!(!out.status.success(), "{map}");
        expect(&out, &[why]);
    }
    let script = "begin { @x++; printf(\"%d\\n\", @x); }";
    expect(&skep(&["run", "-e", script, "--map", "@x[]=41"]), &["42\n"]);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn functions_of_structures_run_by_name() {
    let out = skep(&["run", &object("sections"), "--prog", "on_struct_ops", "--ctx", "0000000000000000"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    expect(&out, &["r0 = 0x0 (0), 2 instructions"]);
    expect(&skep(&["run", &object("plain")]), &["note: nothing has run"]);
}
