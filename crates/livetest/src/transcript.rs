//! The record of a run that failed, for the reader of the log.
//!
//! In: the command and its output. Out: lines, cut where a stream is long.

use crate::expect::Output;

/// The command line as a shell would take it, the streams, the reasons.
pub(crate) fn render(command: &[String], output: &Output, reasons: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = reasons.iter().map(|reason| format!("reason: {reason}")).collect();
    let words: Vec<String> = command.iter().map(|word| quote(word)).collect();
    lines.extend(words.join(" ").lines().map(|line| format!("$ {line}")));
    let streams = [
        ("before", &output.before),
        ("stdout", &output.stdout),
        ("stderr", &output.stderr),
        ("after", &output.after),
    ];
    lines.extend(streams.into_iter().flat_map(|(name, lines)| cut(name, lines)));
    lines
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The first and the last lines of a stream.
fn cut(stream: &str, lines: &[String]) -> Vec<String> {
    const HEAD: usize = 25;
    const TAIL: usize = 15;
    let show = |line: &String| format!("{stream}| {}", line.chars().take(300).collect::<String>());
    if lines.len() <= HEAD + TAIL {
        return lines.iter().map(show).collect();
    }
    let mut shown: Vec<String> = lines[..HEAD].iter().map(show).collect();
    shown.push(format!("{stream}| … {} lines …", lines.len() - HEAD - TAIL));
    shown.extend(lines[lines.len() - TAIL..].iter().map(show));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_streams_are_cut() {
        let stdout = (0..100).map(|n| n.to_string()).collect();
        let output = Output { stdout, ..Output::default() };
        let lines = render(&["skep".into(), "it's".into()], &output, &["because".into()]);
        assert_eq!(lines[..2], ["reason: because", "$ skep 'it'\\''s'"]);
        assert!(lines.contains(&"stdout| … 60 lines …".to_owned()));
        assert_eq!(lines.len(), 2 + 41);
    }
}
