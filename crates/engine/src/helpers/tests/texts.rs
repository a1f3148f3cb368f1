//! Strings, numbers, formats, memory.

use super::*;
use crate::helpers::env::effects::Effect;

fn tracing() -> Rig {
    Rig::new(ProgType::RawTracepoint, Env::default())
}

fn printed(rig: &mut Rig, format: &str, args: [u64; 3]) -> Result<String, i64> {
    let at = rig.put(format!("{format}\0").as_bytes());
    let len = format.len() as u64 + 1;
    let r0 = rig.ok(id::TRACE_PRINTK, &[at, len, args[0], args[1], args[2]]) as i64;
    if r0 < 0 {
        return Err(-r0);
    }
    match rig.env().effects.take().pop() {
        Some(Effect::Print(text)) if text.len() as i64 == r0 => Ok(text),
        other => panic!("{other:?} for {r0}"),
    }
}

#[test]
fn formats() {
    let mut rig = tracing();
    let text = rig.put(b"word\0");
    let ip = rig.put(&[10, 0, 0, 1]);
    let minus = -5i64 as u64;
    let cases = [
        ("plain 100%%", [0; 3], "plain 100%"),
        ("%d %i %u", [minus, 7, minus], "-5 7 4294967291"),
        ("%ld %lld %lu", [minus, minus, 1 << 40], "-5 -5 1099511627776"),
        ("%x %X %lx", [0xabc, 0xabc, minus], "abc ABC fffffffffffffffb"),
        ("[%5d] [%-5d] [%05d]", [42, 42, minus], "[   42] [42   ] [-0005]"),
        ("[%+d] [% d] [%8s]", [3, 4, text], "[+3] [ 4] [    word]"),
        ("%pI4 %pi4 %c", [ip, ip, u64::from(b'x')], "10.0.0.1 010.000.000.001 x"),
        ("%px|%s|", [0x1234, 0xdead_0000_0000, 0], "0000000000001234||"),
        ("%pks.", [text, 0, 0], "word."),
    ];
    for (format, args, expected) in cases {
        assert_eq!(printed(&mut rig, format, args).as_deref(), Ok(expected), "{format}");
    }
    for bad in ["%d %d %d %d", "%f", "%sx", "%pZ", "%", "%l", "\u{1}"] {
        assert_eq!(printed(&mut rig, bad, [0; 3]), Err(22), "{bad}");
    }
}

#[test]
fn snprintf_cuts_and_says_what_it_needed() {
    let mut rig = tracing();
    let format = rig.put(b"%d+%d\0");
    let args = rig.put(&[1000u64.to_ne_bytes(), 2000u64.to_ne_bytes()].concat());
    let out = rig.put(&[9; 16]);
    assert_eq!(rig.ok(id::SNPRINTF, &[out, 16, format, args, 16]), 10);
    assert_eq!(rig.get(out, 11), b"1000+2000\0\x09");
    assert_eq!(rig.ok(id::SNPRINTF, &[out, 4, format, args, 16]), 10);
    assert_eq!(rig.get(out, 5), b"100\0+");
    assert_eq!(rig.ok(id::SNPRINTF, &[0, 0, format, args, 16]), 10);
    assert_eq!(rig.ok(id::SNPRINTF, &[out, 16, format, args, 8]), error(22), "too few");
    assert_eq!(rig.ok(id::SNPRINTF, &[out, 16, format, args, 12]), error(22), "no whole number of them");
}

#[test]
fn numbers_in_texts() {
    let mut rig = tracing();
    let out = rig.put(&[0; 8]);
    let mut value = |helper, text: &str, base| {
        let at = rig.put(text.as_bytes());
        let r0 = rig.ok(helper, &[at, text.len() as u64, base, out]) as i64;
        (r0, i64::from_ne_bytes(rig.get(out, 8).try_into().unwrap()))
    };
    assert_eq!(value(id::STRTOL, "-12 x", 10), (3, -12));
    assert_eq!(value(id::STRTOL, "-9223372036854775808", 10), (20, i64::MIN));
    assert_eq!(value(id::STRTOL, "9223372036854775808", 10), (-34, 0));
    assert_eq!(value(id::STRTOUL, "-1", 10), (-22, 0));
    assert_eq!(value(id::STRTOUL, "0xff", 0), (4, 255));
}

#[test]
fn strings_compare() {
    let mut rig = tracing();
    let (a, b) = (rig.put(b"abc\0xx"), rig.put(b"abd\0"));
    assert_eq!(rig.ok(id::STRNCMP, &[a, 2, b]), 0);
    assert_eq!(rig.ok(id::STRNCMP, &[a, 3, b]) as i64, -1);
    assert_eq!(rig.ok(id::STRNCMP, &[b, 3, a]), 1);
    let c = rig.put(b"abc\0");
    assert_eq!(rig.ok(id::STRNCMP, &[a, 6, c]), 0, "the end of the string is the end");
    assert_eq!(rig.kfunc("bpf_strcmp", &[a, c]), 0);
    assert_eq!(rig.kfunc("bpf_strlen", &[a]), 3);
    assert_eq!(rig.kfunc("bpf_strchr", &[a, u64::from(b'c')]), 2);
    assert_eq!(rig.kfunc("bpf_strchr", &[a, u64::from(b'x')]), error(2));
    let part = rig.put(b"bc\0");
    assert_eq!(rig.kfunc("bpf_strstr", &[a, part]), 1);
    assert_eq!(rig.kfunc("bpf_strlen", &[0xdead_0000_0000]), error(14));
}

#[test]
fn recorded_memory() {
    let mut rig = tracing();
    let out = rig.put(&[9; 16]);
    rig.env().kernel.put(0xffff_8000_0000_1000, b"kernel\0");
    rig.env().user.put(0x7000_0000_0000, b"user space\0");
    assert_eq!(rig.ok(id::PROBE_READ_KERNEL, &[out, 6, 0xffff_8000_0000_1000]), 0);
    assert_eq!(rig.get(out, 7), b"kernel\x09");
    assert_eq!(rig.ok(id::PROBE_READ_USER, &[out, 4, 0xffff_8000_0000_1000]), error(14));
    assert_eq!(rig.get(out, 5), b"\0\0\0\0e", "zeros where it failed");
    assert_eq!(rig.ok(id::PROBE_READ_USER_STR, &[out, 16, 0x7000_0000_0000]), 11);
    assert_eq!(rig.ok(id::PROBE_READ_USER_STR, &[out, 5, 0x7000_0000_0000]), 5);
    assert_eq!(rig.get(out, 5), b"user\0");
    assert_eq!(rig.ok(id::PROBE_READ_KERNEL_STR, &[out, 8, 1]), error(14));
    let own = rig.put(b"stack");
    assert_eq!(rig.ok(id::PROBE_READ_KERNEL, &[out, 5, own]), 0, "its own memory is the kernel's");
    assert!(rig.fault(id::PROBE_READ_KERNEL, &[0, 5, own]).contains("null pointer"));
    let word = rig.put(b"new");
    assert_eq!(rig.ok(id::PROBE_WRITE_USER, &[0x7000_0000_0000, word, 3]), 0);
    assert_eq!(rig.ok(id::PROBE_READ_USER, &[out, 4, 0x7000_0000_0000]), 0);
    assert_eq!(rig.get(out, 4), b"newr", "it reads what it wrote; nothing else did");
}
