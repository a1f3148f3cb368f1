//! Where a frame goes that a program has redirected: the redirect that its run noted and the frame as it left it enter; destinations leave,
//! each with the frame as it gets there. The programs of device and CPU maps run on it before, as in the kernel
//! (kernel/bpf/devmap.c, dev_map_bpf_prog_run; kernel/bpf/cpumap.c, cpu_map_bpf_prog_run_xdp; Linux 6.18).

use skep_bpf::kinds::{MapType, ProgType};

use super::{Options, RunError, Vm};
use crate::helpers::env::effects::Redirect;
use crate::maps::Targets;
use crate::vm::context::{Input, field};
use crate::vm::memory::MapId;
use crate::vm::program::ProgId;
use crate::vm::state::State;

/// Times that a frame may be redirected again before it is dropped: CPU maps may send it in circles.
const MOST_HOPS: u32 = 8;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

/// Where a frame comes to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Destination {
    /// It leaves through an interface; `ingress`: it comes in there.
    Device {
        /// Interface index.
        ifindex: u32,
        /// Comes in, does not go out.
        ingress: bool,
    },
    /// Another CPU goes on with it.
    Cpu(u32),
    /// A socket (of `AF_XDP` by its place in the map, else by its cookie).
    Socket(u64),
    /// The program of a map dropped it, or what it returned is no verdict there.
    Dropped {
        /// What the program returned.
        verdict: u32,
    },
    /// It went in circles.
    Lost,
}

/// A frame at its destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forwarded {
    /// Where.
    pub to: Destination,
    /// The frame.
    pub packet: Vec<u8>,
    /// Instructions that programs of maps took.
    pub instructions: u64,
}

/// An entry of a map that a frame is redirected to.
struct Entry {
    key: u32,
    target: u32,
    program: Option<ProgId>,
}

/// An entry's value: the target, and the program's number counted from 1 (0: none), in place of user space's descriptor.
fn entry(key: &[u8], value: &[u8]) -> Option<Entry> {
    let word = |at: usize| value.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let program = word(4).and_then(|number| number.checked_sub(1)).map(ProgId);
    Some(Entry { key: key.try_into().ok().map(u32::from_ne_bytes)?, target: word(0)?, program })
}

impl Vm {
    /// Follows the redirect of the last run, whose input was `input`, and which left `packet`. Empty when it noted none.
    pub fn forward(
        &mut self,
        input: &Input,
        packet: Vec<u8>,
        options: Options,
    ) -> Result<Vec<Forwarded>, RunError> {
        self.hop(input, packet, options, MOST_HOPS)
    }

    fn hop(
        &mut self,
        input: &Input,
        packet: Vec<u8>,
        options: Options,
        hops: u32,
    ) -> Result<Vec<Forwarded>, RunError> {
        let at = |to, packet| Forwarded { to, packet, instructions: 0 };
        let Some(redirect) = self.state.env.redirect.take() else { return Ok(Vec::new()) };
        let (map, key, broadcast, exclude_ingress) = match redirect {
            Redirect::Device { ifindex, ingress, .. } => {
                return Ok(vec![at(Destination::Device { ifindex, ingress }, packet)]);
            }
            Redirect::Socket { cookie, .. } => return Ok(vec![at(Destination::Socket(cookie), packet)]),
            Redirect::Map { map, key, broadcast, exclude_ingress, .. } => {
                (map, key, broadcast, exclude_ingress)
            }
        };
        let ingress = input.layout.and_then(|layout| field(layout, &input.context, "ingress_ifindex"));
        let own = |target: u32| exclude_ingress && ingress == Some(target.into());
        let entries = match broadcast {
            true => self.entries(map).into_iter().filter(|entry| !own(entry.target)).collect(),
            false => self.entry(map, &key).into_iter().collect::<Vec<_>>(),
        };
        let kind = self.state.maps.get(map).map(|map| map.spec().map_type);
        let mut all = Vec::new();
        for entry in entries {
            let packet = packet.clone();
            match kind {
                Some(MapType::Devmap | MapType::DevmapHash) => {
                    all.push(self.leave(&entry, input, packet, options)?);
                }
                Some(MapType::Cpumap) => all.extend(self.change_cpu(&entry, input, packet, options, hops)?),
                _ => all.push(at(Destination::Socket(entry.target.into()), packet)),
            }
        }
        Ok(all)
    }

    fn entry(&self, map: MapId, key: &[u8]) -> Option<Entry> {
        entry(key, &self.state.maps.get(map)?.read(&self.state.memory, key).ok()?)
    }

    fn entries(&mut self, map: MapId) -> Vec<Entry> {
        let targets = self.state.maps.kind::<Targets>(map);
        let keys: Vec<Vec<u8>> =
            targets.into_iter().flat_map(|t| t.all()).map(|(key, _)| key.to_vec()).collect();
        keys.iter().filter_map(|key| self.entry(map, key)).collect()
    }

    /// A frame before it leaves through a device: what the device's program says of it.
    fn leave(
        &mut self,
        entry: &Entry,
        input: &Input,
        packet: Vec<u8>,
        options: Options,
    ) -> Result<Forwarded, RunError> {
        let to = Destination::Device { ifindex: entry.target, ingress: false };
        let Some(program) = entry.program else { return Ok(Forwarded { to, packet, instructions: 0 }) };
        let (verdict, packet, instructions) =
            self.again(program, input, packet, Some(entry.target), options)?;
        let to = if verdict == XDP_PASS { to } else { Destination::Dropped { verdict } };
        Ok(Forwarded { to, packet, instructions })
    }

    /// A frame on the CPU that it was sent to: what the entry's program makes of it.
    fn change_cpu(
        &mut self,
        entry: &Entry,
        input: &Input,
        packet: Vec<u8>,
        options: Options,
        hops: u32,
    ) -> Result<Vec<Forwarded>, RunError> {
        let to = Destination::Cpu(entry.key);
        let Some(program) = entry.program else { return Ok(vec![Forwarded { to, packet, instructions: 0 }]) };
        let before = std::mem::replace(&mut self.state.env.cpu, entry.key);
        let ran = self.again(program, input, packet, None, options);
        self.state.env.cpu = before;
        let (verdict, packet, instructions) = ran?;
        if verdict == XDP_REDIRECT && hops > 0 && self.state.env.redirect.is_some() {
            let mut all = self.hop(input, packet, options, hops - 1)?;
            if let Some(first) = all.first_mut() {
                first.instructions += instructions;
            }
            return Ok(all);
        }
        let to = match verdict {
            XDP_PASS => to,
            XDP_REDIRECT if hops == 0 => Destination::Lost,
            verdict => Destination::Dropped { verdict },
        };
        Ok(vec![Forwarded { to, packet, instructions }])
    }

    /// Runs a map's program on a frame: its verdict, the frame as it left it, and the instructions that it took.
    fn again(
        &mut self,
        program: ProgId,
        before: &Input,
        packet: Vec<u8>,
        egress: Option<u32>,
        options: Options,
    ) -> Result<(u32, Vec<u8>, u64), RunError> {
        let mut input = Input::packet(ProgType::Xdp, &packet).unwrap_or_else(|| Input::bytes(&[]));
        // It is as the run before left it, which was of the same frame.
        let State { run, memory, .. } = &self.state;
        input.meta = run.packet.map(|packet| packet.meta_bytes(memory).to_vec()).unwrap_or_default();
        for name in ["ingress_ifindex", "rx_queue_index"] {
            let value = before.layout.and_then(|layout| field(layout, &before.context, name));
            // Ignoring is right: these contexts have the fields.
            let _ = value.map(|value| input.set(name, value));
        }
        let _ = egress.map(|ifindex| input.set("egress_ifindex", ifindex.into()));
        let outcome = self.run(program, &input, options)?;
        Ok((outcome.result as u32, outcome.packet.unwrap_or(packet), outcome.instructions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helpers::env::Env;
    use skep_bpf::asm;
    use skep_bpf::object::MapSpec;

    const FRAME: [u8; 60] = [7; 60];

    /// A machine with a map of targets and a program that redirects to its entry 1 with `flags`.
    fn rig(kind: MapType, flags: u32) -> (Vm, MapId, ProgId) {
        let mut vm = Vm::new(Env { cpus: 4, ..Env::default() }).unwrap();
        let spec = MapSpec::new("to", kind, 4, 8, 4);
        let map = vm.state.maps.create(&spec, &mut vm.state.memory, 4).unwrap();
        let text = format!("r1 = map[fd:0]\nr2 = 1\nr3 = {flags}\ncall bpf_redirect_map\nexit");
        let program = load(&mut vm, &text, &[map]);
        (vm, map, program)
    }

    fn load(vm: &mut Vm, text: &str, maps: &[MapId]) -> ProgId {
        vm.load_raw("p", ProgType::Xdp, &asm::parse(text).unwrap(), maps).unwrap()
    }

    fn put(vm: &mut Vm, map: MapId, key: u32, target: u32, program: Option<ProgId>) {
        let number = program.map_or(0, |ProgId(number)| number + 1);
        let value = [target.to_ne_bytes(), number.to_ne_bytes()].concat();
        vm.state.maps.user_update(map, &mut vm.state.memory, &key.to_ne_bytes(), &value, 0).unwrap();
    }

    fn send(vm: &mut Vm, program: ProgId) -> Vec<(Destination, Vec<u8>)> {
        let mut input = Input::packet(ProgType::Xdp, &FRAME).unwrap();
        input.set("ingress_ifindex", 3).unwrap();
        let options = Options::default();
        let outcome = vm.run(program, &input, options).unwrap();
        assert_eq!(outcome.result, u64::from(XDP_REDIRECT));
        let all = vm.forward(&input, outcome.packet.unwrap(), options).unwrap();
        all.into_iter().map(|f| (f.to, f.packet)).collect()
    }

    fn device(ifindex: u32) -> Destination {
        Destination::Device { ifindex, ingress: false }
    }

    /// Writes the interfaces that it comes from and goes to into the frame, and passes it.
    const WRITES: &str = "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +12)\n*(u8 *)(r2 +0) = r3\n\
                          r3 = *(u32 *)(r1 +20)\n*(u8 *)(r2 +1) = r3\nr0 = 2\nexit";

    #[test]
    fn devices_with_and_without_a_program() {
        for kind in [MapType::Devmap, MapType::DevmapHash] {
            let (mut vm, map, program) = rig(kind, 0);
            put(&mut vm, map, 1, 9, None);
            assert_eq!(send(&mut vm, program), [(device(9), FRAME.to_vec())]);
            let writes = load(&mut vm, WRITES, &[]);
            put(&mut vm, map, 1, 9, Some(writes));
            let mut changed = FRAME.to_vec();
            changed[..2].copy_from_slice(&[3, 9]);
            assert_eq!(send(&mut vm, program), [(device(9), changed)]);
            let drops = load(&mut vm, "r0 = 1\nexit", &[]);
            put(&mut vm, map, 1, 9, Some(drops));
            assert_eq!(send(&mut vm, program)[0].0, Destination::Dropped { verdict: 1 });
        }
    }

    #[test]
    fn what_a_frame_carries_goes_along() {
        let (mut vm, map, _) = rig(MapType::Cpumap, 0);
        let text = "r6 = r1\nr2 = -8\ncall bpf_xdp_adjust_meta\nr2 = *(u32 *)(r6 +8)\nr3 = 77\n*(u64 *)(r2 +0) = r3\n\
                    r1 = map[fd:0]\nr2 = 1\nr3 = 0\ncall bpf_redirect_map\nexit";
        let carries = load(&mut vm, text, &[map]);
        // Writes the first byte of what is in front of the frame, and how much that is, into the frame.
        let reads = "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +8)\nr4 = *(u8 *)(r3 +0)\n*(u8 *)(r2 +0) = r4\n\
                     r4 = r2\nr4 -= r3\n*(u8 *)(r2 +1) = r4\nr0 = 2\nexit";
        let reads = load(&mut vm, reads, &[]);
        put(&mut vm, map, 1, 192, Some(reads));
        let mut changed = FRAME.to_vec();
        changed[..2].copy_from_slice(&[77, 8]);
        assert_eq!(send(&mut vm, carries), [(Destination::Cpu(1), changed)]);
    }

    #[test]
    fn all_devices_but_the_one_it_came_from() {
        let (mut vm, map, program) = rig(MapType::Devmap, 1 << 3 | 1 << 4);
        [(0, 5), (1, 3), (3, 6)].iter().for_each(|(key, ifindex)| put(&mut vm, map, *key, *ifindex, None));
        let to: Vec<Destination> = send(&mut vm, program).into_iter().map(|(to, _)| to).collect();
        assert_eq!(to, [device(5), device(6)]);
    }

    #[test]
    fn a_cpus_program_may_redirect_again() {
        let (mut vm, map, program) = rig(MapType::Cpumap, 0);
        put(&mut vm, map, 1, 64, None);
        assert_eq!(send(&mut vm, program)[0].0, Destination::Cpu(1));
        let on = load(&mut vm, "r1 = 12\nr2 = 0\ncall bpf_redirect\nexit", &[]);
        put(&mut vm, map, 1, 64, Some(on));
        assert_eq!(send(&mut vm, program)[0].0, device(12));
        put(&mut vm, map, 1, 64, Some(program));
        assert_eq!(send(&mut vm, program)[0].0, Destination::Lost, "it redirects to itself");
    }
}
