//! Walks `tests/ir/*.ir`. A file's first line names the stages (`; pass: fold sweep`), then comes a module, then a line
//! `; ---`, then the text that the stages make of it. With `SKEP_BLESS=1` in the environment the files are rewritten with
//! what the stages give; read the difference before you keep it.
//!
//! A stage is one [`Stage`]; a file's stages run one after another, each on the module that the one before left.

#![allow(clippy::unwrap_used, clippy::panic)]

use skep_compiler::ir::{Module, check, text};
use skep_compiler::pipeline::{PASSES, PassOptions, optimize, run_pass};
use std::path::{Path, PathBuf};

/// One thing that can be done with a module: it changes the module, or gives a text that ends the file's stages.
trait Stage {
    /// Does it.
    fn run(&self, module: &mut Module) -> Option<String>;
}

/// A single pass; the checker must accept what it leaves.
struct Single(skep_compiler::passes::Pass);

impl Stage for Single {
    fn run(&self, module: &mut Module) -> Option<String> {
        run_pass(module, self.0);
        check(module).err().map(|errors| format!("broken by the pass: {}\n{module}", errors[0]))
    }
}

/// The pipeline, optimising or not.
struct Pipeline(bool);

impl Stage for Pipeline {
    fn run(&self, module: &mut Module) -> Option<String> {
        let mut options = PassOptions { enabled: self.0, dump: None };
        optimize(module, &mut options).err().map(|e| format!("{e}\n"))
    }
}

/// The checker's errors.
struct Check;

impl Stage for Check {
    fn run(&self, module: &mut Module) -> Option<String> {
        Some(match check(module) {
            Ok(()) => "good\n".to_owned(),
            Err(errors) => errors.iter().map(|e| format!("{e}\n")).collect(),
        })
    }
}

/// Nothing: the text form is printed again.
struct Print;

impl Stage for Print {
    fn run(&self, _: &mut Module) -> Option<String> {
        None
    }
}

fn stage(name: &str) -> Option<Box<dyn Stage>> {
    let special: Option<Box<dyn Stage>> = match name {
        "check" => Some(Box::new(Check)),
        "print" => Some(Box::new(Print)),
        "pipeline" => Some(Box::new(Pipeline(true))),
        "required" => Some(Box::new(Pipeline(false))),
        _ => None,
    };
    let single =
        || PASSES.iter().find(|(n, _)| *n == name).map(|(_, p)| Box::new(Single(*p)) as Box<dyn Stage>);
    special.or_else(single)
}

/// What the file's stages make of its module.
fn outcome(stages: &str, input: &str) -> String {
    let mut module = match text::parse(input) {
        Ok(module) => module,
        Err(error) => return format!("{error}\n"),
    };
    let names: Vec<&str> = stages.split_whitespace().collect();
    if names.iter().any(|n| *n != "check" && *n != "print")
        && let Err(errors) = check(&module)
    {
        return format!("the input is broken: {}\n", errors[0]);
    }
    for name in names {
        let Some(stage) = stage(name) else { return format!("there is no stage `{name}`\n") };
        if let Some(text) = stage.run(&mut module) {
            return text;
        }
    }
    let printed = module.to_string();
    assert_eq!(text::parse(&printed).unwrap().to_string(), printed, "the text form does not come back");
    printed
}

fn files() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/ir");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "ir"))
        .collect();
    files.sort();
    files
}

#[test]
fn ir_files() {
    let bless = std::env::var_os("SKEP_BLESS").is_some();
    let mut wrong = Vec::new();
    let files = files();
    assert!(files.len() > 10, "the files are not where they should be");
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (input, expected) = text.split_once("\n; ---\n").unwrap_or((&text, ""));
        let stages = input.lines().next().and_then(|l| l.strip_prefix("; pass:"));
        let found = outcome(stages.unwrap_or_else(|| panic!("{name}: no `; pass:` line")), input);
        if found == expected {
            continue;
        }
        if bless {
            std::fs::write(&path, format!("{}\n; ---\n{found}", input.trim_end())).unwrap();
        } else {
            wrong.push(format!("== {name}: expected\n{expected}== found\n{found}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n{} files differ; see the head of this test",
        wrong.join("\n"),
        wrong.len()
    );
}
