//! IR in its text form: what parses and passes the checker is compiled, with the passes and without.

use super::Target;
use crate::rng::Rng;
use crate::{corpus, mutate};
use skep_compiler::compile::{CompileError, CompileOptions, compile};
use skep_compiler::ir::{check, text};

/// The target.
pub(super) struct Ir {
    seeds: Vec<Vec<u8>>,
    words: Vec<String>,
}

impl Ir {
    pub(super) fn new() -> Ir {
        let mut seeds = corpus::files(&["tests/ir", "tests/lower", "tests/lang/build"], &[".ir"]);
        // Fixtures have the text before and after a pass, and directions: each piece is an input.
        let pieces: Vec<Vec<u8>> = seeds
            .iter()
            .flat_map(|seed| {
                let text = String::from_utf8_lossy(seed).into_owned();
                text.split("\n----").map(|piece| piece.as_bytes().to_vec()).collect::<Vec<_>>()
            })
            .collect();
        seeds.extend(pieces);
        Ir { words: corpus::dictionary(&seeds), seeds }
    }
}

impl Target for Ir {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        let seed = rng.pick(&self.seeds).map_or(&[][..], |s| s);
        mutate::text(&String::from_utf8_lossy(seed), &self.words, &self.seeds, rng).into_bytes()
    }

    fn take(&self, input: &[u8]) -> Result<(), String> {
        let Ok(module) = text::parse(&String::from_utf8_lossy(input)) else { return Ok(()) };
        if check::check(&module).is_err() {
            return Ok(());
        }
        let shown = module.to_string();
        match text::parse(&shown) {
            Ok(again) if again.to_string() == shown => {}
            Ok(_) => return Err("it prints differently after it was printed and parsed".to_owned()),
            Err(error) => return Err(format!("what was printed does not parse: {error}")),
        }
        for passes in [false, true] {
            let mut options = CompileOptions { passes, ..CompileOptions::default() };
            if let Err(error @ CompileError::Internal { .. }) = compile(module.clone(), &mut options) {
                return Err(error.to_string());
            }
        }
        Ok(())
    }
}
