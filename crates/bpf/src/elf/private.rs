//! What an object has and no other form of it has room for: bytes of section `.skep` with only that, and back.

use super::tables::{Extra, NamedMap, NamedProgram};
use super::wire::WireError;
use crate::object::Object;

/// The bytes for `object`.
pub(crate) fn private(object: &Object) -> Vec<u8> {
    let extra = Extra {
        origin: object.origin.clone(),
        btf_types: 0,
        btf_strings: 0,
        // Only what is not in the text counts: how maps print, where programs are attached.
        maps: object
            .maps
            .iter()
            .map(|spec| {
                let mut bare = crate::object::MapSpec::new("", spec.map_type, 0, 0, 0);
                bare.schema = spec.schema.clone();
                NamedMap { symbol: String::new(), spec: bare }
            })
            .collect(),
        programs: object
            .programs
            .iter()
            .map(|p| NamedProgram {
                function: String::new(),
                name: String::new(),
                symbol: String::new(),
                prog_type: p.prog_type,
                attach_type: p.attach_type,
                attach_btf: None,
                attach: p.attach.clone(),
                sleepable: false,
            })
            .collect(),
        events: object.events.clone(),
        session: object.session.clone(),
        notes: object.notes.clone(),
    };
    extra.to_bytes()
}

/// `object` with what such bytes say. Maps and programs that are not there are passed over: a text may be changed by hand.
pub(crate) fn with_private(mut object: Object, bytes: &[u8]) -> Result<Object, WireError> {
    let extra = Extra::from_bytes(bytes)?;
    for (spec, named) in object.maps.iter_mut().zip(extra.maps) {
        spec.schema = named.spec.schema;
    }
    for (program, named) in object.programs.iter_mut().zip(extra.programs) {
        program.attach = named.attach;
    }
    object.origin = extra.origin;
    object.events = extra.events;
    object.session = extra.session;
    object.notes = extra.notes;
    Ok(object)
}
