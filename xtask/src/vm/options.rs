//! The arguments of `cargo xtask vm`.
//!
//! In: words. Out: `Options`, or a message that names the word at fault.

use std::path::PathBuf;
use std::time::Duration;

pub(super) const USAGE: &str = "\
usage: cargo xtask vm [OPTIONS] [-- ARGS]      ARGS go to the harness: --filter SUBSTR, --verbose, …

  --suite S         bullseye, bookworm, bookworm-backports, sid, another suite of the same mirror,
                    oldest, newest or all (the default)
  --smoke           only the tests that are marked for it
  --bench           skep-bench runs instead of the harness, with ARGS
  --append WORDS    more words for the kernel's command line, such as preempt=full
  --skep PATH       a static skep that is built already
  --time-limit S    seconds until a guest is given up
  --refresh         ask the mirror again even if the cached kernel is fresh

The cache is the folder SKEP_VM_CACHE, else skep-vm in XDG_CACHE_HOME, else in ~/.cache.";

/// What to run on which guests.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) suite: String,
    pub(super) smoke: bool,
    pub(super) bench: bool,
    pub(super) append: String,
    pub(super) skep: Option<PathBuf>,
    pub(super) time_limit: Option<Duration>,
    pub(super) refresh: bool,
    pub(super) harness: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            suite: "all".to_owned(),
            smoke: false,
            bench: false,
            append: String::new(),
            skep: None,
            time_limit: None,
            refresh: false,
            harness: Vec::new(),
        }
    }
}

/// Parses the words after `vm`.
pub(super) fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let mut value = || rest.next().cloned().ok_or_else(|| format!("{argument} needs a value\n{USAGE}"));
        match argument.as_str() {
            "--suite" => options.suite = suite(value()?)?,
            "--smoke" => options.smoke = true,
            "--bench" => options.bench = true,
            "--append" => options.append = value()?,
            "--skep" => options.skep = Some(PathBuf::from(value()?)),
            "--time-limit" => {
                let text = value()?;
                let seconds = text.parse().map_err(|_| format!("--time-limit {text}: expected seconds"))?;
                options.time_limit = Some(Duration::from_secs(seconds));
            }
            "--refresh" => options.refresh = true,
            "--" => {
                options.harness = rest.cloned().collect();
                break;
            }
            other => return Err(format!("unknown argument {other}\n{USAGE}")),
        }
    }
    Ok(options)
}

/// A suite's name becomes part of a path and of a source list.
fn suite(name: String) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
    match !name.is_empty() && name.chars().all(good) {
        true => Ok(name),
        false => Err(format!("--suite {name}: expected letters, digits and -")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn takes_what_the_usage_says() {
        let options = parse(&words("--suite sid --smoke --append preempt=full -- --filter a")).unwrap();
        assert_eq!(options.suite, "sid");
        assert_eq!(options.append, "preempt=full");
        assert_eq!(options.harness, ["--filter", "a"]);
        assert!(options.smoke);
    }

    #[test]
    fn names_what_is_wrong() {
        for bad in ["--suite", "--suite ../x", "--nonsense", "--time-limit soon"] {
            assert!(parse(&words(bad)).is_err(), "{bad}");
        }
    }
}
