//! Starting a router: its programs are compiled for the ports, loaded, their maps filled, and only then attached. When
//! anything fails, nothing stays.

use super::{Maps, Port, Router, folder, own};
use crate::error::Error;
use crate::script::Script;
use skep_bpf::kinds::{ProgType, map_flags};
use skep_kernel::device::{self, Device};
use skep_kernel::load::{LoadOptions, Loaded};
use skep_kernel::prog::Prog;
use skep_packet::route::Table;
use std::path::Path;

/// The data plane.
const SOURCE: &str = include_str!("../../../../programs/router/router.bt");
/// How the program begins that learns of neighbours.
const FOLLOWS: &str = "\nrawtracepoint:";
/// What stands for the ports in it.
const PORTS: &str = "PORTS";
/// What direct lookup changes in it.
const DIRECT: &[(&str, &str)] = &[
    ("#define DIRECT 0", "#define DIRECT 1"),
    ("@wide4 = array(1,", "@wide4 = array(8388608,"),
    ("@deep4 = array(1,", "@deep4 = array(1048576,"),
];
/// Maps that commands write through a mapping.
const MAPPED: &[&str] = &["@short4", "@wide4", "@deep4"];

/// What became of a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortReport {
    /// Its name.
    pub name: String,
    /// Where its packets are forwarded.
    pub path: PortPath,
}

/// Where packets of a port are forwarded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortPath {
    /// By XDP in the driver, what that leaves by TC.
    Xdp,
    /// By TC.
    Tc,
}

/// What starting did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpReport {
    /// The ports.
    pub ports: Vec<PortReport>,
    /// Why neighbours are not followed, so that only TC forwards; `None` where they are.
    pub unfollowed: Option<String>,
}

/// Starts a router on these ports; with `native` XDP runs on all of them, or none is started.
pub fn up(ports: &[String], native: bool) -> Result<UpReport, Error> {
    if let Some(router) = super::find()? {
        let names: Vec<_> = router.ports.iter().map(|p| p.device.name.as_str()).collect();
        let names = names.join(", ");
        return Err(Error::Route(format!(
            "a router runs here already, on {names}: `skep route down` ends it"
        )));
    }
    let machine = super::Machine::read()?;
    let mut devices: Vec<Device> = Vec::new();
    for name in ports {
        let found = machine.devices.iter().find(|d| d.name == *name);
        let device =
            found.ok_or_else(|| Error::Route(format!("there is no interface `{}`", name.escape_debug())))?;
        if device.mac == [0; 6] {
            return Err(Error::Route(format!("{name} has no Ethernet address: a port needs one")));
        }
        if devices.iter().any(|d| d.name == *name) {
            return Err(Error::Route(format!("{name} is named twice")));
        }
        devices.push(device.clone());
    }
    let loaded = load(&devices, Lookup::Trie, Vec::new())?;
    let maps = Maps(loaded.maps());
    let mut table = Table::default();
    maps.apply(&own(&mut table, &machine)?)?;
    maps.name_ports(devices.iter())?;
    maps.name_sources(&machine.sources(devices.iter().map(|d| d.index)))?;
    let folder = folder()?;
    // What a router left that ended without `down`.
    skep_kernel::pin::unpin_folder(&folder)?;
    let unfollowed = follow(&loaded, maps, &folder)?;
    match attach(&loaded, &devices, native) {
        Ok(ports) => Ok(UpReport { ports, unfollowed }),
        Err(error) => {
            skep_kernel::pin::unpin_folder(&folder)?;
            Err(error)
        }
    }
}

/// The program with its ports named, without what learns of neighbours: for a machine that has no kernel.
pub(super) fn source_alone(ports: &[Device]) -> String {
    let source = source(ports, Lookup::Trie);
    match source.split_once(FOLLOWS).and_then(|(before, rest)| Some((before, rest.split_once("\n}\n")?.1))) {
        Some((before, behind)) => format!("{before}\n{behind}"),
        None => source,
    }
}

/// How the programs look addresses up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lookup {
    /// In the trie.
    Trie,
    /// In arrays.
    Direct,
}

/// Compiles and loads the programs for these ports. Of the maps named by `reuse` they take those that they can use.
pub(super) fn load(ports: &[Device], lookup: Lookup, reuse: Vec<u32>) -> Result<Loaded, Error> {
    let mut program = Script::named("router.bt", &source(ports, lookup))
        .params(vec![device::namespace()?.to_string()])
        .compile()?;
    for map in program.object.maps.iter_mut().filter(|map| MAPPED.contains(&map.name.as_str())) {
        map.flags |= map_flags::MMAPABLE;
    }
    let options = LoadOptions { reuse, ..LoadOptions::default() };
    Loaded::load(&program.object, program.target.clone(), &options).map_err(Error::Kernel)
}

/// Puts programs in the place of those that the ports run.
pub(super) fn replace(loaded: &Loaded, ports: &[Port]) -> Result<(), Error> {
    let (xdp, tc) = programs(loaded)?;
    for port in ports {
        port.filters.iter().try_for_each(|filter| filter.replace(tc))?;
        if port.xdp {
            device::replace_xdp(xdp, &port.device)?;
        }
    }
    Ok(())
}

/// The program of each kind.
fn programs(loaded: &Loaded) -> Result<(&Prog, &Prog), Error> {
    let missing = || Error::Internal("the router's programs are not there".to_owned());
    let xdp = loaded.program_of(ProgType::Xdp).ok_or_else(missing)?;
    Ok((xdp, loaded.program_of(ProgType::SchedCls).ok_or_else(missing)?))
}

/// The program with its ports named.
fn source(ports: &[Device], lookup: Lookup) -> String {
    let list = |before: &str, after: &str| {
        let each: Vec<_> = ports.iter().map(|p| format!("{before}{}{after}", p.name)).collect();
        each.join(", ")
    };
    let mut text = SOURCE.to_owned();
    if lookup == Lookup::Direct {
        for (small, large) in DIRECT {
            text = text.replace(small, large);
        }
    }
    text.replace(&format!("\nxdp:{PORTS} {{"), &format!("\n{} {{", list("xdp:", "")))
        .replace(&format!("\ntc:{PORTS}:ingress {{"), &format!("\n{} {{", list("tc:", ":ingress")))
}

/// Lets the programs learn of neighbours for as long as the router runs; why not, where that is impossible. What would not be
/// kept up to date is not told at all.
fn follow(loaded: &Loaded, maps: Maps<'_>, folder: &Path) -> Result<Option<String>, Error> {
    if let Err(why) = loaded.pin_tracing(folder) {
        return Ok(Some(why.to_string()));
    }
    maps.name_neighbours(&device::neighbours()?)?;
    Ok(None)
}

fn attach(loaded: &Loaded, ports: &[Device], native: bool) -> Result<Vec<PortReport>, Error> {
    let (xdp, tc) = programs(loaded)?;
    let mut reports = Vec::new();
    let mut all = || -> Result<(), Error> {
        for port in ports {
            device::hold_tc(tc, port.index, &port.name)?;
            // Frames that come out of a veth may lack their checksums, which XDP does not see and a network card would send so.
            let path = match native || !port.is_veth() {
                true if device::hold_xdp(xdp, port)? => PortPath::Xdp,
                true if native => return Err(no_driver(port)),
                _ => PortPath::Tc,
            };
            reports.push(PortReport { name: port.name.clone(), path });
        }
        Ok(())
    };
    if let Err(error) = all() {
        // As far as it came, it is a router.
        if let Some(router) = super::find()? {
            Router::down(router)?;
        }
        return Err(error);
    }
    Ok(reports)
}

fn no_driver(port: &Device) -> Error {
    let name = &port.name;
    Error::Route(format!(
        "the driver of {name} runs no XDP programs, or not for its MTU and offloads: without `--native` TC forwards its packets"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_named() {
        let port = |name: &str| Device {
            name: name.to_owned(),
            index: 1,
            mtu: 1500,
            mac: [2; 6],
            ..Device::default()
        };
        let text = source(&[port("eth1"), port("eth2")], Lookup::Trie);
        assert!(text.contains("\nxdp:eth1, xdp:eth2 {"));
        assert!(text.contains("\ntc:eth1:ingress, tc:eth2:ingress {"));
        assert!(!text.contains("xdp:PORTS"));
        let alone = source_alone(&[port("eth1")]);
        assert!(text.contains(FOLLOWS) && !alone.contains("rawtracepoint"));
        assert!(alone.contains("\nxdp:eth1 {") && alone.contains("\ntc:eth1:ingress {"));
        let direct = source(&[port("eth1")], Lookup::Direct);
        for (small, large) in DIRECT {
            assert!(text.contains(small) && direct.contains(large) && !direct.contains(small), "{small}");
        }
    }
}
