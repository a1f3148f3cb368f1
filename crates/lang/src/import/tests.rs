//! Imports from a target that has a few files.

use super::*;
use crate::source::locate;
use skep_bpf::target::{Answer, Question, TargetError};
use std::cell::RefCell;

struct Files {
    list: &'static [(&'static str, &'static str)],
    asked: RefCell<Vec<String>>,
}

impl Target for Files {
    fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
        match question {
            Question::File(path) => {
                self.asked.borrow_mut().push(path.clone());
                let wanted = normal(path);
                let found = self.list.iter().find(|(name, _)| *name == wanted);
                found.map(|(_, text)| Answer::Text((*text).into())).ok_or(TargetError::NotFound(path.clone()))
            }
            Question::Directory(path) => {
                let inside = |(name, _): &(&str, &str)| {
                    let rest = name.strip_prefix(path.as_str())?.strip_prefix('/')?;
                    (!rest.contains('/')).then(|| rest.to_owned())
                };
                let names: Vec<String> = self.list.iter().filter_map(inside).collect();
                match names.is_empty() {
                    true => Err(TargetError::NotFound(path.clone())),
                    false => Ok(Answer::Names(Arc::new(names))),
                }
            }
            other => Err(TargetError::NotFound(format!("{other:?}"))),
        }
    }
}

fn run(
    list: &'static [(&'static str, &'static str)],
    name: &str,
    text: &str,
    options: &Options,
) -> (Script, Diagnostics) {
    let mut diags = Diagnostics::default();
    let target = Files { list, asked: RefCell::default() };
    (load(name, text, options, &target, &mut diags), diags)
}

fn probes(script: &Script) -> Vec<&str> {
    script.probes.iter().map(|p| p.attach[0].text.as_str()).collect()
}

#[test]
fn what_is_imported_comes_first_and_once() {
    let files: &[(&str, &str)] = &[
        ("lib/a.bt", "import \"b.bt\"; macro a() { 1 } i:s:1 {}"),
        ("lib/b.bt", "import \"../lib/a.bt\"; import \"../main.bt\"; i:s:2 {}"),
    ];
    let text = "import \"lib/a.bt\"; import \"./lib//b.bt\"; import \"stdlib/base.bt\"; i:s:3 { a }";
    let (script, diags) = run(files, "main.bt", text, &Options::default());
    assert!(diags.list.is_empty(), "{diags:?}");
    assert_eq!(probes(&script), ["i:s:2", "i:s:1", "i:s:3"]);
    assert_eq!(script.macros.len(), 1);
    let place = locate(&script.files, text, script.probes[0].attach[0].span);
    assert_eq!(place.file, Some("lib/b.bt"));
    assert_eq!(&place.text[place.span.start as usize..place.span.end as usize], "i:s:2");
    let place = locate(&script.files, text, script.probes[2].span);
    assert_eq!(place.file, None);
}

#[test]
fn directories_and_include_directories() {
    let files: &[(&str, &str)] = &[
        ("/x/lib/two.bt", "i:s:2 {}"),
        ("/x/lib/one.bt", "i:s:1 {}"),
        ("/x/lib/notes.txt", "none"),
        ("/inc/deep.bt", "i:s:9 {}"),
    ];
    let options = Options { include_dirs: vec!["/inc".to_owned()], ..Options::default() };
    let (script, diags) = run(files, "/x/main.bt", "import \"lib\"; import \"deep.bt\"; i:s:3 {}", &options);
    assert!(diags.list.is_empty(), "{diags:?}");
    assert_eq!(probes(&script), ["i:s:1", "i:s:2", "i:s:9", "i:s:3"]);
}

#[test]
fn mistakes_have_places() {
    let files: &[(&str, &str)] = &[
        ("bad.bt", "i:s:1 { $x = ; }"),
        ("conf.bt", "config = { max_strlen = 9 } i:s:1 {}"),
        ("lib/p.bpf.c", ""),
    ];
    for (text, code, file) in [
        ("import \"none.bt\"; i:s:1 {}", "unknown-import", None),
        ("import \"p.bpf.c\"; i:s:1 {}", "import-c", None),
        ("import \"lib\"; i:s:1 {}", "import-c", None),
        ("import \"bad.bt\"; i:s:1 {}", "syntax", Some("bad.bt")),
        ("import \"conf.bt\"; i:s:1 {}", "import-config", Some("conf.bt")),
    ] {
        let (script, diags) = run(files, "stdin", text, &Options::default());
        let first = diags.list.first().unwrap_or_else(|| panic!("{text}"));
        assert_eq!(first.code, code, "{text}");
        assert_eq!(locate(&script.files, text, first.span).file, file, "{text}");
    }
}

#[test]
fn paths_have_one_form() {
    for (path, form) in [("a/./b//c", "a/b/c"), ("/a/../b", "/b"), ("../x/y/..", "../x"), ("", "")] {
        assert_eq!(normal(path), form);
    }
}
