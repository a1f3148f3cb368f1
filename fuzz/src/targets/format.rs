//! The formatter: scripts of the fixtures and of the grammar, with blanks and comments in all places.

use super::Target;
use crate::rng::Rng;
use crate::{corpus, grammar, mutate};

/// The target.
pub(super) struct Format {
    seeds: Vec<Vec<u8>>,
    words: Vec<String>,
}

/// What is put between words.
const BETWEEN: &[&str] = &[
    " ",
    "  ",
    "\n",
    "\n\n",
    "\n\n\n",
    "\t",
    "\r\n",
    " // why\n",
    "// \n",
    "\n// so\n",
    "/* c */",
    " /**/ ",
    "\n/* a\n   b */\n",
    "/* d */\n",
    "\n/* e */ ",
    "\\\n",
];

impl Format {
    pub(super) fn new() -> Format {
        let seeds = corpus::scripts();
        Format { words: corpus::dictionary(&seeds), seeds }
    }

    /// A script, mostly one that parses.
    fn script(&self, rng: &mut Rng) -> String {
        let seed = rng.pick(&self.seeds).map_or(&[][..], |s| s);
        let seed = String::from_utf8_lossy(seed);
        match rng.below(6) {
            0 | 1 => seed.into_owned(),
            2 => mutate::text(&seed, &self.words, &self.seeds, rng),
            _ => grammar::script(rng),
        }
    }
}

impl Target for Format {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        let script = self.script(rng);
        // From untouched to something between most words.
        let rarely = [0, 2, 5, 30, 200][rng.below(5)];
        let mut out = String::new();
        for word in mutate::words(&script) {
            if rarely != 0 && rng.one_in(rarely) {
                out.push_str(rng.pick(BETWEEN).copied().unwrap_or(""));
            }
            let blank = word.trim().is_empty();
            out.push_str(if blank && rarely != 0 && rng.one_in(rarely) { " " } else { word });
        }
        out.into_bytes()
    }

    fn take(&self, input: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(input).into_owned();
        match skep_lang::fmt::format(&text) {
            Ok(formatted) => skep_lang::fmt::verify(&text, &formatted),
            Err(_) => Ok(()),
        }
    }
}
