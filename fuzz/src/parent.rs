//! The process that the user starts: it divides the inputs among workers, starts a new one where one ended, and keeps one
//! input of each kind of failure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::rng::Rng;
use crate::{corpus, targets};

/// Most inputs that one worker is given at a time.
const BATCH: u64 = 20_000;
/// Most failures of one target before it is given up.
const MOST: usize = 2_000;

struct Options {
    targets: Vec<String>,
    count: u64,
    seed: u64,
    jobs: usize,
}

fn parse(words: &[&str]) -> Result<Options, String> {
    let mut options = Options { targets: Vec::new(), count: 10_000, seed: 1, jobs: 2 };
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let mut number = || {
            let text = rest.next().ok_or_else(|| format!("{word} needs a number"))?;
            text.parse::<u64>().map_err(|_| format!("{word} {text}: expected a number"))
        };
        match *word {
            "--count" => options.count = number()?,
            "--seed" => options.seed = number()?,
            "--jobs" => options.jobs = number()?.clamp(1, 64) as usize,
            name if targets::TARGETS.iter().any(|(known, ..)| *known == name) => {
                options.targets.push(name.to_owned());
            }
            other => return Err(format!("there is no target or option `{other}`; --help lists them")),
        }
    }
    if options.targets.is_empty() {
        options.targets = targets::TARGETS.iter().map(|(name, ..)| (*name).to_owned()).collect();
    }
    Ok(options)
}

/// Runs the targets; whether nothing broke.
pub(crate) fn run(words: &[&str]) -> Result<bool, String> {
    let options = parse(words)?;
    let mut good = true;
    for target in &options.targets {
        good &= one(target, &options)?;
    }
    Ok(good)
}

/// Failures by what broke, without numbers: how many, and the first input's number.
type Failures = BTreeMap<String, (u64, u64, String)>;

fn one(target: &str, options: &Options) -> Result<bool, String> {
    let dir = corpus::root().join("target").join("fuzz").join(target);
    std::fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    // Made at the start: the fixtures that inputs are made from may change meanwhile.
    let maker = targets::find(target).ok_or("no such target")?;
    let start = Instant::now();
    let next = std::sync::Mutex::new(0u64);
    let failures = std::sync::Mutex::new(Failures::new());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs)
            .map(|job| {
                let progress = dir.join(format!("progress-{}-{job}", std::process::id()));
                let (next, failures) = (&next, &failures);
                scope.spawn(move || {
                    let done = work(target, options, next, failures, &progress);
                    let _ = std::fs::remove_file(&progress);
                    done
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().map_err(|_| "a thread panicked".to_owned())?)
    })?;
    let failures = failures.into_inner().map_err(|e| e.to_string())?;
    let (count, seconds) = (options.count, start.elapsed().as_secs_f64());
    let kinds = failures.len();
    let rate = count as f64 / seconds.max(0.001);
    println!(
        "{target:<12} {count} inputs, seed {}, {seconds:.1} s, {rate:.0} a second: {kinds} kinds of failure",
        options.seed
    );
    for (times, first, what) in failures.values() {
        let file = dir.join(format!("{}-{first}", options.seed));
        let _ = std::fs::write(&file, maker.make(&mut Rng::new(options.seed, *first)));
        let what: String = what.chars().take(300).collect();
        println!("  {times} times, first input {first} ({}): {what}", file.display());
    }
    Ok(kinds == 0)
}

/// Takes batches until there are none left.
fn work(
    target: &str,
    options: &Options,
    next: &std::sync::Mutex<u64>,
    failures: &std::sync::Mutex<Failures>,
    progress: &Path,
) -> Result<(), String> {
    let size = options.count.div_ceil(options.jobs as u64).clamp(1, BATCH);
    loop {
        let from = {
            let mut next = next.lock().map_err(|e| e.to_string())?;
            let from = *next;
            *next = (from + size).min(options.count);
            from
        };
        if from >= options.count || failures.lock().map_err(|e| e.to_string())?.len() >= MOST {
            return Ok(());
        }
        batch(target, options.seed, from, (from + size).min(options.count), failures, progress)?;
    }
}

fn batch(
    target: &str,
    seed: u64,
    mut from: u64,
    to: u64,
    failures: &std::sync::Mutex<Failures>,
    progress: &Path,
) -> Result<(), String> {
    let me: PathBuf = std::env::current_exe().map_err(|e| e.to_string())?;
    while from < to {
        let [seed, first, last] = [seed, from, to].map(|n| n.to_string());
        let mut command = Command::new(&me);
        command.args(["--worker", target, &seed, &first, &last]).arg(progress);
        let done = command.stderr(Stdio::piped()).output().map_err(|e| e.to_string())?;
        for line in String::from_utf8_lossy(&done.stdout).lines() {
            let Some((index, what)) = line.strip_prefix("FAIL ").and_then(|l| l.split_once(' ')) else {
                continue;
            };
            note(failures, index.parse().unwrap_or(0), what)?;
        }
        if done.status.success() {
            return Ok(());
        }
        let at = std::fs::read(progress).ok().and_then(|b| b.first_chunk().copied().map(u64::from_le_bytes));
        let at = at.filter(|at| (from..to).contains(at)).ok_or_else(|| {
            format!("a worker ended at once: {}", String::from_utf8_lossy(&done.stderr).trim())
        })?;
        let said = String::from_utf8_lossy(&done.stderr);
        let said = said.lines().find(|l| !l.is_empty()).unwrap_or("");
        let what = match done.status.code() {
            Some(124) => "it does not end".to_owned(),
            _ => format!("the process ended: {} {said}", done.status),
        };
        note(failures, at, &what)?;
        from = at + 1;
    }
    Ok(())
}

fn note(failures: &std::sync::Mutex<Failures>, index: u64, what: &str) -> Result<(), String> {
    let mut failures = failures.lock().map_err(|e| e.to_string())?;
    // Failures at one place are one; names and numbers in invariants differ.
    let kind: String = match what.strip_prefix("invariant: ") {
        Some(text) => text.chars().filter(|c| !c.is_ascii_digit()).take(50).collect(),
        None => what.split(": ").next().unwrap_or(what).to_owned(),
    };
    let entry = failures.entry(kind).or_insert((0, index, what.to_owned()));
    entry.0 += 1;
    if index < entry.1 {
        (entry.1, entry.2) = (index, what.to_owned());
    }
    Ok(())
}
