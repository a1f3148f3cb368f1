//! Scripts through the whole compiler, for a small machine that is made by hand.

use super::Target;
use crate::rng::Rng;
use crate::{corpus, grammar, mutate};
use skep_bpf::object::Object;
use skep_bpf::target::Feature;
use skep_lang::compile::{self, CompileFailure};
use skep_lang::fake::{Fake, NEW};
use skep_lang::options::{Mode, Options};

/// How inputs are made.
enum Kind {
    Damaged,
    Made,
    Preamble,
}

/// The target.
pub(super) struct Source {
    kind: Kind,
    seeds: Vec<Vec<u8>>,
    words: Vec<String>,
}

/// C texts that script follows.
const PREAMBLES: &[&str] = &[
    "struct a { int x; char s[16]; struct b *next; union { long l; short h[4]; }; };",
    "#define N 4\n#define MAX(a, b) ((a) > (b) ? (a) : (b))\nstruct a { int x[N]; unsigned f:3, g:5; } __attribute__((packed));",
    "typedef unsigned long long u64; typedef struct { u64 v; } wrap; enum e { A, B = 7, C = B << 2 };",
    "#if defined(N) && N > 3\nstruct a { int y; };\n#elif 1\nstruct a { int x; };\n#else\n#error no\n#endif",
    "#include <linux/sched.h>\n#include \"mine.h\"\n#undef N\n#define STR(x) #x\n#define CAT(a, b) a##b\n",
    "struct a; struct a { struct a *self; int (*fn)(int, char *, ...); int x; }; extern int f(void);",
    "static const int n = 3; struct a { int x; _Bool b; double d; char c[sizeof(int) * 2]; };",
    "enum { ONE = 1, TWO = ONE + ONE, BIG = 0xffffffffULL, NEG = -1, CH = 'a' }; struct a { int x; };",
];

impl Source {
    pub(super) fn damaged() -> Source {
        let seeds = corpus::scripts();
        Source { kind: Kind::Damaged, words: corpus::dictionary(&seeds), seeds }
    }

    pub(super) fn made() -> Source {
        Source { kind: Kind::Made, seeds: corpus::scripts(), words: Vec::new() }
    }

    pub(super) fn preamble() -> Source {
        let seeds: Vec<_> = PREAMBLES.iter().map(|text| text.as_bytes().to_vec()).collect();
        Source { kind: Kind::Preamble, words: corpus::dictionary(&seeds), seeds }
    }
}

impl Target for Source {
    fn make(&self, rng: &mut Rng) -> Vec<u8> {
        let seed = rng.pick(&self.seeds).map_or(&[][..], |s| s);
        let seed = String::from_utf8_lossy(seed);
        match self.kind {
            Kind::Damaged => mutate::text(&seed, &self.words, &self.seeds, rng).into_bytes(),
            Kind::Made => grammar::script(rng).into_bytes(),
            Kind::Preamble => {
                let text = mutate::text(&seed, &self.words, &self.seeds, rng);
                let body = "BEGIN { $a = (struct a *)1; print($a->x); print(sizeof(struct a)); print(N); }";
                format!("{text}\n{body}\n").into_bytes()
            }
        }
    }

    fn take(&self, input: &[u8]) -> Result<(), String> {
        let text = String::from_utf8_lossy(input).into_owned();
        // What the input says decides how it is compiled, so that an input alone shows a failure.
        let choice =
            input.iter().fold(input.len() as u64, |sum, b| sum.wrapping_mul(31).wrapping_add((*b).into()));
        let options = Options {
            params: vec!["7".to_owned(), "bee".to_owned()],
            unsafe_mode: choice & 1 == 0,
            passes: choice & 2 == 0,
            mode: if choice & 28 == 0 { Mode::Test } else { Mode::Trace },
            ..Options::default()
        };
        let mut target = Fake::new(NEW);
        if choice & 32 == 0 {
            let lacks = |(bit, _): &(usize, &Feature)| choice >> (8 + bit) & 1 == 1;
            target.lacks =
                Feature::ALL.iter().enumerate().filter(lacks).map(|(_, f)| f.name().to_owned()).collect();
        }
        let source = compile::Source { name: "fuzz.bt".to_owned(), text };
        let formatted = skep_lang::fmt::format(&source.text);
        match compile::compile(&source, &options, &target, &|_| false, &mut |_, _| {}) {
            Ok(compiled) => whole(&compiled.object),
            Err(CompileFailure::Diagnostics(found)) => {
                let style = skep_lang::diag::Style::Snippets { color: false };
                found.render(&source.name, &source.text, style);
                let _ = formatted;
                Ok(())
            }
            Err(CompileFailure::Internal(why)) => Err(format!("internal error: {why}")),
        }
    }
}

/// What holds for every object.
fn whole(object: &Object) -> Result<(), String> {
    for program in &object.programs {
        let outside = program.relocs.iter().any(|r| r.insn as usize >= program.insns.len());
        if program.insns.is_empty() || outside {
            return Err(format!(
                "{}: a relocation outside {} instructions",
                program.name,
                program.insns.len()
            ));
        }
        skep_bpf::disasm::program(program, object);
    }
    skep_bpf::needs::needs(object);
    Ok(())
}
