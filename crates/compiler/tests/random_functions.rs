//! Random well-formed functions: the checker accepts them, the text form brings them back, every pass leaves them
//! well-formed, and what they return and do is the same before and after.

#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "random/generate.rs"]
mod generate;
#[path = "random/interp.rs"]
mod interp;

use interp::{Outcome, Val};
use proptest::prelude::*;
use skep_compiler::ir::{Module, check, text};
use skep_compiler::pipeline::{PASSES, PassOptions, optimize, run_pass};

fn outcome(module: &Module) -> Option<Outcome> {
    interp::run(&module.funcs[0], &[Val::Ptr("ctx".to_owned(), 0)])
}

fn sound(module: &Module, when: &str) {
    if let Err(errors) = check(module) {
        panic!("{when}: {}\n{module}", errors[0]);
    }
}

/// Checks `after` against what the function did before.
fn same(before: &Module, want: &Outcome, after: &Module, when: &str) {
    sound(after, when);
    let found = outcome(after);
    assert!(found.as_ref() == Some(want), "{when}: {found:?} in place of {want:?}\n{before}\n{after}");
}

fn passes_keep_the_meaning(tape: &[u16], order: &[u8]) {
    let module = generate::module(tape);
    sound(&module, "generated");
    let printed = module.to_string();
    let parsed = text::parse(&printed).unwrap();
    assert_eq!(parsed.to_string(), printed);
    let Some(want) = outcome(&module) else { return };
    for (name, pass) in PASSES {
        let mut changed = module.clone();
        run_pass(&mut changed, *pass);
        same(&module, &want, &changed, name);
    }
    let mut changed = module.clone();
    let mut stages = Vec::new();
    for choice in order {
        let (name, pass) = PASSES[usize::from(*choice) % PASSES.len()];
        run_pass(&mut changed, pass);
        stages.push(name);
        same(&module, &want, &changed, &stages.join(" "));
    }
    let mut optimised = module.clone();
    optimize(&mut optimised, &mut PassOptions::default()).unwrap();
    same(&module, &want, &optimised, "pipeline");
    // After `order` the numbers are those that parsing gives.
    let again = text::parse(&optimised.to_string()).unwrap();
    assert_eq!(again.funcs[0].to_string(), optimised.funcs[0].to_string());
    assert_eq!(again.funcs[0].insts, optimised.funcs[0].insts);
}

/// How many random functions: `SKEP_CASES` in the environment sets another number.
fn cases() -> u32 {
    std::env::var("SKEP_CASES").ok().and_then(|v| v.parse().ok()).unwrap_or(200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 5000, ..ProptestConfig::default() })]
    #[test]
    fn random_functions(
        tape in proptest::collection::vec(any::<u16>(), 0..600),
        order in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        passes_keep_the_meaning(&tape, &order);
    }

    #[test]
    fn hostile_text_is_an_error(text in "[ -~\n]{0,200}") {
        let _ = text::parse(&text);
    }

    #[test]
    fn damaged_text_does_not_panic(
        tape in proptest::collection::vec(any::<u16>(), 0..100),
        at in any::<prop::sample::Index>(),
        with in "[a-z0-9(){}:,]{0,3}",
    ) {
        let mut printed = generate::module(&tape).to_string();
        let at = at.index(printed.len());
        printed.replace_range(at..at + 1, &with);
        if let Ok(module) = text::parse(&printed) {
            let _ = check(&module);
        }
    }
}
