//! Finding functions and types by name: a request enters, the places of entries leave. Functions are looked for in the
//! units that have code at their addresses, types there first; only what is still missing then is looked for
//! everywhere.

use std::collections::{BTreeMap, HashMap};

use gimli::{
    DW_AT_MIPS_linkage_name, DW_AT_abstract_origin, DW_AT_declaration, DW_AT_linkage_name, DW_AT_low_pc,
    DW_AT_name, DW_AT_specification, DW_TAG_base_type, DW_TAG_class_type, DW_TAG_enumeration_type,
    DW_TAG_structure_type, DW_TAG_subprogram, DW_TAG_typedef, DW_TAG_union_type, DwTag,
};
use skep_bpf::target::TypeRequest;

use super::Entry;
use super::units::{Handle, Place, UnitKey, Units, flag};

/// Most bytes of units that are looked through for types that the functions' own units lack.
const SEARCH_LIMIT: usize = 1 << 30;

/// What was found: entries by the index in the request.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) functions: BTreeMap<usize, Place>,
    pub(super) types: BTreeMap<usize, Place>,
}

/// What is looked for.
struct Wanted<'r> {
    functions: HashMap<&'r [u8], usize>,
    addresses: HashMap<u64, usize>,
    types: HashMap<&'r [u8], usize>,
}

fn is_type(tag: DwTag) -> bool {
    matches!(
        tag,
        DW_TAG_structure_type
            | DW_TAG_class_type
            | DW_TAG_union_type
            | DW_TAG_enumeration_type
            | DW_TAG_typedef
            | DW_TAG_base_type
    )
}

/// Looks for everything in `request`.
pub(super) fn search(units: &Units<'_>, request: &TypeRequest) -> Found {
    let functions = request.functions.iter().enumerate();
    let wanted = Wanted {
        functions: functions.clone().map(|(i, (name, _))| (name.as_bytes(), i)).collect(),
        addresses: functions.filter(|(_, (_, at))| *at != 0).map(|(i, (_, at))| (*at, i)).collect(),
        types: request.types.iter().enumerate().map(|(i, name)| (name.as_bytes(), i)).collect(),
    };
    let mut addresses: Vec<u64> = wanted.addresses.keys().copied().collect();
    addresses.sort_unstable();
    let (mut near, mut far): (Vec<UnitKey>, Vec<UnitKey>) = (Vec::new(), Vec::new());
    for key in units.all() {
        let covers = !addresses.is_empty() && units.unit(key).is_some_and(|u| u.covers(&addresses));
        if covers { near.push(key) } else { far.push(key) }
    }
    let mut found = Found::default();
    for key in near {
        let Some(unit) = units.unit(key) else { continue };
        scan(units, &units.full(unit), &wanted, &mut found);
        if found.functions.len() == wanted.functions.len() && found.types.len() == wanted.types.len() {
            return found;
        }
    }
    let mut left = SEARCH_LIMIT;
    for key in far {
        if found.types.len() == wanted.types.len() {
            break;
        }
        let Some(unit) = units.unit(key) else { continue };
        let unit = units.full(unit);
        let Some(rest) = left.checked_sub(unit.unit.header.length_including_self()) else { break };
        left = rest;
        scan(units, &unit, &wanted, &mut found);
    }
    found
}

/// Definitions of the structs and unions of these names.
pub(super) fn definitions(units: &Units<'_>, names: &[String]) -> Vec<Option<Place>> {
    let request = TypeRequest { types: names.to_vec(), ..TypeRequest::default() };
    let found = search(units, &request);
    (0..names.len()).map(|i| found.types.get(&i).copied()).collect()
}

/// Looks through one unit.
fn scan<'a>(units: &Units<'a>, unit: &Handle<'a>, wanted: &Wanted<'_>, found: &mut Found) {
    let Ok(mut entries) = unit.unit.entries_raw(None) else { return };
    let mut entry = Entry::null();
    while !entries.is_empty() {
        // An entry's attributes are read only where its kind is of interest.
        let mut ahead = entries.clone();
        let tag = match ahead.read_abbreviation() {
            Ok(Some(abbreviation)) => {
                let tag = abbreviation.tag();
                let functions = tag == DW_TAG_subprogram && !wanted.functions.is_empty();
                if !functions && !is_type(tag) {
                    if ahead.skip_attributes(abbreviation.attributes()).is_err() {
                        return;
                    }
                    entries = ahead;
                    continue;
                }
                tag
            }
            Ok(None) => {
                entries = ahead;
                continue;
            }
            Err(_) => return,
        };
        if entries.read_entry(&mut entry).is_err() {
            return;
        }
        if flag(&entry, DW_AT_declaration) {
            continue;
        }
        if tag == DW_TAG_subprogram {
            if let Some(index) = function(units, unit, &entry, wanted) {
                found.functions.entry(index).or_insert_with(|| unit.place(&entry));
            }
        } else if let Some(index) = unit.is_text(&entry, DW_AT_name, &wanted.types) {
            found.types.entry(*index).or_insert_with(|| unit.place(&entry));
        }
    }
}

/// Which of the wanted functions the entry describes.
fn function<'a>(
    units: &Units<'a>,
    unit: &Handle<'a>,
    entry: &Entry<'a>,
    wanted: &Wanted<'_>,
) -> Option<usize> {
    // Several functions may have one name, but not one address.
    if let (Some(address), false) = (unit.address(entry, DW_AT_low_pc), wanted.addresses.is_empty()) {
        return wanted.addresses.get(&address).copied();
    }
    let named = |unit: &Handle<'a>, entry: &Entry<'a>| {
        [DW_AT_linkage_name, DW_AT_MIPS_linkage_name, DW_AT_name]
            .into_iter()
            .find_map(|at| unit.is_text(entry, at, &wanted.functions).copied())
    };
    named(unit, entry).or_else(|| {
        let origin = [DW_AT_abstract_origin, DW_AT_specification]
            .into_iter()
            .find_map(|at| units.reference(unit, entry, at))?;
        let (unit, entry) = units.entry(origin)?;
        named(&unit, &entry)
    })
}
