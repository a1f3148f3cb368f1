//! User addresses: a process id and an address enter, a symbol leaves. A process's map is read when it is first seen
//! and kept, so that its addresses keep their names after it has ended.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use blazesym::symbolize::source::{Elf, Process, Source};
use blazesym::symbolize::{CodeInfo, Input, Symbolized, Symbolizer};
use skep_bpf::backend::{BuildIdFrame, Inlined, Symbol};
use skep_bpf::object::SymbolSpec;

use super::mappings::{Mappings, News};
use crate::elf;

/// Most processes and symbols that are remembered; beyond that the cache starts anew.
const PROCESS_LIMIT: usize = 4096;
const SYMBOL_LIMIT: usize = 1 << 16;
/// Most regions of a process that are noted one by one.
const REGION_LIMIT: usize = 4096;
/// Most probed binaries, and processes of one, that are remembered from the start.
const PROGRAM_LIMIT: usize = 256;
const WATCH_LIMIT: usize = 256;
/// Where the kernel puts position-independent programs of x86-64 without randomisation (ELF_ET_DYN_BASE,
/// arch/x86/include/asm/elf.h, Linux 6.18).
const PIE_BASE: u64 = 0x5555_5555_4000;

/// A mapped file's executable part.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Region {
    start: u64,
    end: u64,
    /// Offset in the file of `start`.
    offset: u64,
    /// The path as the process sees it; names such as `[vdso]` too.
    path: Rc<str>,
}

/// What is known of one process.
#[derive(Clone, Debug, Default)]
struct Space {
    regions: Vec<Region>,
    /// A file to read for each path, found while the process lived.
    files: HashMap<Rc<str>, Option<PathBuf>>,
}

/// Names for user addresses.
pub struct UserSymbols {
    symbolizer: Symbolizer,
    debug_info: bool,
    /// Binaries that are probed: where a process has ended unseen, its addresses may be theirs.
    programs: Vec<PathBuf>,
    /// What processes map from now on.
    mappings: Option<Mappings>,
    /// Children whose map is still their parent's.
    parents: HashMap<u32, u32>,
    spaces: HashMap<u32, Space>,
    known: HashMap<(u32, u64), Symbol>,
    build_ids: HashMap<PathBuf, Vec<u8>>,
}

impl std::fmt::Debug for UserSymbols {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserSymbols").field("processes", &self.spaces.len()).finish_non_exhaustive()
    }
}

impl UserSymbols {
    /// An empty cache.
    pub fn new(spec: SymbolSpec) -> UserSymbols {
        let symbolizer = Symbolizer::builder()
            .enable_code_info(spec.debug_info)
            .enable_inlined_fns(spec.debug_info)
            .enable_demangling(spec.demangle)
            .build();
        UserSymbols {
            symbolizer,
            debug_info: spec.debug_info,
            programs: Vec::new(),
            mappings: None,
            parents: HashMap::new(),
            spaces: HashMap::new(),
            known: HashMap::new(),
            build_ids: HashMap::new(),
        }
    }

    /// Reads the map of a process now, so that its addresses can be named when it has ended.
    pub fn remember(&mut self, pid: u32) {
        if !self.spaces.contains_key(&pid) {
            self.refresh(pid);
        }
    }

    /// Notes what processes map from now on, so that their addresses can be named when they have ended unseen.
    pub fn follow(&mut self) {
        if self.mappings.is_none() {
            self.mappings = Mappings::listen();
        }
    }

    /// Takes over what processes have mapped since the last call.
    pub fn update(&mut self) {
        let Some(mappings) = self.mappings.take() else { return };
        mappings.drain(&mut |news| self.note(news));
        self.mappings = Some(mappings);
    }

    fn note(&mut self, news: News) {
        if self.spaces.len() >= PROCESS_LIMIT || self.parents.len() >= PROCESS_LIMIT {
            self.spaces.clear();
            self.parents.clear();
            self.known.clear();
        }
        match news {
            News::Exec { pid } => {
                self.spaces.remove(&pid);
                self.parents.remove(&pid);
                self.known.retain(|(p, _), _| *p != pid);
            }
            News::Fork { pid, parent } => {
                self.parents.insert(pid, parent);
                if let Some(space) = self.spaces.get(&parent).cloned() {
                    self.spaces.insert(pid, space);
                }
            }
            News::Mapped { pid, start, end, offset, path } => {
                let space = self.spaces.entry(pid).or_default();
                space.regions.retain(|r| r.end <= start || end <= r.start);
                if space.regions.len() < REGION_LIMIT {
                    space.regions.push(Region { start, end, offset, path: path.into() });
                }
            }
        }
    }

    /// Remembers the processes that run a binary now, and the binary itself, before it is probed.
    pub fn watch(&mut self, binary: &str) {
        let path = PathBuf::from(binary);
        if self.programs.contains(&path) || self.programs.len() >= PROGRAM_LIMIT {
            return;
        }
        let wanted = identity(&path);
        self.programs.push(path);
        if wanted.is_none() {
            return;
        }
        let all = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let running = pids.filter(|pid| identity(Path::new(&format!("/proc/{pid}/exe"))) == wanted);
        running.take(WATCH_LIMIT).for_each(|pid| self.remember(pid));
    }

    fn refresh(&mut self, pid: u32) {
        let Ok(maps) = fs::read_to_string(format!("/proc/{pid}/maps")) else { return };
        if self.spaces.len() >= PROCESS_LIMIT {
            self.spaces.clear();
            self.known.clear();
        }
        self.known.retain(|(p, _), _| *p != pid);
        let regions = parse_maps(&maps);
        let mut files = HashMap::new();
        for region in &regions {
            files.entry(region.path.clone()).or_insert_with(|| readable(pid, &region.path));
        }
        self.spaces.insert(pid, Space { regions, files });
    }

    /// The region of `address` and the file to read for it. A process is looked at again when the address is new.
    fn locate(&mut self, pid: u32, address: u64) -> Option<(Region, Option<PathBuf>)> {
        self.update();
        if let Some(found) = self.known_region(pid, address) {
            return Some(found);
        }
        self.refresh(pid);
        self.known_region(pid, address).or_else(|| {
            let parent = *self.parents.get(&pid)?;
            self.known_region(parent, address)
        })
    }

    fn known_region(&mut self, pid: u32, address: u64) -> Option<(Region, Option<PathBuf>)> {
        let space = self.spaces.get_mut(&pid)?;
        let region = space.regions.iter().find(|r| (r.start..r.end).contains(&address))?.clone();
        let file = space.files.entry(region.path.clone()).or_insert_with(|| readable(pid, &region.path));
        Some((region, file.clone()))
    }

    /// The symbol of `address` in process `pid`.
    pub fn symbol(&mut self, pid: u32, address: u64) -> Symbol {
        if let Some(known) = self.known.get(&(pid, address)) {
            return known.clone();
        }
        let symbol = self.find(pid, address);
        if self.known.len() >= SYMBOL_LIMIT {
            self.known.clear();
        }
        self.known.insert((pid, address), symbol.clone());
        symbol
    }

    fn find(&mut self, pid: u32, address: u64) -> Symbol {
        let place = self.locate(pid, address);
        let module = place.as_ref().map_or_else(String::new, |(r, _)| r.path.to_string());
        let found = match &place {
            Some((region, Some(file))) => self.in_file(file, address - region.start + region.offset),
            _ => self.in_process(pid, address),
        };
        match found {
            None if place.is_none() => self.in_program(address).unwrap_or_default(),
            found => Symbol { module, ..found.unwrap_or_default() },
        }
    }

    /// The symbol that an address has in a probed binary where that lies as it does without address randomisation.
    fn in_program(&self, address: u64) -> Option<Symbol> {
        self.programs.iter().find_map(|program| {
            let mut elf = Elf::new(program);
            elf.debug_syms = self.debug_info;
            let source = Source::Elf(elf);
            let path = program.to_str()?;
            [Some(address), address.checked_sub(PIE_BASE)].into_iter().flatten().find_map(|address| {
                elf::file_offset(path, address).ok()?;
                let answer = self.symbolizer.symbolize_single(&source, Input::VirtOffset(address)).ok()?;
                let module = program.to_string_lossy().into_owned();
                Some(Symbol { module, ..into_symbol(&answer)? })
            })
        })
    }

    fn in_file(&self, file: &Path, offset: u64) -> Option<Symbol> {
        let mut elf = Elf::new(file);
        elf.debug_syms = self.debug_info;
        let answer = self.symbolizer.symbolize_single(&Source::Elf(elf), Input::FileOffset(offset)).ok()?;
        into_symbol(&answer)
    }

    /// The vDSO, and code that a process made itself and described in a perf map.
    fn in_process(&self, pid: u32, address: u64) -> Option<Symbol> {
        let mut process = Process::new(pid.into());
        process.debug_syms = self.debug_info;
        let answer =
            self.symbolizer.symbolize_single(&Source::Process(process), Input::AbsAddr(address)).ok()?;
        into_symbol(&answer)
    }

    /// Build id and file offset of `address` in process `pid`.
    pub fn build_id(&mut self, pid: u32, address: u64) -> BuildIdFrame {
        let Some((region, Some(file))) = self.locate(pid, address) else {
            return BuildIdFrame { build_id: Vec::new(), offset: address };
        };
        let id = match self.build_ids.get(&file) {
            Some(id) => id.clone(),
            None => {
                let id = file.to_str().and_then(|f| elf::build_id(f).ok()).unwrap_or_default();
                self.build_ids.insert(file, id.clone());
                id
            }
        };
        let offset = if id.is_empty() { address } else { address - region.start + region.offset };
        BuildIdFrame { build_id: id, offset }
    }
}

pub(super) fn into_symbol(answer: &Symbolized<'_>) -> Option<Symbol> {
    let Symbolized::Sym(sym) = answer else { return None };
    let place = |code: &CodeInfo<'_>| (code.to_path().to_string_lossy().into_owned(), code.line.unwrap_or(0));
    let inlined = sym
        .inlined
        .iter()
        .rev()
        .map(|inner| Inlined { name: inner.name.to_string(), source: inner.code_info.as_ref().map(place) });
    Some(Symbol {
        name: Some(sym.name.to_string()),
        offset: sym.offset as u64,
        module: String::new(),
        source: sym.code_info.as_deref().map(place),
        inlined: inlined.collect(),
    })
}

/// Device and inode of a file.
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

/// A path under which this process can read a file of process `pid` now and, if possible, later: the plain path when
/// it is the same file, else through the process's root or its map.
fn readable(pid: u32, path: &str) -> Option<PathBuf> {
    if !path.starts_with('/') {
        return None;
    }
    let inside = PathBuf::from(format!("/proc/{pid}/root{path}"));
    let there = identity(&inside);
    let here = identity(Path::new(path));
    match (there, here) {
        (Some(a), Some(b)) if a == b => Some(PathBuf::from(path)),
        (Some(_), _) => Some(inside),
        (None, Some(_)) => Some(PathBuf::from(path)),
        (None, None) => None,
    }
}

/// The executable regions of the text of /proc/PID/maps. Lines that are none are left out.
fn parse_maps(text: &str) -> Vec<Region> {
    let mut names: HashMap<&str, Rc<str>> = HashMap::new();
    text.lines()
        .filter_map(|line| {
            let mut words = line.splitn(6, ' ');
            let (start, end) = words.next()?.split_once('-')?;
            let permissions = words.next()?;
            let offset = u64::from_str_radix(words.next()?, 16).ok()?;
            let path = words.nth(2).unwrap_or("").trim_start();
            if !permissions.contains('x') {
                return None;
            }
            let path = names.entry(path).or_insert_with(|| path.into()).clone();
            Some(Region {
                start: u64::from_str_radix(start, 16).ok()?,
                end: u64::from_str_radix(end, 16).ok()?,
                offset,
                path,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_parsed() {
        let text = "5581-5590 r--p 00000000 08:01 123   /usr/bin/a b\n55a0-55b0 r-xp 00001000 08:01 123                        \
                    /usr/bin/a b\n7ff0-7ff1 r-xp 00000000 00:00 0    [vdso]\nxx\n";
        let regions = parse_maps(text);
        assert_eq!(regions.len(), 2);
        assert_eq!(
            (regions[0].start, regions[0].offset, &*regions[0].path),
            (0x55a0, 0x1000, "/usr/bin/a b")
        );
        assert_eq!(&*regions[1].path, "[vdso]");
    }

    #[inline(never)]
    extern "C" fn a_function_with_a_name() -> u32 {
        std::hint::black_box(7)
    }

    #[test]
    fn own_address_has_its_name() {
        a_function_with_a_name();
        let mut symbols = UserSymbols::new(SymbolSpec::default());
        let address = a_function_with_a_name as *const () as u64;
        let symbol = symbols.symbol(std::process::id(), address);
        assert!(symbol.name.as_deref().is_some_and(|n| n.contains("a_function_with_a_name")), "{symbol:?}");
        assert_eq!(symbol.offset, 0);
        assert!(symbol.module.starts_with('/'));
        assert_eq!(symbols.symbol(std::process::id(), 5).name, None);
    }

    #[test]
    fn a_process_that_ended_keeps_its_names() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        let pid = child.id();
        let mut symbols = UserSymbols::new(SymbolSpec { debug_info: false, demangle: true });
        symbols.remember(pid);
        let region = symbols.spaces[&pid].regions.iter().find(|r| r.path.contains("libc")).cloned();
        child.kill().unwrap();
        child.wait().unwrap();
        let Some(region) = region else { return };
        let functions = elf::function_symbols(&region.path).unwrap();
        let malloc = functions.iter().find(|s| s.name == "malloc").unwrap();
        let symbol = symbols.symbol(pid, region.start + malloc.offset - region.offset + 1);
        assert_eq!((symbol.name.as_deref(), symbol.offset), (Some("malloc"), 1));
    }
}
