//! Timers and counters: `profile`, `interval`, `software` and `hardware`. The parts of an attach point enter, perf
//! events leave (include/uapi/linux/perf_event.h, Linux 6.18).

use super::ProbeKind;
use skep_bpf::object::{Attach, Sample};

const TYPE_HARDWARE: u32 = 0;
const TYPE_SOFTWARE: u32 = 1;
const SW_CPU_CLOCK: u64 = 0;
/// Shortest time between two events, nanoseconds.
const SHORTEST: u64 = 1000;

/// An event by name.
pub(crate) struct Event {
    /// Name.
    pub(crate) name: &'static str,
    /// Other name; empty: none.
    pub(crate) alias: &'static str,
    /// `PERF_COUNT_*`.
    config: u64,
    /// Events between two probes where none are given.
    period: u64,
}

const fn event(name: &'static str, alias: &'static str, config: u64, period: u64) -> Event {
    Event { name, alias, config, period }
}

/// Software events (`PERF_COUNT_SW_*`).
static SOFTWARE: &[Event] = &[
    event("alignment-faults", "", 7, 1),
    event("bpf-output", "", 10, 1),
    event("context-switches", "cs", 3, 1000),
    event("cpu-clock", "cpu", SW_CPU_CLOCK, 1_000_000),
    event("cpu-migrations", "", 4, 1),
    event("dummy", "", 9, 1),
    event("emulation-faults", "", 8, 1),
    event("major-faults", "", 6, 1),
    event("minor-faults", "", 5, 100),
    event("page-faults", "faults", 2, 100),
    event("task-clock", "", 1, 1),
];

/// Hardware events (`PERF_COUNT_HW_*`).
static HARDWARE: &[Event] = &[
    event("backend-stalls", "", 8, 1_000_000),
    event("branch-instructions", "branches", 4, 100_000),
    event("branch-misses", "", 5, 100_000),
    event("bus-cycles", "", 6, 100_000),
    event("cache-misses", "", 3, 1_000_000),
    event("cache-references", "", 2, 1_000_000),
    event("cpu-cycles", "cycles", 0, 1_000_000),
    event("frontend-stalls", "", 7, 1_000_000),
    event("instructions", "", 1, 1_000_000),
    event("ref-cycles", "", 9, 1_000_000),
];

/// Units of timers: (name, nanoseconds; 0: a rate).
pub(crate) static UNITS: &[(&str, u64)] = &[("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1000), ("hz", 0)];

/// The events of a kind.
pub(crate) fn events(kind: ProbeKind) -> &'static [Event] {
    if kind == ProbeKind::Hardware { HARDWARE } else { SOFTWARE }
}

/// A timer from what stands behind the kind: its name as shown and the event, or what is wrong.
pub(crate) fn timer(kind: ProbeKind, parts: &[String]) -> Result<(String, Attach), String> {
    let (unit, count) = match parts {
        [count] => {
            let nanos = number(count).ok_or_else(|| not_a_number(count))?;
            if nanos < SHORTEST {
                return Err(format!("{nanos} ns is too short, the least is {SHORTEST} ns (1us)"));
            }
            ("us", nanos / SHORTEST)
        }
        [unit, count] => (unit.as_str(), number(count).ok_or_else(|| not_a_number(count))?),
        _ => return Err(format!("expected `{}`", kind.info().form)),
    };
    let Some((_, nanos)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(format!("`{unit}` is no unit of time, expected one of: s, ms, us, hz"));
    };
    if count == 0 {
        return Err("the rate must be greater than zero".to_owned());
    }
    let sample = match nanos {
        0 => Sample::Frequency(count),
        n => Sample::Period(count.checked_mul(*n).ok_or_else(|| format!("{count} {unit} is too long"))?),
    };
    let attach = Attach::PerfEvent {
        perf_type: TYPE_SOFTWARE,
        config: SW_CPU_CLOCK,
        sample,
        one_cpu: kind == ProbeKind::Interval,
        pid: None,
    };
    Ok((format!("{}:{unit}:{count}", kind.name()), attach))
}

/// A counter from what stands behind the kind. `Err`: what is wrong.
pub(crate) fn counter(kind: ProbeKind, parts: &[String]) -> Result<(String, Attach), String> {
    let (name, count) = match parts {
        [name] => (name, None),
        [name, count] if count.is_empty() || count == "*" => (name, None),
        [name, count] => (name, Some(number(count).ok_or_else(|| not_a_number(count))?)),
        _ => return Err(format!("expected `{}`", kind.info().form)),
    };
    let found = events(kind).iter().find(|e| e.name == name || (!e.alias.is_empty() && e.alias == name));
    let Some(event) = found else {
        return Err(format!("`{name}` is not a {} event", kind.name()));
    };
    let period = count.filter(|n| *n > 0).unwrap_or(event.period);
    let perf_type = if kind == ProbeKind::Hardware { TYPE_HARDWARE } else { TYPE_SOFTWARE };
    let attach = Attach::PerfEvent {
        perf_type,
        config: event.config,
        sample: Sample::Period(period),
        one_cpu: false,
        pid: None,
    };
    Ok((format!("{}:{name}:{period}", kind.name()), attach))
}

fn not_a_number(text: &str) -> String {
    format!("`{text}` is not a number")
}

/// An unsigned integer as attach points write it: decimal, `0x…`, octal, `1e6`, with `_` between digits and a unit of
/// time (`10ms`: nanoseconds).
pub(crate) fn number(text: &str) -> Option<u64> {
    const SUFFIXES: &[(&str, u64)] = &[
        ("ns", 1),
        ("us", 1000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
    ];
    let clean = text.replace('_', "");
    if !clean.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    if let Some(hex) = clean.strip_prefix("0x").or_else(|| clean.strip_prefix("0X")) {
        return u64::from_str_radix(hex, 16).ok();
    }
    let end = clean.find(|c: char| c.is_ascii_alphabetic() && c != 'e' && c != 'E').unwrap_or(clean.len());
    let (digits, suffix) = clean.split_at(end);
    let unit = match suffix {
        "" => 1,
        s => SUFFIXES.iter().find(|(name, _)| *name == s)?.1,
    };
    let value = match digits.split_once(['e', 'E']) {
        Some((m, e)) => m.parse::<u64>().ok()?.checked_mul(10u64.checked_pow(e.parse().ok()?)?)?,
        None if digits.len() > 1 && digits.starts_with('0') => u64::from_str_radix(digits, 8).ok()?,
        None => digits.parse().ok()?,
    };
    value.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<String> {
        text.split(':').map(str::to_owned).collect()
    }

    #[test]
    fn numbers() {
        for (text, value) in [
            ("99", Some(99)),
            ("0x10", Some(16)),
            ("1e6", Some(1_000_000)),
            ("1_000", Some(1000)),
            ("1s", Some(1_000_000_000)),
            ("10ms", Some(10_000_000)),
            ("010", Some(8)),
            ("-1", None),
            ("x", None),
            ("1e99", None),
            ("", None),
        ] {
            assert_eq!(number(text), value, "{text}");
        }
    }

    #[test]
    fn timers() {
        let of = |text: &str| {
            timer(ProbeKind::Interval, &parts(text)).map(|(name, attach)| match attach {
                Attach::PerfEvent { sample, one_cpu: true, .. } => (name, sample),
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(of("s:1"), Ok(("interval:s:1".to_owned(), Sample::Period(1_000_000_000))));
        assert_eq!(of("1s"), Ok(("interval:us:1000000".to_owned(), Sample::Period(1_000_000_000))));
        assert_eq!(of("hz:99"), Ok(("interval:hz:99".to_owned(), Sample::Frequency(99))));
        for bad in ["s:0", "10", "x:1", "s:x", "s:1:2", "s:99999999999999"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn counters() {
        let of = |text: &str| counter(ProbeKind::Software, &parts(text)).map(|(name, _)| name);
        assert_eq!(of("faults:10"), Ok("software:faults:10".to_owned()));
        assert_eq!(of("cs:"), Ok("software:cs:1000".to_owned()));
        assert!(of("fault").is_err());
    }
}
