//! Helpers against the kernel's documented behaviour: called as programs call them, on a machine that a test sets up.

mod control;
mod packets;
mod sockets;
mod texts;
mod world;

use skep_bpf::asm;
use skep_bpf::helpers::id;
use skep_bpf::kinds::{MapType, ProgType};
use skep_bpf::object::MapSpec;

use super::env::Env;
use super::{Call, kfuncs};
use crate::vm::context::Input;
use crate::vm::fault::FaultKind;
use crate::vm::machine::Vm;
use crate::vm::memory::{Access, Addr, MapId, ObjectKind};

/// A machine in the middle of a run: 4096 bytes of memory stand for the program's stack.
struct Rig {
    vm: Vm,
    prog_type: ProgType,
    room: Addr,
    used: u32,
}

/// What a helper's error is in r0.
fn error(errno: i64) -> u64 {
    (-errno) as u64
}

impl Rig {
    fn new(prog_type: ProgType, env: Env) -> Rig {
        Rig::with(prog_type, env, &Input::bytes(&[0; 64]))
    }

    /// A program that got this packet.
    fn packet(prog_type: ProgType, packet: &[u8]) -> Rig {
        Rig::with(prog_type, Env::default(), &Input::packet(prog_type, packet).unwrap())
    }

    fn with(prog_type: ProgType, env: Env, input: &Input) -> Rig {
        let mut vm = Vm::new(env).unwrap();
        let insns = asm::parse("r0 = 0\nexit").unwrap();
        let program = vm.load_raw("rig", prog_type, &insns, &[]).unwrap();
        vm.prepare(program, input, 1_000_000).unwrap();
        let room = vm.state.memory.alloc(ObjectKind::Stack, 4096, Access::ReadWrite).unwrap();
        Rig { vm, prog_type, room, used: 0 }
    }

    fn env(&mut self) -> &mut Env {
        &mut self.vm.state.env
    }

    fn context(&self) -> u64 {
        self.vm.state.run.context.get()
    }

    /// Puts bytes into the program's memory.
    fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.room.plus(self.used);
        self.used += (bytes.len() as u32).next_multiple_of(8);
        self.vm.state.memory.write(at.get(), bytes.len() as u32).unwrap().copy_from_slice(bytes);
        at.get()
    }

    fn get(&self, at: u64, len: u32) -> Vec<u8> {
        self.vm.state.memory.read(at, len).unwrap().to_vec()
    }

    fn packet_now(&self) -> Vec<u8> {
        self.vm.state.run.packet.unwrap().bytes(&self.vm.state.memory).to_vec()
    }

    fn map(&mut self, map_type: MapType, key: u32, value: u32, entries: u32, flags: u32) -> (MapId, u64) {
        let spec = MapSpec { flags, ..MapSpec::new("m", map_type, key, value, entries) };
        let state = &mut self.vm.state;
        let id = state.maps.create(&spec, &mut state.memory, state.env.cpus).unwrap();
        (id, state.maps.handle(id).unwrap().get())
    }

    fn set(&mut self, map: MapId, key: &[u8], value: &[u8]) {
        let state = &mut self.vm.state;
        state.maps.user_update(map, &mut state.memory, key, value, 0).unwrap();
    }

    fn call(&mut self, helper: u32, args: &[u64]) -> Result<u64, FaultKind> {
        self.call_back(helper, args, &mut |_, _, _| Ok(0))
    }

    /// Calls a helper; `function` stands for the program's function that it calls back.
    fn call_back(
        &mut self,
        helper: u32,
        args: &[u64],
        function: &mut crate::vm::state::Invoke<'_>,
    ) -> Result<u64, FaultKind> {
        let mut all = [0; 5];
        all[..args.len()].copy_from_slice(args);
        super::by_id(helper, self.prog_type)?(&mut Call {
            args: all,
            state: &mut self.vm.state,
            invoke: function,
        })
    }

    /// Calls a helper that must not fault.
    fn ok(&mut self, helper: u32, args: &[u64]) -> u64 {
        self.call(helper, args).unwrap_or_else(|fault| panic!("{helper}: {fault}"))
    }

    /// Calls a helper that must fault: the message.
    fn fault(&mut self, helper: u32, args: &[u64]) -> String {
        self.call(helper, args)
            .map(|r0| format!("no fault: {r0:#x}"))
            .unwrap_or_else(|fault| fault.to_string())
    }

    fn kfunc(&mut self, name: &str, args: &[u64]) -> u64 {
        let mut all = [0; 5];
        all[..args.len()].copy_from_slice(args);
        let function = kfuncs::by_name(name).unwrap_or_else(|| panic!("no {name}"));
        function(&mut Call { args: all, state: &mut self.vm.state, invoke: &mut |_, _, _| Ok(0) }).unwrap()
    }
}

#[test]
fn what_is_missing_says_why() {
    let mut xdp = Rig::packet(ProgType::Xdp, &[0; 64]);
    assert_eq!(
        xdp.fault(id::SKB_STORE_BYTES, &[]),
        "bpf_skb_store_bytes() cannot be called here: programs of the kind xdp do not have it"
    );
    assert!(xdp.fault(id::TCP_GEN_SYNCOOKIE, &[]).ends_with("there is no TCP here"));
    assert!(xdp.fault(9999, &[]).ends_with("there is no such helper"));
    let mut any = Rig::new(ProgType::Syscall, Env::default());
    assert!(any.fault(id::SYS_BPF, &[]).ends_with("there is no kernel here to call"));
    assert!(kfuncs::by_name("bpf_ct_lookup").is_none());
}

#[test]
fn every_number_has_a_function_or_a_reason() {
    let have = skep_bpf::helpers::all().iter().filter(|helper| super::table::function(helper.id).is_some());
    assert!(have.count() >= 170);
    for helper in skep_bpf::helpers::all() {
        assert!(!super::table::reason(helper.id).is_empty());
    }
}
