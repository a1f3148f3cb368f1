//! Attach points as text: `tracepoint:sched:sched_switch` enters, its kind and parts leave. Quotes keep `:` in a part, `\`
//! within them takes the next character as it is, and `$1` stands for a positional parameter.

use super::{KINDS, ProbeKind};
use crate::suggest;

/// An attach point taken apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Spec {
    /// Kind.
    pub(crate) kind: ProbeKind,
    /// What follows the kind, split at `:`; an `@` outside quotes is a part of its own.
    pub(crate) parts: Vec<String>,
}

/// Longest attach point in bytes, parameters filled in.
const MAX_TEXT: usize = 4096;

/// Takes an attach point apart. `Err`: what is wrong, and perhaps a hint.
pub(crate) fn parse(text: &str, params: &[String]) -> Result<Spec, (String, Option<String>)> {
    let mut parts = split(text, params).map_err(|message| (message, None))?.into_iter();
    let first = parts.next().unwrap_or_default();
    let name = match first.split_once('=') {
        Some((label, name)) if !label.is_empty() && !name.is_empty() => name,
        _ => first.as_str(),
    };
    let Some(kind) = ProbeKind::from_name(name) else {
        let names = KINDS.iter().map(|k| k.name);
        let hint = match suggest::nearest(name, names.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("kinds of probe are: {}", names.collect::<Vec<_>>().join(", ")),
        };
        return Err((format!("`{name}` is not a kind of probe"), Some(hint)));
    };
    Ok(Spec { kind, parts: parts.collect() })
}

/// Splits at `:` outside quotes, with parameters filled in.
fn split(text: &str, params: &[String]) -> Result<Vec<String>, String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if parts.len() > 64 || parts.iter().map(String::len).sum::<usize>() > MAX_TEXT {
            return Err("the attach point is too long".to_owned());
        }
        let Some(part) = parts.last_mut() else { break };
        match c {
            '"' => quoted = !quoted,
            '\\' if quoted => part.extend(chars.next()),
            ':' if !quoted => parts.push(String::new()),
            '@' if !quoted => parts.extend(["@".to_owned(), String::new()]),
            '$' if !quoted => {
                let mut digits = String::new();
                while let Some(d) = chars.next_if(char::is_ascii_digit) {
                    digits.push(d);
                }
                let number: usize =
                    digits.parse().ok().filter(|n| *n > 0).ok_or_else(|| bad_parameter(&digits))?;
                let text = params.get(number - 1).map_or("", String::as_str);
                let mut pieces = text.split(':');
                part.push_str(pieces.next().unwrap_or(""));
                parts.extend(pieces.map(str::to_owned));
            }
            c => part.push(c),
        }
    }
    Ok(parts)
}

fn bad_parameter(digits: &str) -> String {
    format!("`${digits}` is no positional parameter; quote the part if a `$` is meant")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<String> {
        parse(text, &["bash".to_owned(), "9".to_owned()]).unwrap().parts
    }

    #[test]
    fn splits_with_quotes_and_parameters() {
        assert_eq!(parts("kprobe:vfs_read"), ["vfs_read"]);
        assert_eq!(parts("uprobe:/bin/$1:read$2"), ["/bin/bash", "read9"]);
        assert_eq!(parts("uprobe:/a:cpp:\"A::b \\\"$1\""), ["/a", "cpp", "A::b \"$1"]);
        assert_eq!(parts("uprobe:/a@b.c:3"), ["/a", "@", "b.c", "3"]);
        assert_eq!(parts("BEGIN"), Vec::<String>::new());
        assert_eq!(parts("software:faults:"), ["faults", ""]);
        assert_eq!(parse("x=t:a:b", &[]).unwrap().kind, ProbeKind::Tracepoint);
    }

    #[test]
    fn unknown_kinds_have_a_near_name() {
        let (message, hint) = parse("tracepoin:a:b", &[]).unwrap_err();
        assert!(message.contains("`tracepoin`") && hint.unwrap().contains("`tracepoint`"));
        assert!(parse("k:$x", &[]).is_err());
        assert!(parse("k:$0", &[]).is_err());
        assert!(parse(&"k:$1".repeat(400), &["x".repeat(400)]).is_err());
    }
}
