//! The kernel's configuration, for the values of `.kconfig`: `/proc/config.gz`, or `/boot/config-RELEASE`. Names and types
//! enter, bytes leave (libbpf's `set_kcfg_value_*`, Linux 6.18).

use std::collections::HashMap;
use std::io::Read;

use skep_bpf::object::{KconfigKind, KconfigVar};
use skep_bpf::target::Feature;

use crate::error::Error;
use crate::live::LiveTarget;
use crate::machine;

/// Most bytes of a configuration.
const MAX_CONFIG: u64 = 4 << 20;

/// Values by name, as written.
type Config = HashMap<String, String>;

fn read() -> Result<Config, Error> {
    let mut text = String::new();
    let plain = format!("/boot/config-{}", machine::release());
    let opened = match std::fs::File::open("/proc/config.gz") {
        Ok(file) => flate2::read::GzDecoder::new(file).take(MAX_CONFIG).read_to_string(&mut text),
        Err(_) => std::fs::File::open(&plain).and_then(|f| f.take(MAX_CONFIG).read_to_string(&mut text)),
    };
    match opened {
        Ok(_) => Ok(parse(&text)),
        Err(_) => Err(Error::Missing(format!("the kernel's configuration (/proc/config.gz or {plain})"))),
    }
}

fn parse(text: &str) -> Config {
    let lines = text.lines().filter(|l| l.starts_with("CONFIG_"));
    lines.filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect()
}

/// Writes the values of `vars` into `data`.
pub(crate) fn fill(vars: &[KconfigVar], data: &mut [u8], target: &LiveTarget) -> Result<(), Error> {
    let mut config = None;
    for var in vars {
        let value = match made_up(&var.name, target) {
            Some(value) if var.kind == KconfigKind::Bool => {
                Some(if value == 0 { "n" } else { "y" }.to_owned())
            }
            Some(value) => Some(value.to_string()),
            None => {
                if config.is_none() {
                    let read = read();
                    // Without a configuration, what may be missing is missing.
                    config = Some(if vars.iter().all(|v| v.weak) { read.unwrap_or_default() } else { read? });
                }
                config.as_ref().and_then(|c| c.get(&var.name).cloned())
            }
        };
        match value {
            Some(value) => set(var, &value, data)?,
            None if var.weak => {}
            None => return Err(Error::Missing(format!("{} in the kernel's configuration", var.name))),
        }
    }
    Ok(())
}

/// Names that are no options, which libbpf gives values.
fn made_up(name: &str, target: &LiveTarget) -> Option<u64> {
    let version = machine::version();
    Some(match name {
        "LINUX_KERNEL_VERSION" => {
            u64::from(version.major) << 16 | u64::from(version.minor) << 8 | u64::from(version.patch.min(255))
        }
        "LINUX_HAS_BPF_COOKIE" => target.supports(Feature::AttachCookie).into(),
        // Both architectures have them since long before the oldest kernel that runs skep.
        "LINUX_HAS_SYSCALL_WRAPPER" => 1,
        _ => return None,
    })
}

fn set(var: &KconfigVar, value: &str, data: &mut [u8]) -> Result<(), Error> {
    let bad = || Error::Damaged {
        what: format!("kconfig value {}", var.name),
        why: format!("`{value}` is no value of its type ({:?}, {} bytes)", var.kind, var.size),
    };
    let end = (var.offset as usize).checked_add(var.size as usize).ok_or_else(bad)?;
    let slot = data.get_mut(var.offset as usize..end).ok_or_else(bad)?;
    let number: u64 = match (var.kind, value) {
        (KconfigKind::Text, text) => {
            let text = text.trim_matches('"').as_bytes();
            let n = text.len().min(slot.len().saturating_sub(1));
            slot[..n].copy_from_slice(&text[..n]);
            return Ok(());
        }
        (KconfigKind::Bool, "y") => 1,
        (KconfigKind::Bool, "n") => 0,
        (KconfigKind::Tristate, "n") => 0,
        (KconfigKind::Tristate, "y") => 1,
        (KconfigKind::Tristate, "m") => 2,
        (KconfigKind::Char, text) if matches!(text, "y" | "n" | "m") => text.as_bytes()[0].into(),
        (KconfigKind::Char | KconfigKind::Int { .. }, text) => integer(text).ok_or_else(bad)?,
        _ => return Err(bad()),
    };
    let signed = matches!(var.kind, KconfigKind::Int { signed: true });
    let bits = (var.size * 8).min(64);
    let fits = match signed {
        _ if bits == 64 => true,
        true => (number as i64) >> (bits - 1) == 0 || (number as i64) >> (bits - 1) == -1,
        false => number >> bits == 0,
    };
    if !fits {
        return Err(bad());
    }
    let bytes = number.to_ne_bytes();
    let bytes = if cfg!(target_endian = "little") { &bytes[..] } else { &bytes[8 - slot.len().min(8)..] };
    slot.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    Ok(())
}

fn integer(text: &str) -> Option<u64> {
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok();
    }
    text.parse::<u64>().ok().or_else(|| text.parse::<i64>().ok().map(|n| n as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_by_type() {
        let config = parse("# CONFIG_A is not set\nCONFIG_HZ=250\nCONFIG_NAME=\"bee hive\"\nCONFIG_M=m\n");
        assert_eq!(config.get("CONFIG_HZ").map(String::as_str), Some("250"));
        assert!(!config.contains_key("CONFIG_A"));
        let var = |offset, size, kind| KconfigVar { name: "X".into(), offset, size, kind, weak: false };
        let mut data = [0u8; 16];
        set(&var(0, 4, KconfigKind::Int { signed: true }), "-2", &mut data).unwrap();
        set(&var(4, 1, KconfigKind::Bool), "y", &mut data).unwrap();
        set(&var(5, 4, KconfigKind::Text), "\"bees\"", &mut data).unwrap();
        set(&var(12, 4, KconfigKind::Tristate), "m", &mut data).unwrap();
        assert_eq!(data, *b"\xfe\xff\xff\xff\x01bee\0\0\0\0\x02\0\0\0");
        for (value, size, kind) in [
            ("256", 1, KconfigKind::Int { signed: false }),
            ("128", 1, KconfigKind::Int { signed: true }),
            ("x", 4, KconfigKind::Int { signed: true }),
            ("m", 1, KconfigKind::Bool),
        ] {
            assert!(set(&var(0, size, kind), value, &mut data).is_err(), "{value}");
        }
        assert!(set(&var(14, 4, KconfigKind::Int { signed: true }), "1", &mut data).is_err());
    }
}
