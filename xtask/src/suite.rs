//! `cargo xtask test`: everything that must hold, in one run.
//!
//! In: `--no-guests`. Out: each step under its heading, then one line `N passed, N failed[, N skipped]`.
//! Always: a failed step does not keep the later ones from running, unless they need what it builds.

use std::time::Instant;

use crate::binaries;
use crate::dist;
use crate::live;
use crate::process;
use crate::tally::Tally;
use crate::vm;

struct Run {
    total: Tally,
    failed: Vec<String>,
}

pub(crate) fn run(arguments: &[String]) -> Result<bool, String> {
    let guests = match arguments {
        [] => true,
        [only] if only == "--no-guests" => false,
        _ => return Err("test takes --no-guests or nothing".to_owned()),
    };
    let mut run = Run { total: Tally::default(), failed: Vec::new() };
    run.cargo("format", &["fmt", "--all", "--check"], &[]);
    run.cargo("lints", &["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"], &[]);
    run.cargo_tests();
    let doc = ["doc", "--workspace", "--lib", "--no-deps", "--quiet"];
    run.cargo("documents", &doc, &[("RUSTDOCFLAGS", "-D warnings")]);
    run.step("damaged input", || {
        let count = ["--count", crate::FUZZ_INPUTS].map(str::to_owned);
        Ok(Tally::one(crate::fuzz(&count)?))
    });
    if let Some(built) = run.static_build() {
        run.live(&built);
        run.guests(&built, guests);
    }
    if !run.failed.is_empty() {
        println!("\nfailed: {}", run.failed.join("; "));
    }
    println!("{}", run.total);
    Ok(run.total.failed == 0)
}

impl Run {
    /// Runs one step under its heading.
    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<Tally, String>) {
        println!("\n=== {name}");
        let start = Instant::now();
        let tally = work().unwrap_or_else(|message| {
            println!("{message}");
            Tally::one(false)
        });
        println!("--- {name}: {tally} ({:.0} s)", start.elapsed().as_secs_f32());
        if tally.failed > 0 {
            self.failed.push(name.to_owned());
        }
        self.total.add(tally);
    }

    fn cargo(&mut self, name: &str, arguments: &[&str], env: &[(&str, &str)]) {
        self.step(name, || {
            let mut command = process::cargo();
            command.args(arguments).envs(env.iter().copied());
            Ok(Tally::one(process::run(command)?.success))
        });
    }

    fn cargo_tests(&mut self) {
        self.step("unit tests and data files", || {
            let mut command = process::cargo();
            command.args(["test", "--workspace", "--no-fail-fast"]);
            let done = process::run(command)?;
            let mut tally = Tally::from_cargo(&done.stdout);
            if !done.success && tally.failed == 0 {
                tally.failed = 1;
            }
            Ok(tally)
        });
    }

    fn static_build(&mut self) -> Option<vm::Programs> {
        let mut built = None;
        self.step("static binary", || {
            let skep = dist::build()?;
            let livetest = binaries::build(binaries::LIVETEST)?;
            let init = binaries::build(binaries::GUEST_INIT)?;
            built = Some(vm::Programs { skep, livetest, init, bench: None });
            Ok(Tally::one(true))
        });
        built
    }

    fn live(&mut self, built: &vm::Programs) {
        self.step("live tests on this kernel", || {
            if !rustix::process::geteuid().is_root() {
                println!("skipped: not root");
                return Ok(Tally::skip());
            }
            let (tally, _) = live::harness(&built.livetest, &built.skep, &["--replay".to_owned()])?;
            Ok(tally)
        });
    }

    fn guests(&mut self, built: &vm::Programs, wanted: bool) {
        self.step("live tests on guest kernels", || {
            if !wanted {
                println!("skipped: --no-guests");
                return Ok(Tally::skip());
            }
            vm::whole_on_the_ends(built)
        });
    }
}
