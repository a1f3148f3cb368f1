//! Filling maps before programs run: names and numbers that a user gives enter, entries of the machine's maps leave. What is a file
//! descriptor for the kernel is a name here: programs of program arrays, of device and CPU maps, maps of maps.

use super::guest::Guest;
use crate::error::Error;
use crate::given::Place;
use skep_bpf::btf::Btf;
use skep_bpf::btf::value::Value;
use skep_bpf::kinds::MapType;
use skep_bpf::object::{MapSpec, Storage};
use skep_engine::maps::{Errno, is_percpu};
use std::net::IpAddr;

impl Guest {
    /// Sets an entry of the map that is called `map`; of per-CPU kinds `values` are one for each CPU, or one for all of them.
    pub fn fill(&mut self, map: &str, key: &Value, values: &[Value]) -> Result<(), Error> {
        let refused = |why: String| Error::Stopped(format!("map {}: {why}", map.escape_debug()));
        let index = self.map_called(map).map_err(refused)?;
        let Some(spec) = self.object.maps.get(index).cloned() else { return Ok(()) };
        // Types that cannot be read are as if there were none.
        let types = Btf::parse(self.object.btf.clone(), None).ok();
        let key = key_of(&spec, types.as_ref(), key).map_err(refused)?;
        let values = values.iter().map(|value| self.value_of(&spec, types.as_ref(), value));
        let mut values = values.collect::<Result<Vec<_>, _>>().map_err(refused)?;
        if is_percpu(spec.map_type) {
            let cpus = self.vm.state.env.cpus as usize;
            if let [one] = &values[..] {
                values = vec![one.clone(); cpus];
            }
            values.iter_mut().for_each(|value| value.resize(value.len().next_multiple_of(8), 0));
            if values.len() != cpus {
                return Err(refused(format!("{} values, the machine has {cpus} CPUs", values.len())));
            }
        } else if values.len() != 1 {
            return Err(refused(format!("{} values: it has one for all CPUs", values.len())));
        }
        let Some(id) = self.map(index) else { return Ok(()) };
        let state = &mut self.vm.state;
        let set = state.maps.user_update(id, &mut state.memory, &key, &values.concat(), 0);
        set.map_err(|why| match why {
            Errno::TOOBIG => {
                refused(format!("it has {} entries: the key is beyond, or it is full", spec.max_entries))
            }
            Errno::NODEV => refused("the machine has no such CPU, see --cpus".to_owned()),
            why => refused(format!("the entry cannot be set: {why}")),
        })
    }

    fn map_called(&self, name: &str) -> Result<usize, String> {
        let maps = &self.object.maps;
        let by = |called: &str| maps.iter().position(|spec| spec.name == called);
        by(name).or_else(|| by(&format!("@{name}"))).ok_or_else(|| {
            let names: Vec<&str> = maps.iter().map(|spec| spec.name.as_str()).collect();
            format!("there is none; there are: {}", names.join(", "))
        })
    }

    fn value_of(&self, spec: &MapSpec, types: Option<&Btf>, value: &Value) -> Result<Vec<u8>, String> {
        match (spec.map_type, value) {
            (MapType::ProgArray, Value::Text(name)) => self.program_number(name),
            (MapType::ProgArray, _) => Err(format!("{value} is no program's name")),
            (MapType::ArrayOfMaps | MapType::HashOfMaps, Value::Text(name)) => {
                let id = self.map(self.map_called(name)?).map_or(0, |id| id.0);
                Ok(id.to_ne_bytes().to_vec())
            }
            (MapType::ArrayOfMaps | MapType::HashOfMaps, _) => Err(format!("{value} is no map's name")),
            (MapType::Devmap | MapType::DevmapHash | MapType::Cpumap, Value::Record(members)) => {
                self.target(spec, members)
            }
            (MapType::Devmap | MapType::DevmapHash | MapType::Cpumap, Value::Unsigned(n)) => {
                let number = u32::try_from(*n).map_err(|_| format!("{n} is no index"))?;
                let mut bytes = number.to_ne_bytes().to_vec();
                bytes.resize(spec.value_size as usize, 0);
                Ok(bytes)
            }
            (MapType::Devmap | MapType::DevmapHash | MapType::Cpumap, _) => Err(format!(
                "{value} is neither a number nor {{\"{}\": N, \"program\": \"NAME\"}}",
                number_is(spec)
            )),
            _ => {
                let flagged = scalar(spec);
                let size = spec.value_size - if flagged { FLAG } else { 0 };
                let id = spec.details.types.map_or(0, |ids| ids.value);
                let bytes = Place { what: "value", types, id, size }.bytes(value)?;
                // A map of the language without a key says first whether it was written.
                let written = 1u64.to_ne_bytes();
                Ok(if flagged { [&written[..], &bytes].concat() } else { bytes })
            }
        }
    }

    /// A program's number as the machine's maps hold it.
    fn program_number(&self, name: &str) -> Result<Vec<u8>, String> {
        let program = self.find(name).and_then(|index| self.program(index)).ok_or_else(|| {
            let names: Vec<&str> = self.object.programs.iter().map(|p| p.symbol.as_str()).collect();
            format!("there is no program `{}`; there are: {}", name.escape_debug(), names.join(", "))
        })?;
        Ok(program.0.to_ne_bytes().to_vec())
    }

    /// An entry of a device or CPU map: the interface or the length of the queue, and the program that runs there.
    fn target(&self, spec: &MapSpec, members: &[(String, Value)]) -> Result<Vec<u8>, String> {
        let number_is = number_is(spec);
        let (mut bytes, mut program) = (Vec::new(), None);
        for (name, value) in members {
            match (name.as_str(), value) {
                (name, Value::Unsigned(n)) if name == number_is => {
                    bytes = u32::try_from(*n)
                        .map_err(|_| format!("{name} {n} is too large"))?
                        .to_ne_bytes()
                        .to_vec();
                }
                ("program", Value::Text(name)) => {
                    let number = self.program_number(name)?;
                    // Counted from 1: 0 is none.
                    program = number.try_into().ok().map(|n| u32::from_ne_bytes(n) + 1);
                }
                _ => {
                    return Err(format!(
                        "`{name}` is none of its members: {number_is} (a number), program (a name)"
                    ));
                }
            }
        }
        if bytes.is_empty() {
            return Err(format!("{number_is} is missing"));
        }
        if program.is_some() && spec.value_size < 8 {
            return Err("its values have no room for a program: they need 8 bytes".to_owned());
        }
        bytes.extend(program.unwrap_or(0).to_ne_bytes());
        bytes.resize(spec.value_size as usize, 0);
        Ok(bytes)
    }
}

/// What the number of an entry is called that says where frames go.
fn number_is(spec: &MapSpec) -> &'static str {
    if spec.map_type == MapType::Cpumap { "qsize" } else { "ifindex" }
}

/// Bytes before the value of a map of the language without a key.
const FLAG: u32 = 8;

fn scalar(spec: &MapSpec) -> bool {
    spec.schema.as_ref().is_some_and(|schema| schema.storage == Storage::Scalar)
}

fn key_of(spec: &MapSpec, types: Option<&Btf>, key: &Value) -> Result<Vec<u8>, String> {
    let size = spec.key_size as usize;
    match key {
        Value::Text(text) if scalar(spec) && text.is_empty() => Ok(vec![0; size]),
        Value::Text(text) if spec.map_type == MapType::LpmTrie => prefix(text, size),
        // A name, as strings in maps of the language are.
        Value::Text(text) if spec.schema.is_some() && text.len() < size => {
            let mut bytes = text.clone().into_bytes();
            bytes.resize(size, 0);
            Ok(bytes)
        }
        key => {
            let id = spec.details.types.map_or(0, |ids| ids.key);
            Place { what: "key", types, id, size: spec.key_size }.bytes(key)
        }
    }
}

/// `ADDRESS/BITS` as a trie's key: the bits, then the address.
fn prefix(text: &str, size: usize) -> Result<Vec<u8>, String> {
    let wrong = || format!("`{}` is no prefix such as 10.0.0.0/8", text.escape_debug());
    let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
    let address = match address.parse().map_err(|_| wrong())? {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let bits: u32 = bits.parse().ok().filter(|bits| *bits as usize <= address.len() * 8).ok_or_else(wrong)?;
    if size != 4 + address.len() {
        return Err(format!("its keys have {size} bytes, a prefix of this family has {}", 4 + address.len()));
    }
    Ok([&bits.to_ne_bytes()[..], &address].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        assert_eq!(prefix("10.1.0.0/16", 8).unwrap(), [&16u32.to_ne_bytes()[..], &[10, 1, 0, 0]].concat());
        assert_eq!(prefix("fd00::/8", 20).unwrap().len(), 20);
        for bad in ["10.1.0.0", "10.1.0.0/33", "x/1", "fd00::/8"] {
            assert!(prefix(bad, 8).is_err(), "{bad}");
        }
    }
}
