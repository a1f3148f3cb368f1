//! A program that a compiler makes here, where there is one: its types and lines come out as they are in its source.

use std::path::PathBuf;
use std::process::Command;

use skep_bpf::btf::{Btf, NameKind, Type, TypeId};
use skep_bpf::target::TypeRequest;

use super::*;

const SOURCE: &str = r#"
enum Colour { RED, GREEN = 7 };
typedef unsigned long big;
struct Inner { char text[12]; enum Colour colour; };
struct Outer {
  int a; unsigned low : 3; unsigned high : 13;
  struct Inner inner[2]; struct Outer *next; big number; union { int i; float f; };
  const char *(*call)(int);
};
int work(struct Outer *outer, const char *text, big n, double d, ...) {
  return outer->a + (int)n + (text != 0) + (int)d;
}
int main(void) { struct Outer o = { 0 }; return work(&o, "", 0, 1.0) - 2; }
"#;

/// Compiles `source` with `flags`; `None` where there is no compiler.
fn build(name: &str, source: &str, flags: &[&str]) -> Option<(PathBuf, PathBuf)> {
    let folder = std::env::temp_dir().join(format!("skep-dwarf-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).ok()?;
    let (file, binary) = (folder.join("program.c"), folder.join("program"));
    std::fs::write(&file, source).ok()?;
    let done = Command::new("cc")
        .args(["-g", "-O0"])
        .args(flags)
        .args(["-o".as_ref(), binary.as_os_str(), file.as_os_str()])
        .current_dir(&folder)
        .status();
    done.is_ok_and(|status| status.success()).then_some((folder, binary))
}

fn request(path: &str, shallow: bool) -> TypeRequest {
    let symbols = elf::function_symbols(path).unwrap();
    let work = symbols.iter().find(|s| s.name == "work").unwrap();
    TypeRequest {
        path: path.to_owned(),
        functions: vec![("work".to_owned(), work.address)],
        types: vec!["Inner".to_owned(), "nothing".to_owned()],
        shallow,
    }
}

fn struct_id(btf: &Btf, name: &str) -> TypeId {
    btf.find(NameKind::Struct, name).unwrap_or_else(|| panic!("no struct {name}"))
}

fn check(btf: &Btf) {
    let func = btf.find(NameKind::Func, "work").unwrap();
    let (ret, params) = btf.signature(func).unwrap();
    assert_eq!(btf.c_name(ret), "int");
    let names: Vec<&str> = params.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["outer", "text", "n", "d", ""]);
    assert!(matches!(btf.get_resolved(params[3].1), Some(Type::Float { size: 8, .. })));
    let outer = struct_id(btf, "Outer");
    assert_eq!(btf.resolve(btf.pointee(params[0].1).unwrap()), outer);
    let at = |name: &str| btf.find_member(outer, name).unwrap_or_else(|| panic!("no {name}"));
    assert_eq!((at("high").bit_offset, at("high").bit_size), (35, 13));
    assert_eq!(at("next").byte_offset(), 40);
    assert_eq!(btf.resolve(btf.pointee(at("next").ty).unwrap()), outer);
    assert_eq!(at("i").byte_offset(), at("f").byte_offset());
    assert_eq!(btf.size_of(at("inner").ty), Some(32));
    let colour = btf.find_member(struct_id(btf, "Inner"), "colour").unwrap();
    let Some(Type::Enum { variants, .. }) = btf.get_resolved(colour.ty) else { panic!("no enum") };
    assert_eq!(variants, [("RED", 0), ("GREEN", 7)]);
}

#[test]
fn types_of_every_format() {
    for (name, flags) in [
        ("plain", &["-gdwarf-5"][..]),
        ("old", &["-gdwarf-4"]),
        ("oldest", &["-gdwarf-2", "-gstrict-dwarf"]),
        ("units", &["-fdebug-types-section", "-gdwarf-4"]),
        ("units5", &["-fdebug-types-section", "-gdwarf-5"]),
        ("packed", &["-gz=zlib"]),
        ("split", &["-gsplit-dwarf", "-gdwarf-5"]),
        ("split4", &["-gsplit-dwarf", "-gdwarf-4"]),
    ] {
        let Some((folder, binary)) = build(name, SOURCE, flags) else { continue };
        let path = binary.to_str().unwrap();
        check(&types(&request(path, false), &[]).unwrap_or_else(|e| panic!("{name}: {e}")));
        let shallow = types(&request(path, true), &[]).unwrap();
        let func = shallow.find(NameKind::Func, "work").unwrap();
        let (_, params) = shallow.signature(func).unwrap();
        let to = shallow.get_resolved(shallow.pointee(params[0].1).unwrap());
        assert!(matches!(to, Some(Type::Fwd { name: "Outer", .. })), "{name}: {to:?}");
        let line = source_line(path, &[], ("program.c", 11, 0)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let work = elf::function_symbols(path).unwrap().into_iter().find(|s| s.name == "work").unwrap();
        assert!((work.address..work.address + work.size).contains(&line.address), "{name}: {line:?}");
        assert!(source_line(path, &[], ("program.c", 900, 0)).is_err_and(|e| e.is_missing()));
        assert!(source_line(path, &[], ("gram.c", 11, 0)).is_err_and(|e| e.is_missing()));
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn separate_files_are_found() {
    let Some((folder, binary)) = build("separate", SOURCE, &[]) else { return };
    let run = |args: &[&str]| Command::new("objcopy").args(args).current_dir(&folder).status();
    std::fs::create_dir(folder.join("debug")).unwrap();
    let copied = run(&["--only-keep-debug", "program", "debug/program.debug"]);
    if !copied.is_ok_and(|s| s.success()) || !run(&["--strip-debug", "program"]).is_ok_and(|s| s.success()) {
        return;
    }
    let path = binary.to_str().unwrap();
    let debug = folder.join("debug").to_str().unwrap().to_owned();
    assert!(types(&request(path, false), &[]).is_err_and(|e| e.is_missing()));
    check(&types(&request(path, false), &["/no/such".to_owned(), debug]).unwrap());
    std::fs::rename(folder.join("debug"), folder.join(".debug")).unwrap();
    check(&types(&request(path, false), &[]).unwrap());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn damaged_debug_information_is_survived() {
    let Some((folder, binary)) = build("damaged", SOURCE, &["-gdwarf-5", "-static-libgcc"]) else { return };
    let path = binary.to_str().unwrap().to_owned();
    let request = request(&path, false);
    let good = std::fs::read(&binary).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..300 {
        let mut bytes = good.clone();
        for _ in 0..16 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // The sections of debug information lie in the file's second half.
            let at = bytes.len() / 2 + (state as usize) % (bytes.len() / 2);
            bytes[at] = (state >> 32) as u8;
        }
        let other = folder.join("other");
        std::fs::write(&other, bytes).unwrap();
        let path = other.to_str().unwrap().to_owned();
        let _ = types(&TypeRequest { path: path.clone(), ..request.clone() }, &[]);
        let _ = source_line(&path, &[], ("program.c", 11, 0));
    }
    std::fs::remove_dir_all(folder).unwrap();
}
