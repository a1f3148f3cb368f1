//! Enum constants by name. A name enters, the enum and the value leave.

use super::read::kind;
use super::{Btf, TypeId};

impl Btf {
    /// The first enum (named or not) of this blob or its base that has the constant `name`, and its value.
    pub fn find_enumerator(&self, name: &str) -> Option<(TypeId, i64)> {
        let mut blob = Some(self);
        while let Some(btf) = blob {
            let found = btf
                .slots()
                .filter(|(_, slot)| slot.kind() == kind::ENUM || slot.kind() == kind::ENUM64)
                .find_map(|(id, _)| {
                    let record = btf.record(id)?;
                    record.variants().into_iter().find(|(n, _)| *n == name).map(|(_, value)| (id, value))
                });
            if found.is_some() {
                return found;
            }
            blob = btf.base.as_deref();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::btf::{Btf, BtfBuilder};

    #[test]
    fn constants_of_anonymous_enums_are_found() {
        let mut b = BtfBuilder::new();
        b.enum_("a", 4, false, &[("A_ONE", 1)]);
        let anonymous = b.enum_("", 4, true, &[("B_MINUS", -2), ("B_TWO", 2)]);
        let btf = Btf::parse(b.finish(), None).unwrap();
        assert_eq!(btf.find_enumerator("B_MINUS"), Some((anonymous, -2)));
        assert_eq!(btf.find_enumerator("A_ONE").map(|(_, v)| v), Some(1));
        assert_eq!(btf.find_enumerator("A_TWO"), None);
    }
}
