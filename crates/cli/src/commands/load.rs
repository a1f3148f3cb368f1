//! `skep load`: an object file of any compiler enters; its programs are listed, or loaded, attached and pinned.

use crate::args::{Format, Load};
use crate::out::note;
use anyhow::{Context, Result};
use serde_json::json;
use skep::LiveTarget;
use skep::machine::Signals;
use skep::objects::{Held, ObjectFile, Places, Selection, Settings};
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Largest file that is read.
pub(super) const MAX_FILE: u64 = 64 << 20;
/// How often signals are looked for.
const PAUSE: Duration = Duration::from_millis(50);

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    let name = path.display();
    let file = std::fs::File::open(path).with_context(|| format!("cannot open {name}"))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).with_context(|| format!("cannot read {name}"))?;
    Ok(bytes)
}

/// Runs the command.
pub(crate) fn run(options: &Load) -> Result<ExitCode> {
    let object = ObjectFile::parse(&options.file.display().to_string(), &read(&options.file)?)?;
    if options.list {
        return list(&object, options.format);
    }
    // Before anything is attached, so that Ctrl-C always detaches.
    let mut signals = Signals::receive(&[]).map_err(skep::Error::from)?;
    let settings = Settings {
        selection: match &options.programs[..] {
            [] => Selection::Default,
            names => Selection::Named(names.to_vec()),
        },
        btf: options.btf.clone(),
        log_level: u32::from(options.verbose),
        pin_root: options.pin_root.clone(),
        attach: options.attach.then(|| Places {
            interface: options.interface.clone(),
            egress: options.egress,
            cgroup: options.cgroup.clone(),
            netns: options.netns.clone(),
        }),
    };
    let mut held = object.load(&settings, Arc::new(LiveTarget::new()))?;
    for (program, log) in held.logs() {
        note!("{program}:\n{log}");
    }
    let programs = held.programs().join(", ");
    let mut out = std::io::stdout().lock();
    writeln!(out, "Loaded {}: {programs}", counted(held.programs().len(), "program"))?;
    if options.attach {
        writeln!(out, "Attached to {}", counted(held.attached(), "place"))?;
        print_iterators(&mut held, &mut out)?;
    }
    if let Some(folder) = &options.pin {
        for path in held.pin(folder)?.iter().filter(|p| !p.is_dir()) {
            writeln!(out, "Pinned {}", path.display())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if options.attach && held.is_attached() {
        writeln!(out, "Ctrl-C detaches")?;
        out.flush()?;
        while signals.next().is_none() {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_iterators(held: &mut Held, out: &mut impl Write) -> Result<()> {
    for output in held.iterators()? {
        out.write_all(&output)?;
    }
    out.flush()?;
    Ok(())
}

fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Prints what programs there are.
pub(crate) fn list(object: &ObjectFile, format: Format) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    for row in object.listing() {
        let kind = row.prog_type.map_or("unknown", |kind| kind.name());
        match format {
            Format::Json => {
                let line = json!({
                    "program": row.function, "section": row.section, "type": kind, "insns": row.insns,
                    "maps": row.maps, "optional": row.optional,
                });
                writeln!(out, "{line}")?;
            }
            Format::Text => {
                let (name, section) = (row.function.escape_debug(), row.section.escape_debug());
                let maps = row.maps.join(", ");
                let text = format!("{name}  {section}  {kind}  {}", counted(row.insns, "instruction"));
                let maps = if maps.is_empty() { maps } else { format!("  maps: {}", maps.escape_debug()) };
                writeln!(out, "{text}{maps}")?;
            }
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
