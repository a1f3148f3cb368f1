//! Watching programs run: steps of the machine enter; each instruction with what it changed is written, or counted.

use skep_engine::vm::program::Program;
use skep_engine::vm::trace::{Observe, Step};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Who watches.
pub enum Watch {
    /// Nobody.
    Nobody,
    /// Each instruction is written as it runs.
    Trace(Trace),
    /// Each instruction is counted.
    Profile(Profile),
}

impl Watch {
    /// Writes each instruction with what it changed to `out`.
    pub fn trace(out: Box<dyn Write>) -> Watch {
        Watch::Trace(Trace { out, before: None, line: None, failed: None })
    }

    /// Counts how often each instruction runs.
    pub fn profile() -> Watch {
        Watch::Profile(Profile::default())
    }

    pub(super) fn observer(&mut self) -> Option<&mut dyn Observe> {
        match self {
            Watch::Nobody => None,
            Watch::Trace(trace) => Some(trace),
            Watch::Profile(profile) => Some(profile),
        }
    }

    /// A run has ended with this in r0: its last instruction is written.
    pub(super) fn ended(&mut self, result: Option<u64>) {
        if let Watch::Trace(trace) = self {
            trace.ended(result);
        }
    }

    /// The first failure to write, if there was one.
    pub fn failure(&mut self) -> Option<io::Error> {
        match self {
            Watch::Trace(trace) => trace.failed.take(),
            _ => None,
        }
    }

    /// The counts as a table, the lines of a program together; empty if nobody counted.
    pub fn table(&self) -> Vec<String> {
        match self {
            Watch::Profile(profile) => profile.table(),
            _ => Vec::new(),
        }
    }
}

/// An instruction that has not been written yet.
struct Before {
    insn: u32,
    text: String,
    registers: [u64; 11],
    depth: u32,
}

/// Writes instructions.
pub struct Trace {
    out: Box<dyn Write>,
    before: Option<Before>,
    /// Program, line and column of source that were written last.
    line: Option<(String, u32, u32)>,
    failed: Option<io::Error>,
}

impl Trace {
    fn write(&mut self, text: &str) {
        if self.failed.is_none()
            && let Err(error) = writeln!(self.out, "{text}")
        {
            self.failed = Some(error);
        }
    }

    /// Writes the instruction that has just run, now that its effect is known.
    fn flush(&mut self, registers: Option<&[u64; 11]>) {
        let Some(before) = self.before.take() else { return };
        let mut effect = String::new();
        if let Some(after) = registers {
            for (number, (old, new)) in before.registers.iter().zip(after).enumerate() {
                if old != new {
                    effect.push_str(&format!("  r{number} = {new:#x}"));
                }
            }
        }
        let indent = "  ".repeat(before.depth.saturating_sub(1) as usize);
        let text = format!("{indent}{:5}: {}", before.insn, before.text);
        self.write(format!("{text:<48}{effect}").trim_end());
    }

    fn ended(&mut self, result: Option<u64>) {
        self.flush(None);
        self.line = None;
        if let Some(result) = result {
            self.write(&format!("       r0 = {result:#x}"));
        }
    }
}

impl Observe for Trace {
    fn step(&mut self, step: &Step<'_>) {
        self.flush(Some(step.registers));
        if let Some(line) = step.program.line(step.insn) {
            let place = (step.program.name.clone(), line.line, line.column);
            if self.line.as_ref() != Some(&place) {
                let text = format!("; {}:{}:{}  {}", line.file, line.line, line.column, line.text.trim());
                self.write(&text);
                self.line = Some(place);
            }
        }
        self.before = Some(Before {
            insn: step.insn,
            text: step.program.text(step.insn),
            registers: *step.registers,
            depth: step.depth,
        });
    }
}

/// Counts of one program.
struct Counted {
    /// By instruction.
    counts: Vec<u64>,
    /// Text, and line of source, by instruction.
    texts: Vec<(String, Option<String>)>,
}

/// Counts instructions.
#[derive(Default)]
pub struct Profile {
    programs: BTreeMap<String, Counted>,
}

impl Observe for Profile {
    fn step(&mut self, step: &Step<'_>) {
        let name = &step.program.name;
        if !self.programs.contains_key(name) {
            self.programs.insert(name.clone(), Counted::new(step.program));
        }
        let counted = self.programs.get_mut(name);
        if let Some(count) = counted.and_then(|c| c.counts.get_mut(step.insn as usize)) {
            *count += 1;
        }
    }
}

impl Counted {
    fn new(program: &Program) -> Counted {
        let texts = (0u32..).take(program.ops.len()).map(|insn| {
            let line = program.line(insn);
            let line = line.map(|l| format!("; {}:{}:{}  {}", l.file, l.line, l.column, l.text.trim()));
            (program.text(insn), line)
        });
        Counted { counts: vec![0; program.ops.len()], texts: texts.collect() }
    }
}

impl Profile {
    fn table(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, counted) in &self.programs {
            let total: u64 = counted.counts.iter().sum();
            lines.push(format!("{name}: {total} instructions"));
            let mut by_line: BTreeMap<&str, u64> = BTreeMap::new();
            for (count, (_, line)) in counted.counts.iter().zip(&counted.texts) {
                if let Some(line) = line {
                    *by_line.entry(line).or_default() += count;
                }
            }
            let share = |count: u64| count as f64 * 100.0 / total.max(1) as f64;
            let mut last = None;
            for (insn, (count, (text, line))) in counted.counts.iter().zip(&counted.texts).enumerate() {
                if line.is_some() && line != &last {
                    let sum = line.as_deref().and_then(|l| by_line.get(l)).copied().unwrap_or(0);
                    let line = line.as_deref().unwrap_or_default();
                    lines.push(format!("{sum:>10} {:>5.1}%  {line}", share(sum)));
                }
                last.clone_from(line);
                if *count > 0 {
                    lines.push(format!("{count:>10} {:>5.1}%  {insn:5}: {text}", share(*count)));
                }
            }
        }
        lines
    }
}
