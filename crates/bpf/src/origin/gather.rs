//! What an object takes for granted: the object, the answers that it was compiled with and the target that gave them
//! enter, a list of [`Assumption`]s leaves.

use super::{Assumption, Place, check};
use crate::event::EventLayout;
use crate::helpers::id;
use crate::insn::{Insn, Reg, alu, class, source};
use crate::object::{Attach, Object, Program};
use crate::schema::{Field, ValueType};
use crate::target::{Answer, Question, Recorded, Target, TargetError, TargetExt};
use crate::tracepoint::TracepointFormat;

/// Why an object cannot leave its machine.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GatherError {
    /// The target could not answer again.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A place that no other machine can be asked for.
    #[error(
        "{probe}: {path} has no symbol and no USDT note for its place, so that it could not be found in another copy"
    )]
    Nameless {
        /// The probe.
        probe: String,
        /// The binary.
        path: String,
    },
}

/// The assumptions of `object`, which was compiled with the answers `recorded` of `target`.
pub fn gather(
    object: &Object,
    recorded: &Recorded,
    target: &dyn Target,
) -> Result<Vec<Assumption>, GatherError> {
    let mut out = Vec::new();
    for program in &object.programs {
        for assumption in of_program(program, target)? {
            if !out.contains(&assumption) {
                out.push(assumption);
            }
        }
    }
    out.extend(recorded.questions().filter_map(|question| named(question, recorded, object)));
    // Programs call it for each CPU that there was.
    let percpu = Insn::call_helper(id::MAP_LOOKUP_PERCPU_ELEM);
    if object.programs.iter().flat_map(|p| &p.insns).any(|i| *i == percpu) {
        out.push(Assumption::Cpus(target.possible_cpus()?));
    }
    let types = target.vmlinux()?;
    for (size, fields) in records(object) {
        if let Some(name) = check::name_of_layout(&types, size, &fields)
            && !out.iter().any(|a| matches!(a, Assumption::Layout { name: n, .. } if *n == name))
        {
            out.push(Assumption::Layout { name, size, fields });
        }
    }
    Ok(out)
}

fn of_program(program: &Program, target: &dyn Target) -> Result<Vec<Assumption>, GatherError> {
    let mut out = Vec::new();
    if let Some(attach) = &program.attach_btf
        && let Some(params) = check::parameters(attach, target)?
    {
        out.push(Assumption::Signature { target: attach.clone(), params });
    }
    for point in &program.attach {
        match &point.at {
            Attach::Tracepoint { category, name } => {
                let text = target.tracepoint_format(category, name)?;
                let Ok(format) = TracepointFormat::parse(&text) else { continue };
                let fields = read_fields(program, &format);
                if !fields.is_empty() {
                    out.push(Assumption::Tracepoint {
                        category: category.clone(),
                        name: name.clone(),
                        fields,
                    });
                }
            }
            Attach::Uprobe { path, offset, ref_ctr, .. } => {
                out.push(in_binary(&point.name, path, *offset, *ref_ctr, target)?);
            }
            Attach::UprobeMulti { path, offsets, ref_ctrs, .. } => {
                for (index, offset) in offsets.iter().enumerate() {
                    let ref_ctr = ref_ctrs.get(index).copied().unwrap_or(0);
                    out.push(in_binary(&point.name, path, *offset, ref_ctr, target)?);
                }
            }
            _ => {}
        }
    }
    Ok(out)
}

fn in_binary(
    probe: &str,
    path: &str,
    offset: u64,
    ref_ctr: u64,
    target: &dyn Target,
) -> Result<Assumption, GatherError> {
    let nameless = || GatherError::Nameless { probe: probe.to_owned(), path: path.to_owned() };
    check::binary_place(path, offset, ref_ctr, target).ok_or_else(nameless)
}

/// Fields of a tracepoint's record that some instruction may read: one that adds or accesses at an offset within.
fn read_fields(program: &Program, format: &TracepointFormat) -> Vec<Place> {
    let offset_of = |insn: &Insn| match insn.class() {
        class::LDX if insn.src != Reg::FP.0 => Some(i64::from(insn.off)),
        class::ALU64 if insn.code & 0xf8 == alu::ADD | source::K => Some(i64::from(insn.imm)),
        _ => None,
    };
    let offsets: Vec<i64> = program.insns.iter().filter_map(offset_of).collect();
    let read = |offset: u32, size: u32| {
        let (start, end) = (i64::from(offset), i64::from(offset) + i64::from(size));
        offsets.iter().any(|at| (start..end).contains(at))
    };
    let fields = format.own_fields().filter(|f| read(f.offset, f.size));
    fields.map(|f| Place { name: f.name.clone(), offset: f.offset, size: f.size }).collect()
}

/// What an answer that has a name and a number makes of the instructions.
fn named(question: &Question, recorded: &Recorded, object: &Object) -> Option<Assumption> {
    let Ok(Answer::Number(number)) = recorded.ask(question) else { return None };
    match question {
        Question::KernelSymbol(name) if is_baked(object, number) => {
            Some(Assumption::Symbol { name: name.clone(), address: number })
        }
        Question::CgroupId(path) => Some(Assumption::Cgroup { path: path.clone(), id: number }),
        Question::UserId(name) => Some(Assumption::User { name: name.clone(), id: number }),
        _ => None,
    }
}

/// Whether some instruction loads the number.
fn is_baked(object: &Object, number: u64) -> bool {
    object.programs.iter().any(|p| {
        p.insns.windows(2).any(|pair| {
            let value = u64::from(pair[1].imm as u32) << 32 | u64::from(pair[0].imm as u32);
            pair[0].is_ld_imm64() && pair[0].src == 0 && value == number
        })
    })
}

/// Structs whose whole value is kept or printed: size and fields.
fn records(object: &Object) -> Vec<(u32, Vec<Place>)> {
    let mut out = Vec::new();
    let of_events = object.events.iter().flat_map(|EventLayout { args, .. }| args.iter().map(|a| &a.ty));
    let of_maps = object.maps.iter().filter_map(|m| m.schema.as_ref());
    let of_maps = of_maps.flat_map(|s| s.key.iter().chain([&s.value]));
    of_events.chain(of_maps).for_each(|ty| collect(ty, &mut out));
    out
}

fn collect(ty: &ValueType, out: &mut Vec<(u32, Vec<Place>)>) {
    match ty {
        ValueType::Record { size, fields } => {
            let place = |f: &Field| Place { name: f.name.clone(), offset: f.offset, size: f.ty.size() };
            let known = fields.iter().filter(|f| f.bits.is_none() && !f.name.is_empty());
            out.push((*size, known.map(place).collect()));
            fields.iter().for_each(|f| collect(&f.ty, out));
        }
        ValueType::Tuple(fields) => fields.iter().for_each(|f| collect(&f.ty, out)),
        ValueType::Array { elem, .. } => collect(elem, out),
        _ => {}
    }
}
