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
            "value.wings",
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
            "need what libbpf's runtime sets up",
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
