//! Starting a router: its programs are compiled for the ports, loaded, their maps filled, and only then attached. When
//! anything fails, nothing stays.

use super::direct::Mapped;
use super::ports::{self, PortReport};
use super::{Machine, Maps, Port, Router, folder, own, steps};
use crate::error::Error;
use crate::script::Script;
use skep_bpf::kinds::{ProgType, map_flags};
use skep_kernel::device::{self, Device};
use skep_kernel::load::{LoadOptions, Loaded};
use skep_kernel::prog::Prog;
use skep_packet::route::direct::{BLOCK_CELLS, BLOCKS, ROOT_CELLS};
use skep_packet::route::record::Room;
use skep_packet::route::{HOPS, Links, Table, some};
use std::collections::BTreeMap;
use std::path::Path;

/// The data plane.
const SOURCE: &str = include_str!("../../../../programs/router/router.bt");
/// How the program begins that learns of neighbours.
const FOLLOWS: &str = "\nrawtracepoint:";
/// How the program begins that CPUs run which routes name.
const ON_CPU: &str = "\nxdp:@cpus {";
/// What stands for the ports in it.
const PORTS: &str = "PORTS";
/// The array of blocks in it, of which there are the fewest that can be.
const BLOCK_ARRAY: &str = "@blocks = array(524288,";
/// The array of roots in it, without the record of routes that lies behind them.
const ROOT_ARRAY: &str = "@roots = array(131072,";
/// How many CPUs there are, in it.
const CPUS: &str = "@cpus = cpumap(64)";
/// What says whether routes have conditions, and where their filters stand.
const POLICIES: (&str, &str) = ("#define POLICIES 0", "#define POLICIES 1");
const FILTERS: &str = "  // FILTERS\n";
/// Maps with an entry for each next hop.
const BY_HOP: &[&str] =
    &["@hops = array(", "@ports = devmap(", "@packets = percpuarray(", "@octets = percpuarray("];
/// Maps that commands write through a mapping.
const MAPPED: &[&str] = &["@roots", "@blocks", "@hops"];

/// What starting did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpReport {
    /// The ports.
    pub ports: Vec<PortReport>,
    /// Why neighbours are not followed, so that only TC forwards; `None` where they are.
    pub unfollowed: Option<String>,
}

/// Where XDP may run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// On the ports whose driver runs it, but not where frames may lack their checksums.
    #[default]
    Automatic,
    /// On all ports, or the router is not started.
    Native,
    /// Nowhere: TC forwards everything.
    Generic,
}

/// How a router is started.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UpOptions {
    /// Where XDP may run.
    pub mode: Mode,
    /// Counts so many routes each by itself, those too that follow the kernel's table; 0: those written by hand, up to [`COUNTED`].
    pub count: u32,
}

/// Routes written by hand that are counted each by itself.
pub const COUNTED: u32 = HOPS - SHARED;
/// Next hops beside those of routes that are counted by themselves.
const SHARED: u32 = 4096;

/// Starts a router on these ports.
pub fn up(names: &[String], options: &UpOptions) -> Result<UpReport, Error> {
    if let Some(router) = super::find()? {
        let running: Vec<_> = router.ports.iter().map(|p| p.device.name.as_str()).collect();
        let running = running.join(", ");
        return Err(Error::Route(format!(
            "a router runs here already, on {running}: `skep route down` ends it"
        )));
    }
    let machine = super::Machine::read()?;
    let mut devices: Vec<Device> = Vec::new();
    for name in names {
        let found = machine.devices.iter().find(|d| d.name == *name);
        let missing = || {
            let there = some(&machine.names());
            Error::Route(match name.as_str() {
                "" => "a name is missing in `--ports`, between or behind the commas".to_owned(),
                name => format!("there is no interface `{}`: there are {there}", name.escape_debug()),
            })
        };
        let device = found.ok_or_else(missing)?;
        ports::check(device)?;
        if devices.iter().any(|d| d.name == *name) {
            return Err(Error::Route(format!("{name} is named twice")));
        }
        devices.push(device.clone());
    }
    let hops =
        if options.count > COUNTED { options.count + SHARED } else { HOPS + u32::from(options.count > 0) };
    let loaded = load(&devices, &Plane { hops, ..Plane::default() }, Vec::new())?;
    let maps = Maps(loaded.maps());
    let mut table = Table::default();
    let mut arrays = Mapped::begun(maps, Room::default())?;
    steps::apply(maps, &mut arrays, &own(&mut table, &machine)?)?;
    arrays.complete()?;
    maps.name_ports(devices.iter())?;
    maps.name_tags(devices.iter())?;
    maps.name_sources(&machine.sources(devices.iter().map(|d| d.index)))?;
    let folder = folder()?;
    // What a router left that ended without `down`.
    skep_kernel::pin::unpin_folder(&folder)?;
    let unfollowed = follow(&loaded, maps, &folder)?;
    match attach(&loaded, &machine, &devices, options.mode) {
        Ok(ports) => Ok(UpReport { ports, unfollowed }),
        Err(error) => {
            skep_kernel::pin::unpin_folder(&folder)?;
            Err(error)
        }
    }
}

/// The program with its ports named, without what learns of neighbours: for a machine that has no kernel.
pub(super) fn source_alone(ports: &[Device], plane: &Plane<'_>) -> String {
    source(ports, &Plane { follows: false, ..plane.clone() })
}

/// What the programs are made for.
#[derive(Clone, Debug)]
pub(super) struct Plane<'t> {
    /// Blocks of the arrays that addresses are looked up in.
    pub(super) blocks: u32,
    /// Slots of the record of routes.
    pub(super) room: Room,
    /// Filters of routes, by number; `None`: there are no routes with conditions.
    pub(super) filters: Option<&'t BTreeMap<u32, String>>,
    /// Next hops that there can be.
    pub(super) hops: u32,
    /// A program learns of neighbours; other programs for a running router leave that to the one that does.
    pub(super) follows: bool,
}

impl Default for Plane<'_> {
    fn default() -> Self {
        Plane { blocks: *BLOCKS.start(), room: Room::default(), filters: None, hops: HOPS, follows: true }
    }
}

/// Compiles and loads the programs for these ports. Of the maps named by `reuse` they take those that they can use.
pub(super) fn load(ports: &[Device], plane: &Plane<'_>, reuse: Vec<u32>) -> Result<Loaded, Error> {
    let cpus = skep_kernel::machine::online_cpus()?.iter().max().map_or(1, |last| last + 1);
    let cpus = cpus.max(skep_kernel::machine::possible_cpus()? as u32);
    let text = source(ports, plane).replace(CPUS, &CPUS.replace("64", &cpus.to_string()));
    let mut program =
        Script::named("router.bt", &text).params(vec![device::namespace()?.to_string()]).compile()?;
    for map in program.object.maps.iter_mut().filter(|map| MAPPED.contains(&map.name.as_str())) {
        map.flags |= map_flags::MMAPABLE;
    }
    let options = LoadOptions { reuse, ..LoadOptions::default() };
    Loaded::load(&program.object, program.target.clone(), &options).map_err(Error::Kernel)
}

/// Puts programs in the place of those that the ports run.
pub(super) fn replace(loaded: &Loaded, ports: &[Port]) -> Result<(), Error> {
    for port in ports {
        let tc = program(loaded, ProgType::SchedCls, &port.device)?;
        port.filters.iter().try_for_each(|filter| filter.replace(tc))?;
        if port.xdp {
            device::replace_xdp(program(loaded, ProgType::Xdp, &port.device)?, &port.device)?;
        }
    }
    Ok(())
}

/// The program of a kind for a port: ports whose packets have no Ethernet header have another one.
fn program<'l>(loaded: &'l Loaded, kind: ProgType, port: &Device) -> Result<&'l Prog, Error> {
    let missing = || Error::Internal(format!("the router has no program for {}", port.name));
    loaded.program_at(kind, &port.name).ok_or_else(missing)
}

/// The program with its ports named.
fn source(ports: &[Device], plane: &Plane<'_>) -> String {
    let list = |before: &str, after: &str, ports: &[&Device]| {
        let each: Vec<_> = ports.iter().map(|p| format!("{before}{}{after}", p.name)).collect();
        each.join(", ")
    };
    let all: Vec<&Device> = ports.iter().collect();
    let framed: Vec<&Device> = ports.iter().filter(|port| port.is_ethernet()).collect();
    let array = format!("@blocks = array({},", u64::from(plane.blocks) * u64::from(BLOCK_CELLS));
    let roots = format!("@roots = array({},", 2 * ROOT_CELLS + plane.room.words());
    let mut text = SOURCE.replace(BLOCK_ARRAY, &array).replace(ROOT_ARRAY, &roots);
    if plane.hops != HOPS {
        for map in BY_HOP {
            text = text.replace(&format!("{map}{HOPS}"), &format!("{map}{}", plane.hops));
        }
    }
    if let Some(filters) = plane.filters {
        let line = |(number, text): (&u32, &String)| {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            format!(
                "  if (($asked >> {number}) & 1) {{ if (filter(\"{text}\")) {{ $held |= (uint64)1 << {number}; }} }}\n"
            )
        };
        text = text
            .replace(FILTERS, &filters.iter().map(line).collect::<String>())
            .replace(POLICIES.0, POLICIES.1);
    }
    let xdp = format!("\nxdp:{PORTS} {{");
    if framed.is_empty() {
        text = without(&without(&text, &xdp), ON_CPU);
    }
    if !plane.follows {
        text = without(&text, FOLLOWS);
    }
    text.replace(&xdp, &format!("\n{} {{", list("xdp:", "", &framed)))
        .replace(&format!("\ntc:{PORTS}:ingress {{"), &format!("\n{} {{", list("tc:", ":ingress", &all)))
}

/// The text without the probe that begins so.
fn without(text: &str, start: &str) -> String {
    match text.split_once(start).and_then(|(before, rest)| Some((before, rest.split_once("\n}\n")?.1))) {
        Some((before, behind)) => format!("{before}\n{behind}"),
        None => text.to_owned(),
    }
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

fn attach(
    loaded: &Loaded,
    machine: &Machine,
    ports: &[Device],
    mode: Mode,
) -> Result<Vec<PortReport>, Error> {
    let all = || -> Result<Vec<PortReport>, Error> {
        let mut reasons = Vec::new();
        for port in ports {
            device::hold_tc(program(loaded, ProgType::SchedCls, port)?, port.index, &port.name)?;
            reasons.push(match mode {
                Mode::Generic => Some("`--generic`".to_owned()),
                _ => attach_xdp(loaded, machine, port, mode == Mode::Native)?,
            });
        }
        let with_reasons = || ports.iter().zip(&reasons);
        let runs: Vec<u32> =
            with_reasons().filter(|(_, why)| why.is_none()).map(|(port, _)| port.index).collect();
        // A VLAN device is served by XDP on what it lies on.
        let unserved = |port: &Device| port.tag.is_none_or(|tag| !runs.contains(&tag.lower));
        let refused =
            with_reasons().find_map(|(port, why)| Some((port, why.as_ref()?)).filter(|_| unserved(port)));
        if let (Mode::Native, Some((port, why))) = (mode, refused) {
            let below = port.tag.map(|tag| format!(", and {} is no port", machine.name_of(tag.lower)));
            return Err(Error::Route(format!(
                "XDP does not run on {}: {why}{}; without `--native` TC forwards its packets",
                port.name,
                below.unwrap_or_default()
            )));
        }
        let report = |(port, why): (&Device, &Option<String>)| PortReport {
            name: port.name.clone(),
            way: ports::way(machine, port, &runs, why.clone()),
        };
        Ok(with_reasons().map(report).collect())
    };
    all().or_else(|error| {
        // As far as it came, it is a router.
        if let Some(router) = super::find()? {
            Router::down(router)?;
        }
        Err(error)
    })
}

/// Runs XDP on a port; why not, where that is not possible or not wanted.
fn attach_xdp(
    loaded: &Loaded,
    machine: &Machine,
    port: &Device,
    native: bool,
) -> Result<Option<String>, Error> {
    if let Some(why) = ports::why_no_xdp(port, native) {
        return Ok(Some(why));
    }
    // XDP programs do not see a tag that the card has taken off: frames of a VLAN would be taken for the port's own.
    let maps = Maps(loaded.maps());
    let takes_off = machine.has_vlans(port) && device::takes_tags_off(&port.name)?;
    if takes_off {
        maps.note_tags_off(port.index)?;
        if !device::take_tags_off(&port.name, false)? {
            return Ok(Some(ports::TAGS.to_owned()));
        }
    }
    if device::hold_xdp(program(loaded, ProgType::Xdp, port)?, port)? {
        return Ok(None);
    }
    if takes_off {
        device::take_tags_off(&port.name, true)?;
    }
    Ok(Some(ports::REFUSED.to_owned()))
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
            hardware: 1,
            ..Device::default()
        };
        let text = source(&[port("eth1"), port("eth2")], &Plane::default());
        assert!(text.contains("\nxdp:eth1, xdp:eth2 {"));
        assert!(text.contains("\ntc:eth1:ingress, tc:eth2:ingress {"));
        assert!(!text.contains("xdp:PORTS"));
        let alone = source_alone(&[port("eth1")], &Plane::default());
        assert!(text.contains(FOLLOWS) && !alone.contains("rawtracepoint"));
        assert!(alone.contains("\nxdp:eth1 {") && alone.contains("\ntc:eth1:ingress {"));
        let bare = Device { hardware: 0xfffe, ..port("tun0") };
        let mixed = source(&[port("eth1"), bare.clone()], &Plane::default());
        assert!(mixed.contains("\nxdp:eth1 {") && mixed.contains("\ntc:eth1:ingress, tc:tun0:ingress {"));
        assert!(!source(&[bare], &Plane::default()).contains("\nxdp:"));
        assert!(text.contains(BLOCK_ARRAY) && !text.contains(ROOT_ARRAY) && SOURCE.contains(ROOT_ARRAY));
        let large = source(&[port("eth1")], &Plane { blocks: 4096, ..Plane::default() });
        assert!(large.contains("@blocks = array(1048576,"));
        assert!(text.contains(CPUS) && text.contains(FILTERS) && text.contains(POLICIES.0));
        let filters = BTreeMap::from([(3, "tcp port 80".to_owned())]);
        let asks =
            source(&[port("eth1")], &Plane { filters: Some(&filters), hops: 9000, ..Plane::default() });
        let line = "if (($asked >> 3) & 1) { if (filter(\"tcp port 80\")) { $held |= (uint64)1 << 3; } }";
        assert!(asks.contains(line) && asks.contains(POLICIES.1) && !asks.contains(FILTERS));
        BY_HOP.iter().for_each(|map| assert!(asks.contains(&format!("{map}9000")), "{map}"));
    }
}
