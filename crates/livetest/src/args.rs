//! The harness's own command line.
//!
//! In: the arguments. Out: `Options`, or a message that names the argument at fault.

use std::path::PathBuf;

/// How the program under test is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `skep trace …`, each fixture with the compiler's passes on and off.
    Skep,
    /// `bpftrace …`: the reference implementation, to see whether a fixture says what bpftrace says.
    Bpftrace,
}

/// What to run, and how.
#[derive(Debug)]
pub(crate) struct Options {
    /// The program under test, with leading words (`chroot DIR bpftrace` is three).
    pub(crate) program: Vec<String>,
    pub(crate) style: Style,
    pub(crate) fixtures: PathBuf,
    /// Only cases whose full name contains one of these; empty means all.
    pub(crate) filters: Vec<String>,
    /// Only cases marked `smoke: yes`.
    pub(crate) smoke: bool,
    /// Factor on every time limit, for emulated machines.
    pub(crate) time_scale: u32,
    /// Record a run of each case and let it happen again on the offline machine.
    pub(crate) replay: bool,
    /// Print the transcript of every run, not only of failed ones.
    pub(crate) verbose: bool,
    /// Only list the names of the cases.
    pub(crate) list: bool,
    /// Objects that were written elsewhere, for cases with `via: object`.
    pub(crate) objects: Option<PathBuf>,
    /// Only write the objects of such cases into this folder.
    pub(crate) emit_to: Option<PathBuf>,
}

pub(crate) const USAGE: &str = "\
usage: livetest --skep PATH --fixtures DIR [--filter SUBSTR]… [--smoke] [--time-scale N] [--verbose] [--list]
       livetest --skep PATH --fixtures DIR --replay …         each case recorded and replayed offline too
       livetest --bpftrace 'COMMAND WORDS' --fixtures DIR …   the same fixtures against bpftrace
       livetest --skep PATH --fixtures DIR --emit-to DIR      write the objects of the cases with `via: object`
       livetest --skep PATH --fixtures DIR --objects DIR …    run those objects in place of their scripts
       livetest workload NAME ARGS…                           one load, see crates/livetest/src/workload";

/// Parses the arguments after the program's name.
pub(crate) fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options {
        program: Vec::new(),
        style: Style::Skep,
        fixtures: PathBuf::new(),
        filters: Vec::new(),
        smoke: false,
        time_scale: 1,
        replay: false,
        verbose: false,
        list: false,
        objects: None,
        emit_to: None,
    };
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().cloned().ok_or_else(|| format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--skep" => {
                options.program = vec![value()?];
                options.style = Style::Skep;
            }
            "--bpftrace" => {
                options.program = value()?.split_whitespace().map(str::to_owned).collect();
                options.style = Style::Bpftrace;
            }
            "--objects" => options.objects = Some(PathBuf::from(value()?)),
            "--emit-to" => options.emit_to = Some(PathBuf::from(value()?)),
            "--fixtures" => options.fixtures = PathBuf::from(value()?),
            "--filter" => options.filters.push(value()?),
            "--smoke" => options.smoke = true,
            "--replay" => options.replay = true,
            "--verbose" => options.verbose = true,
            "--list" => options.list = true,
            "--time-scale" => {
                let text = value()?;
                options.time_scale =
                    text.parse().ok().filter(|n| (1..=1000).contains(n)).ok_or_else(|| {
                        format!("--time-scale {text}: expected a whole number from 1 to 1000")
                    })?;
            }
            other => return Err(format!("unknown argument {other}\n{USAGE}")),
        }
    }
    if options.fixtures.as_os_str().is_empty() || (options.program.is_empty() && !options.list) {
        return Err(format!("--skep and --fixtures are needed\n{USAGE}"));
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn takes_what_the_usage_says() {
        let options = parse(&words("--skep target/skep --fixtures tests/kernel --filter a --smoke")).unwrap();
        assert_eq!(options.program, ["target/skep"]);
        assert!(options.smoke);
        assert_eq!(options.filters, ["a"]);
    }

    #[test]
    fn names_what_is_wrong() {
        assert!(parse(&words("--skep")).unwrap_err().contains("--skep needs a value"));
        assert!(parse(&words("--time-scale 0")).unwrap_err().contains("--time-scale 0"));
        assert!(parse(&words("--nonsense")).unwrap_err().contains("--nonsense"));
        assert!(parse(&words("--smoke")).unwrap_err().contains("--fixtures"));
    }
}
