//! Where a function finds a parameter when it starts, as its debug information has it: an entry and an address enter; a
//! register or a constant leaves, as the text of a declaration tag.

use gimli::{AttributeValue, DW_AT_const_value, DW_AT_location, Expression, Operation, Register};
use skep_bpf::target::TypeRequest;

use super::units::Handle;
use super::{Bytes, Entry};

/// What holds a parameter at `address`, the start of its function; `None` where it is nowhere, in memory, or in parts.
pub(super) fn at<'a>(unit: &Handle<'a>, entry: &Entry<'a>, address: u64) -> Option<String> {
    if let Some(value) = entry.attr_value(DW_AT_const_value) {
        let value = value.sdata_value().or_else(|| value.udata_value().map(|v| v as i64))?;
        return Some(constant(value));
    }
    match entry.attr_value(DW_AT_location)? {
        AttributeValue::Exprloc(expression) => simple(unit, expression),
        value => {
            let mut locations = unit.dwarf.attr_locations(&unit.unit, value).ok().flatten()?;
            while let Ok(Some(location)) = locations.next() {
                if (location.range.begin..location.range.end).contains(&address) {
                    return simple(unit, location.data);
                }
            }
            None
        }
    }
}

fn constant(value: i64) -> String {
    format!("{}{value}", TypeRequest::CONSTANT)
}

/// The register or the constant that an expression names, if that is all it does.
fn simple<'a>(unit: &Handle<'a>, expression: Expression<Bytes<'a>>) -> Option<String> {
    let mut operations = expression.operations(unit.unit.encoding());
    let mut next = || operations.next().ok().flatten();
    let text = match next()? {
        Operation::Register { register: Register(number) } => format!("{}{number}", TypeRequest::REGISTER),
        Operation::UnsignedConstant { value } if matches!(next(), Some(Operation::StackValue)) => {
            constant(value as i64)
        }
        Operation::SignedConstant { value } if matches!(next(), Some(Operation::StackValue)) => {
            constant(value)
        }
        _ => return None,
    };
    next().is_none().then_some(text)
}
