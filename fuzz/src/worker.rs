//! A process that takes inputs. It writes the number of each into its progress file before it takes it, and a line for each
//! failure to standard output: `FAIL NUMBER PLACE: MESSAGE`.

use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::rng::Rng;
use crate::targets::{self, Target};

/// Longest time for one input.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most bytes that the process may write to. What is reserved and cannot be written, as the offline machine reserves its
/// address space, does not count (mm/mmap.c, `may_expand_vm` and `is_data_mapping`).
const MEMORY: u64 = 4 << 30;

/// Where and why the last panic was.
static LAST: Mutex<String> = Mutex::new(String::new());
/// Inputs taken so far.
static TAKEN: AtomicU64 = AtomicU64::new(0);

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("`{text}` is no number"))
}

fn find(name: &str) -> Result<Box<dyn Target>, String> {
    targets::find(name).ok_or_else(|| format!("there is no target `{name}`"))
}

/// Takes one input; what broke.
fn take(target: &dyn Target, input: &[u8]) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| target.take(input))) {
        Ok(Ok(())) => None,
        Ok(Err(why)) => Some(format!("invariant: {why}")),
        Err(_) => Some(LAST.lock().map(|last| last.clone()).unwrap_or_default()),
    }
}

fn prepare() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!("{}:{}", at.file(), at.line())).unwrap_or_default();
        let text = info.payload();
        let text = text.downcast_ref::<String>().cloned();
        let text = text.or_else(|| info.payload().downcast_ref::<&str>().map(|s| (*s).to_owned()));
        if let Ok(mut last) = LAST.lock() {
            *last = format!("{place}: {}", text.unwrap_or_default().replace('\n', " "));
        }
    }));
    let limit = rustix::process::Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Data, limit);
    // An input that takes too long ends the process, which its parent sees.
    std::thread::spawn(|| {
        loop {
            let before = TAKEN.load(Ordering::Relaxed);
            std::thread::sleep(PATIENCE);
            if TAKEN.load(Ordering::Relaxed) == before {
                std::process::exit(124);
            }
        }
    });
}

/// Takes inputs `from` to `to` (exclusive).
pub(crate) fn run(target: &str, seed: &str, from: &str, to: &str, progress: &str) -> Result<bool, String> {
    let target = find(target)?;
    let seed = number(seed)?;
    let progress = std::fs::File::create(progress).map_err(|e| format!("{progress}: {e}"))?;
    prepare();
    for index in number(from)?..number(to)? {
        let _ = progress.write_all_at(&index.to_le_bytes(), 0);
        let input = target.make(&mut Rng::new(seed, index));
        if let Some(what) = take(target.as_ref(), &input) {
            println!("FAIL {index} {what}");
        }
        TAKEN.fetch_add(1, Ordering::Relaxed);
    }
    Ok(true)
}

/// Prints an input.
pub(crate) fn show(target: &str, seed: &str, index: &str) -> Result<bool, String> {
    use std::io::Write;
    let input = find(target)?.make(&mut Rng::new(number(seed)?, number(index)?));
    std::io::stdout().write_all(&input).map_err(|e| e.to_string())?;
    Ok(true)
}

/// Takes the input in a file.
pub(crate) fn take_file(target: &str, file: &str) -> Result<bool, String> {
    let input = std::fs::read(file).map_err(|e| format!("{file}: {e}"))?;
    let target = find(target)?;
    match target.take(&input) {
        Ok(()) => Ok(true),
        Err(why) => {
            println!("{why}");
            Ok(false)
        }
    }
}
