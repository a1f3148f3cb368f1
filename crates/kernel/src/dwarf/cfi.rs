//! Call frame information of a binary as rows: a file enters; sorted rows leave, each the rule by which a frame finds
//! its caller from one address on, up to the next row. What no rule is known for has a row that says so.
//!
//! Only what programs can apply is kept: frame addresses by the stack pointer or the frame pointer, the expressions that
//! compilers, linkers and C libraries really write, and where the frame pointer and the return address were saved.

use gimli::{
    BaseAddresses, CfaRule, CieOrFde, CommonInformationEntry, DebugFrame, EhFrame, EndianSlice, Register,
    RegisterRule, RunTimeEndian, UnwindContext, UnwindExpression, UnwindSection, UnwindTableRow,
};
use skep_bpf::unwind::{Cfa, Return, Rule, Saved};
use std::collections::HashMap;

use super::Bytes;
use super::load::{Arena, Binary};
use crate::error::Error;

/// Most rows of one binary.
const MOST_ROWS: usize = 1 << 22;

/// A binary's rows.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    /// Address (as the file has it) and rule, ascending, no address twice.
    pub(crate) rows: Vec<(u64, Rule)>,
    /// Code that is loaded: (offset in the file, bytes there, address).
    pub(crate) segments: Vec<(u64, u64, u64)>,
}

/// Numbers of an architecture's registers in DWARF.
#[derive(Clone, Copy)]
struct Registers {
    sp: Register,
    fp: Register,
    /// Where the return address is before it is saved.
    ra: Register,
    /// Whether the return address is in a register that a leaf function does not save.
    link: bool,
}

/// System V ABI of x86-64, figure 3.36.
const X86_64: Registers = Registers { sp: Register(7), fp: Register(6), ra: Register(16), link: false };
/// DWARF for the Arm 64-bit architecture, 4.1.
const AARCH64: Registers = Registers { sp: Register(31), fp: Register(29), ra: Register(30), link: true };

/// Rows of the file at `path`.
pub(crate) fn of_file(path: &str) -> Result<Rows, Error> {
    let arena = Arena::default();
    Ok(of_binary(&Binary::open(&arena, path)?))
}

/// Rows of an image in memory, which messages call `name`.
pub(crate) fn of_image(name: &str, bytes: Vec<u8>) -> Result<Rows, Error> {
    let arena = Arena::default();
    Ok(of_binary(&Binary::of_bytes(&arena, name, bytes)?))
}

fn of_binary(binary: &Binary<'_>) -> Rows {
    let registers = match binary.code() {
        (true, _) => X86_64,
        (_, true) => AARCH64,
        _ => return Rows::default(),
    };
    let bases = BaseAddresses::default()
        .set_eh_frame(binary.address(".eh_frame"))
        .set_eh_frame_hdr(binary.address(".eh_frame_hdr"))
        .set_text(binary.address(".text"))
        .set_got(binary.address(".got"));
    let mut found = Vec::new();
    let mut eh = EhFrame::from(binary.section(Some(".eh_frame")));
    eh.set_address_size(8);
    collect(&eh, &bases, registers, &mut found);
    if found.is_empty() {
        let mut debug = DebugFrame::from(binary.section(Some(".debug_frame")));
        debug.set_address_size(8);
        collect(&debug, &bases, registers, &mut found);
    }
    Rows { rows: sorted(found), segments: binary.code_segments() }
}

/// Sorts; at one address what is known comes before what is not, and rows that say what the one before says are left
/// out.
fn sorted(mut rows: Vec<(u64, Rule)>) -> Vec<(u64, Rule)> {
    rows.sort_by_key(|(address, rule)| (*address, *rule == Rule::UNKNOWN));
    rows.dedup_by_key(|(address, _)| *address);
    rows.dedup_by_key(|(_, rule)| *rule);
    rows
}

/// Adds the rows of a section. What is damaged in it is left out.
fn collect<'a, S>(section: &S, bases: &BaseAddresses, registers: Registers, rows: &mut Vec<(u64, Rule)>)
where
    S: UnwindSection<Bytes<'a>>,
{
    let mut entries = section.entries(bases);
    let mut context = UnwindContext::new();
    let mut known: HashMap<usize, CommonInformationEntry<Bytes<'a>>> = HashMap::new();
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let parsed = partial.parse(|section, bases, offset| {
            let at = gimli::UnwindOffset::into(offset);
            if let Some(cie) = known.get(&at) {
                return Ok(cie.clone());
            }
            let cie = section.cie_from_offset(bases, offset)?;
            known.insert(at, cie.clone());
            Ok(cie)
        });
        let Ok(fde) = parsed else { continue };
        if fde.len() == 0 || fde.initial_address() == 0 {
            continue;
        }
        let Ok(mut table) = fde.rows(section, bases, &mut context) else { continue };
        while let Ok(Some(row)) = table.next_row() {
            if row.start_address() >= row.end_address() {
                continue;
            }
            rows.push((row.start_address(), rule(row, section, registers)));
            if rows.len() >= MOST_ROWS {
                return;
            }
        }
        rows.push((fde.end_address(), Rule::UNKNOWN));
    }
}

/// What an expression computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Computed {
    /// A register plus an offset.
    Plus(Register, i64),
    /// What lies there, plus a number.
    At(Register, i64, u8),
    /// What linkers write for a procedure linkage table: a register plus an offset, and 8 more from that byte of each 16
    /// on.
    Plt(Register, i64, u8),
}

/// One of the few forms of expressions that are written: `breg`, with `deref`, or a procedure linkage table's.
fn computed<'a, S>(expression: UnwindExpression<usize>, section: &S) -> Option<Computed>
where
    S: UnwindSection<Bytes<'a>>,
{
    let expression = expression.get(section).ok()?;
    let encoding = gimli::Encoding { address_size: 8, format: gimli::Format::Dwarf32, version: 4 };
    form(expression, encoding)
}

fn form(
    expression: gimli::Expression<EndianSlice<'_, RunTimeEndian>>,
    encoding: gimli::Encoding,
) -> Option<Computed> {
    use gimli::Operation as Op;
    let mut operations = expression.operations(encoding);
    let mut all = Vec::new();
    while let Some(operation) = operations.next().ok()? {
        all.push(operation);
        if all.len() > 9 {
            return None;
        }
    }
    match all.as_slice() {
        [Op::RegisterOffset { register, offset, .. }] => Some(Computed::Plus(*register, *offset)),
        [Op::RegisterOffset { register, offset, .. }, Op::Deref { size: 8, .. }] => {
            Some(Computed::At(*register, *offset, 0))
        }
        [
            Op::RegisterOffset { register, offset, .. },
            Op::Deref { size: 8, .. },
            Op::PlusConstant { value },
        ] => Some(Computed::At(*register, *offset, u8::try_from(*value).ok()?)),
        [
            Op::RegisterOffset { register, offset, .. },
            Op::RegisterOffset { register: Register(16), offset: 0, .. },
            Op::UnsignedConstant { value: 15 },
            Op::And,
            Op::UnsignedConstant { value: from },
            Op::Ge,
            Op::UnsignedConstant { value: 3 },
            Op::Shl,
            Op::Plus,
        ] => Some(Computed::Plt(*register, *offset, u8::try_from(*from).ok().filter(|n| *n < 16)?)),
        _ => None,
    }
}

/// The rule of a row; [`Rule::UNKNOWN`] for one that is more than programs apply.
fn rule<'a, S>(row: &UnwindTableRow<usize>, section: &S, registers: Registers) -> Rule
where
    S: UnwindSection<Bytes<'a>>,
{
    known_rule(row, section, registers).unwrap_or(Rule::UNKNOWN)
}

fn known_rule<'a, S>(row: &UnwindTableRow<usize>, section: &S, registers: Registers) -> Option<Rule>
where
    S: UnwindSection<Bytes<'a>>,
{
    let ra_rule = row.register(registers.ra);
    let ra = match &ra_rule {
        Some(RegisterRule::Undefined) => {
            return Some(Rule { ra: (Return::Nowhere, 0), ..Rule::UNKNOWN });
        }
        Some(RegisterRule::Offset(offset)) => (Return::AtCfa, i16::try_from(*offset).ok()?),
        None | Some(RegisterRule::SameValue) if registers.link => (Return::Link, 0),
        Some(RegisterRule::Expression(_)) => (Return::AtCfa, 0),
        _ => return None,
    };
    let is_signal = matches!(ra_rule, Some(RegisterRule::Expression(_))) && !registers.link;
    let mut extra = 0;
    let (cfa, offset) = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } if *register == registers.sp => (Cfa::Sp, *offset),
        CfaRule::RegisterAndOffset { register, offset } if *register == registers.fp => (Cfa::Fp, *offset),
        CfaRule::RegisterAndOffset { .. } => return None,
        CfaRule::Expression(expression) => match computed(*expression, section)? {
            Computed::At(register, offset, plus) if register == registers.fp => {
                extra = plus;
                (Cfa::AtFp, offset)
            }
            Computed::At(register, offset, plus) if register == registers.sp => {
                extra = plus;
                (if is_signal { Cfa::Signal } else { Cfa::AtSp }, offset)
            }
            Computed::Plt(register, offset, from) if register == registers.sp => {
                extra = from;
                (Cfa::Plt, offset)
            }
            _ => return None,
        },
    };
    if matches!(ra_rule, Some(RegisterRule::Expression(_))) && cfa != Cfa::Signal {
        return None;
    }
    let fp = match row.register(registers.fp) {
        _ if cfa == Cfa::Signal => (Saved::Same, 0),
        Some(RegisterRule::Offset(offset)) => (Saved::AtCfa, i16::try_from(offset).ok()?),
        Some(RegisterRule::Expression(expression)) => match computed(expression, section)? {
            Computed::Plus(register, offset) if register == registers.fp => {
                (Saved::AtFp, i16::try_from(offset).ok()?)
            }
            _ => return None,
        },
        None | Some(RegisterRule::SameValue | RegisterRule::Undefined) => (Saved::Same, 0),
        _ => return None,
    };
    Some(Rule { cfa: (cfa, i32::try_from(offset).ok()?), fp, ra, extra })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_has_rows() {
        let path = std::env::current_exe().unwrap();
        let found = of_file(path.to_str().unwrap()).unwrap();
        assert!(found.rows.len() > 1000 && !found.segments.is_empty());
        assert!(found.rows.is_sorted_by_key(|(address, _)| *address));
        let known = found.rows.iter().filter(|(_, rule)| rule.cfa.0 != Cfa::Unknown).count();
        // The others stand for the gaps between functions.
        assert!(known * 2 > found.rows.len(), "{known} of {}", found.rows.len());
    }

    #[test]
    fn what_no_binary_is_has_none() {
        assert!(of_file("/no/such/file").is_err());
        assert!(of_image("nothing", vec![0x7f; 100]).is_err());
    }

    #[test]
    fn expressions_that_are_written() {
        let encoding = gimli::Encoding { address_size: 8, format: gimli::Format::Dwarf32, version: 4 };
        let form =
            |bytes: &[u8]| form(gimli::Expression(EndianSlice::new(bytes, RunTimeEndian::Little)), encoding);
        let plt = [0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22];
        assert_eq!(form(&plt), Some(Computed::Plt(Register(7), 8, 11)));
        assert_eq!(form(&[0x76, 0x78, 0x06]), Some(Computed::At(Register(6), -8, 0)));
        assert_eq!(form(&[0x77, 0x98, 1, 0x06, 0x23, 8]), Some(Computed::At(Register(7), 152, 8)));
        assert_eq!(form(&[0x76, 0]), Some(Computed::Plus(Register(6), 0)));
        assert_eq!(form(&[0x76]), None);
        assert_eq!(form(&[]), None);
    }

    #[test]
    fn unknown_rules_end_what_is_known() {
        let sp = Rule { cfa: (Cfa::Sp, 8), fp: (Saved::Same, 0), ra: (Return::AtCfa, -8), extra: 0 };
        let rows = vec![(20, Rule::UNKNOWN), (10, sp), (20, sp), (30, Rule::UNKNOWN)];
        assert_eq!(sorted(rows), [(10, sp), (30, Rule::UNKNOWN)]);
    }
}
