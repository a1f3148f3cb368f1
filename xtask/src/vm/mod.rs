//! `cargo xtask vm`: the live tests on guest kernels.
//!
//! In: which suites of the distribution, what to run. Out: the harness's lines from each guest, and the sum.
//! Always: a suite that the mirror no longer has is a skip by name; a guest that does not report is a failure.
//!
//! `sources` and `apt` find the packages, `kernel` keeps them in the cache, `modules`, `cpio` and `initramfs` build what the
//! guest boots, `qemu` boots it.

mod apt;
mod cpio;
mod initramfs;
mod kernel;
mod modules;
mod options;
mod qemu;
mod sources;

use std::path::PathBuf;
use std::time::Duration;

use crate::binaries;
use crate::process;
use crate::tally::Tally;
use kernel::{Kernel, Obtained};
use options::Options;

/// The suites with their kernels from old to new.
const SUITES: [&str; 4] = ["bullseye", "bookworm", "bookworm-backports", "sid"];

/// How much slower a guest is than the host: the factor on the harness's time limits.
const SLOWDOWN: &str = "12";

/// The static programs that go into a guest.
pub(crate) struct Programs {
    pub(crate) skep: PathBuf,
    pub(crate) livetest: PathBuf,
    pub(crate) init: PathBuf,
    /// Runs instead of the harness.
    pub(crate) bench: Option<PathBuf>,
}

pub(crate) fn run(arguments: &[String]) -> Result<bool, String> {
    if arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--help") {
        println!("{}", options::USAGE);
        return Ok(true);
    }
    let options = options::parse(arguments)?;
    let programs = Programs {
        skep: match &options.skep {
            Some(path) => path.clone(),
            None => binaries::build(binaries::SKEP)?,
        },
        livetest: binaries::build(binaries::LIVETEST)?,
        init: binaries::build(binaries::GUEST_INIT)?,
        bench: options.bench.then(|| binaries::build(binaries::BENCH)).transpose()?,
    };
    let mut total = Tally::default();
    for (suite, obtained) in select(&options) {
        total.add(on_suite(&suite, obtained, &programs, &options)?);
    }
    println!("{total}");
    Ok(total.failed == 0 && total.passed + total.skipped > 0)
}

/// All tests on the oldest and the newest kernel, a smoke test on those between; then the newest once more, preempting in the
/// kernel, for what only that shows.
pub(crate) fn whole_on_the_ends(programs: &Programs) -> Result<Tally, String> {
    let all = select(&Options::default());
    let there: Vec<usize> =
        (0..all.len()).filter(|&index| matches!(all[index].1, Obtained::Kernel(_))).collect();
    let ends = [there.first().copied(), there.last().copied()];
    let mut total = Tally::default();
    for (index, (suite, obtained)) in all.into_iter().enumerate() {
        let smoke = !ends.contains(&Some(index));
        let options = Options { smoke, ..Options::default() };
        let newest = (ends[1] == Some(index)).then(|| obtained.clone());
        total.add(on_suite(&suite, obtained, programs, &options)?);
        if let Some(newest) = newest {
            let harness = ["--filter", "preemption"].map(str::to_owned).to_vec();
            let options = Options { append: "preempt=full".to_owned(), harness, ..Options::default() };
            total.add(on_suite(&suite, newest, programs, &options)?);
        }
    }
    Ok(total)
}

/// The suites that the options name, each with its kernel or the reason why there is none.
fn select(options: &Options) -> Vec<(String, Obtained)> {
    let obtain = |suite: &str| (suite.to_owned(), kernel::obtain(suite, options.refresh));
    match options.suite.as_str() {
        "all" => SUITES.into_iter().map(obtain).collect(),
        "oldest" => first(SUITES.into_iter(), obtain),
        "newest" => first(SUITES.into_iter().rev(), obtain),
        suite => vec![obtain(suite)],
    }
}

/// Suites in this order up to the first that has a kernel.
fn first(
    suites: impl Iterator<Item = &'static str>,
    obtain: impl Fn(&str) -> (String, Obtained),
) -> Vec<(String, Obtained)> {
    let mut tried = Vec::new();
    for suite in suites {
        tried.push(obtain(suite));
        if matches!(tried.last(), Some((_, Obtained::Kernel(_)))) {
            break;
        }
    }
    tried
}

/// How often a guest is booted whose kernel dies without a report.
const BOOTS: u32 = 3;

/// Boots one suite's kernel and runs the harness in it.
fn on_suite(
    suite: &str,
    obtained: Obtained,
    programs: &Programs,
    options: &Options,
) -> Result<Tally, String> {
    let kernel = match obtained {
        Obtained::Kernel(kernel) => kernel,
        Obtained::Gone(reason) => {
            println!("skip  guest {suite}: {reason}");
            return Ok(Tally::skip());
        }
        Obtained::Failed(message) => {
            println!("FAIL  guest {suite}: no kernel: {message}");
            return Ok(Tally::one(false));
        }
    };
    let Kernel { release, package, version, .. } = &kernel;
    let what = if options.smoke { "smoke" } else { "all" };
    let words = [what, &options.append, &options.harness.join(" ")].join(" ");
    println!("guest {suite}: kernel {release} ({package} {version}), {}", words.trim());
    let logs = binaries::log_dir()?.join("vm").join(suite);
    std::fs::create_dir_all(&logs).map_err(|error| format!("{}: {error}", logs.display()))?;
    let image = logs.join("initramfs.cpio");
    let objects = if options.bench { None } else { objects(programs)? };
    let mut words = if options.bench { bench_words(options) } else { harness_words(options) };
    if objects.is_some() {
        words.splice(0..0, ["--objects", "/objects"].map(str::to_owned));
    }
    initramfs::write(&image, &kernel, programs, &words, objects.as_deref())?;
    let limit = options.time_limit.unwrap_or(Duration::from_secs(if options.smoke { 420 } else { 1800 }));
    let boot = qemu::Boot {
        vmlinuz: &kernel.vmlinuz,
        initramfs: &image,
        append: &options.append,
        logs: &logs,
        limit,
        counted: !options.bench,
    };
    let mut report = qemu::boot(&boot, |line| println!("  {line}"))?;
    for attempt in 2..=BOOTS {
        if !report.died {
            break;
        }
        println!(
            "again guest {suite}: its kernel died, which emulated kernels do at times (boot {attempt} of {BOOTS})"
        );
        report.console_tail.iter().for_each(|line| println!("      console| {line}"));
        report = qemu::boot(&boot, |line| println!("  {line}"))?;
    }
    if let Some(trouble) = &report.trouble {
        println!("FAIL  guest {suite}: {trouble}");
        report.console_tail.iter().for_each(|line| println!("      console| {line}"));
    }
    Ok(report.tally)
}

/// Objects that the running kernel writes for the guests, to be run there; none where only root could.
fn objects(programs: &Programs) -> Result<Option<PathBuf>, String> {
    let dir = binaries::log_dir()?.join("vm").join("objects");
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut command = std::process::Command::new(&programs.livetest);
    command.arg("--skep").arg(&programs.skep).arg("--fixtures").arg(crate::root().join("tests/kernel"));
    command.arg("--emit-to").arg(&dir);
    match process::run(command)?.success {
        true => Ok(Some(dir)),
        false => {
            println!("      no objects of this kernel: guests write their own");
            Ok(None)
        }
    }
}

/// The arguments of the benchmarks inside the guest.
fn bench_words(options: &Options) -> Vec<String> {
    let fixed = ["--skep", "/bin/skep"].map(str::to_owned);
    fixed.into_iter().chain(options.harness.iter().cloned()).collect()
}

/// The harness's arguments inside the guest.
fn harness_words(options: &Options) -> Vec<String> {
    let fixed = ["--skep", "/bin/skep", "--fixtures", "/fixtures", "--time-scale", SLOWDOWN];
    let mut words: Vec<String> = fixed.map(str::to_owned).to_vec();
    if options.smoke {
        words.push("--smoke".to_owned());
    }
    words.extend(options.harness.iter().cloned());
    words
}
