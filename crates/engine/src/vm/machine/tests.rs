use super::*;
use crate::vm::fault::FaultKind;
use skep_bpf::asm;
use skep_bpf::kinds::MapType;
use skep_bpf::object::MapSpec;

fn run_as(prog_type: ProgType, text: &str, input: &Input) -> Result<Outcome, RunError> {
    let mut vm = Vm::new(Env::default()).unwrap();
    let program = vm.load_raw("test", prog_type, &asm::parse(text).unwrap(), &[]).unwrap();
    vm.run(program, input, Options { budget: 10_000, ..Options::default() })
}

fn run(text: &str) -> Result<Outcome, RunError> {
    run_as(ProgType::SocketFilter, text, &Input::bytes(&[]))
}

fn fault(result: Result<Outcome, RunError>) -> Fault {
    match result {
        Err(RunError::Fault(fault)) => *fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_packet_is_what_lies_between_data_and_data_end() {
    let text = "r2 = *(u32 *)(r1 +0)\nr3 = *(u32 *)(r1 +4)\nr4 = r2\nr4 += 14\nr0 = 1\nif r4 > r3 goto out\nr0 = *(u8 *)(r2 +13)\n*(u8 *)(r2 +0) = 9\nout: exit";
    let text = text.replace("*(u8 *)(r2 +0) = 9", "r5 = 9\n*(u8 *)(r2 +0) = r5");
    let packet: Vec<u8> = (0..14).collect();
    let done = run_as(ProgType::Xdp, &text, &Input::packet(ProgType::Xdp, &packet).unwrap()).unwrap();
    assert_eq!((done.result, done.instructions), (13, 10));
    assert_eq!(done.packet.unwrap()[..2], [9, 1]);
    let done = run_as(ProgType::Xdp, &text, &Input::packet(ProgType::Xdp, &packet[..13]).unwrap()).unwrap();
    assert_eq!(done.result, 1);
}

#[test]
fn a_fault_says_where_what_and_by_how_much() {
    let text = "r2 = *(u32 *)(r1 +0)\nr0 = *(u16 *)(r2 +13)\nexit";
    let input = Input::packet(ProgType::Xdp, &[0; 14]).unwrap();
    let text = fault(run_as(ProgType::Xdp, text, &input)).to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("cannot read 2 bytes at 0x"), "{text}");
    assert!(lines[0].contains("starts at byte 13 of the packet (14 bytes at 0x"), "{text}");
    assert!(lines[0].ends_with("and ends 1 behind it"), "{text}");
    assert_eq!(lines[1], "  in test, instruction 1: r0 = *(u16 *)(r2 +13)");
    assert!(lines[2].starts_with("  r0=0x0 r1=0x"), "{text}");
    assert_eq!(lines[3], "  compare with data_end before the bytes are used");
}

#[test]
fn read_only_fields_refuse_writes() {
    for (prog_type, offset, allowed) in [
        (ProgType::SchedCls, 8, true),
        (ProgType::SchedCls, 48, true),
        (ProgType::SchedCls, 4, false),
        (ProgType::SocketFilter, 8, false),
        (ProgType::SocketFilter, 64, true),
        (ProgType::CgroupSkb, 76, false),
    ] {
        let text = format!("r2 = 7\n*(u32 *)(r1 +{offset}) = r2\nr0 = 0\nexit");
        let result = run_as(prog_type, &text, &Input::packet(prog_type, &[0; 60]).unwrap());
        assert_eq!(result.is_ok(), allowed, "{prog_type:?} {offset}");
        if let Ok(done) = result {
            assert_eq!(done.context[offset], 7);
        }
    }
    let text = "r2 = 7\n*(u64 *)(r1 +0) = r2\nexit";
    let found = fault(run_as(ProgType::RawTracepoint, text, &Input::args(&[1, 2]))).to_string();
    assert!(found.contains("the context (16 bytes at"), "{found}");
}

#[test]
fn the_budget_ends_a_loop() {
    let found = fault(run("r0 = 0\nagain: r0 += 1\ngoto again\nexit"));
    assert_eq!(found.kind, FaultKind::Budget { limit: 10_000 });
    assert_eq!((found.place.insn, found.registers[0]), (1, Some(4998)));
}

#[test]
fn frames_are_apart_and_at_most_eight() {
    // Each function writes the last and the first bytes of its frame, then calls the next.
    let body = |next: &str| {
        format!(
            "r1 = 5\n*(u64 *)(r10 -512) = r1\n*(u64 *)(r10 -8) = r1\n{next}\nr0 = *(u64 *)(r10 -512)\nexit\n"
        )
    };
    let chain = |n: usize| -> String {
        (0..n)
            .map(|i| {
                format!("f{i}: {}", body(&if i + 1 < n { format!("call f{}", i + 1) } else { String::new() }))
            })
            .collect()
    };
    assert_eq!(run(&chain(8)).unwrap().result, 5);
    assert_eq!(fault(run(&chain(9))).kind, FaultKind::Depth { limit: 8 });
    let found = fault(run("r1 = 5\n*(u64 *)(r10 -516) = r1\nr0 = 0\nexit"));
    assert!(found.to_string().contains("4 bytes before the stack frame"), "{found}");
    let found = fault(run("r0 = *(u64 *)(r10 -4)\nexit"));
    assert!(found.to_string().contains("starts at byte 508 of the stack frame (512 bytes"), "{found}");
    assert_eq!(found.kind.mend(), Some("a frame is the 512 bytes below r10"));
}

#[test]
fn a_run_starts_anew() {
    let mut vm = Vm::new(Env::default()).unwrap();
    let text = "call f\nexit\nf: r0 = *(u64 *)(r10 -8)\nr1 = 3\n*(u64 *)(r10 -8) = r1\nexit";
    let program = vm.load_raw("test", ProgType::SocketFilter, &asm::parse(text).unwrap(), &[]).unwrap();
    for _ in 0..3 {
        assert_eq!(vm.run(program, &Input::bytes(&[]), Options::default()).unwrap().result, 0);
    }
}

#[test]
fn bounded_loops_end() {
    let text = "r0 = 0\nagain: may_goto out\nr0 += 1\ngoto again\nout: exit";
    let mut vm = Vm::new(Env::default()).unwrap();
    let program = vm.load_raw("test", ProgType::Xdp, &asm::parse(text).unwrap(), &[]).unwrap();
    assert_eq!(vm.run(program, &Input::bytes(&[]), Options::default()).unwrap().result, 8 << 20);
}

#[test]
fn large_inputs_and_small_ones_in_turn() {
    let mut vm = Vm::new(Env::default()).unwrap();
    let text = "r2 = *(u32 *)(r1 +76)\nr0 = *(u32 *)(r1 +80)\nr0 -= r2\nexit";
    let program = vm.load_raw("test", ProgType::SchedCls, &asm::parse(text).unwrap(), &[]).unwrap();
    for len in [60, 100_000, 14, 0, 5000] {
        let input = Input::packet(ProgType::SchedCls, &vec![1; len]).unwrap();
        assert_eq!(vm.run(program, &input, Options::default()).unwrap().result, len as u64);
    }
    let big = Input::bytes(&vec![7; 20_000]);
    let read =
        vm.load_raw("read", ProgType::Syscall, &asm::parse("r0 = *(u8 *)(r1 +19999)\nexit").unwrap(), &[]);
    assert_eq!(vm.run(read.unwrap(), &big, Options::default()).unwrap().result, 7);
    assert!(vm.run(ProgId(9), &big, Options::default()).is_err());
}

#[test]
fn legacy_packet_loads() {
    let packet: Vec<u8> = (0..40).collect();
    let run = |text: &str| {
        let input = Input::packet(ProgType::SocketFilter, &packet).unwrap();
        run_as(ProgType::SocketFilter, text, &input).unwrap().result
    };
    assert_eq!(run("r6 = r1\nr0 = *(u16 *)skb[12]\nexit"), 0x0c0d);
    assert_eq!(run("r6 = r1\nr7 = 20\nr0 = *(u32 *)skb[r7 +1]\nexit"), 0x1516_1718);
    assert_eq!(run("r6 = r1\nr0 = *(u8 *)skb[-1048575]\nexit"), 15, "from the network header on");
    // Behind the end the program ends with 0.
    assert_eq!(run("r6 = r1\nr0 = *(u32 *)skb[37]\nr0 = 5\nexit"), 0);
    let found = fault(run_as(ProgType::Xdp, "r6 = 1\nr0 = *(u8 *)skb[0]\nexit", &Input::bytes(&[])));
    assert!(
        found.to_string().starts_with("a packet load: argument 6 (r6) is 0x1, not the context"),
        "{found}"
    );
}

#[test]
fn memory_of_the_kernel_reads_as_zero_for_programs_that_trace() {
    let text = "r1 = 0xffff888000001000 ll\nr0 = *(u64 *)(r1 +8)\nexit";
    assert_eq!(run_as(ProgType::Tracing, text, &Input::args(&[])).unwrap().result, 0);
    let found = fault(run_as(ProgType::CgroupSkb, text, &Input::args(&[]))).to_string();
    assert!(found.contains("at 0xffff888000001008: this is no address of the machine"), "{found}");
    let null = "r1 = 0\nr0 = *(u64 *)(r1 +16)\nexit";
    assert_eq!(run_as(ProgType::Tracing, null, &Input::args(&[])).unwrap().result, 0);
    let found = fault(run_as(ProgType::Xdp, null, &Input::args(&[]))).to_string();
    assert!(found.contains("this is a null pointer plus 16"), "{found}");
    // Nothing is written there.
    assert!(run_as(ProgType::Tracing, "r1 = 0\n*(u64 *)(r1 +16) = r1\nexit", &Input::args(&[])).is_err());
}

#[test]
fn an_observer_sees_every_instruction() {
    #[derive(Default)]
    struct Steps(Vec<(u32, u64, u32)>);
    impl Observe for Steps {
        fn step(&mut self, step: &crate::vm::trace::Step<'_>) {
            self.0.push((step.insn, step.registers[0], step.depth));
        }
    }
    let mut vm = Vm::new(Env::default()).unwrap();
    let text = "r1 = 7 ll\ncall f\nexit\nf: r0 = r1\nexit";
    let program = vm.load_raw("test", ProgType::Xdp, &asm::parse(text).unwrap(), &[]).unwrap();
    let mut steps = Steps::default();
    let input = Input::bytes(&[]);
    vm.observed(program, &input, Options::default(), Some(&mut steps)).unwrap();
    assert_eq!(steps.0, [(0, 0, 1), (2, 0, 1), (4, 0, 2), (5, 7, 2), (3, 7, 1)]);
    let mut profile = crate::vm::trace::Profile::default();
    for _ in 0..3 {
        vm.observed(program, &input, Options::default(), Some(&mut profile)).unwrap();
    }
    assert_eq!(profile.programs["test"], [3, 0, 3, 3, 3, 3]);
}

#[test]
fn timers_fire_when_the_clock_comes_to_their_time() {
    // A value: 16 bytes of timer, then a counter. The callback counts and starts itself again, 10 ns later.
    let text = "
        *(u32 *)(r10 -4) = 1
        r1 = map[fd:0]
        r2 = r10
        r2 += -4
        call bpf_map_lookup_elem
        if r0 == 0 goto out
        r6 = r0
        r1 = r6
        r2 = map[fd:0]
        r3 = 1
        call bpf_timer_init
        r1 = r6
        r2 = subprog[tick]
        call bpf_timer_set_callback
        r1 = r6
        r2 = 10
        r3 = 0
        call bpf_timer_start
        out: r0 = 0
        exit
        tick: r6 = r3
        r1 = *(u64 *)(r6 +16)
        r2 = *(u32 *)(r2 +0)
        r1 += r2
        *(u64 *)(r6 +16) = r1
        r1 = r6
        r2 = 10
        r3 = 0
        call bpf_timer_start
        r0 = 0
        exit";
    let mut vm = Vm::new(Env::default()).unwrap();
    let spec = MapSpec::new("m", MapType::Array, 4, 24, 2);
    let state = &mut vm.state;
    let map = state.maps.create(&spec, &mut state.memory, 1).unwrap();
    let program = vm.load_raw("test", ProgType::SocketFilter, &asm::parse(text).unwrap(), &[map]).unwrap();
    let options = Options { budget: 10_000, ..Options::default() };
    assert_eq!(vm.run(program, &Input::bytes(&[]), options).unwrap().result, 0);
    assert_eq!(vm.advance(9, options).unwrap(), 0);
    assert_eq!(vm.advance(35, options).unwrap(), 3);
    assert_eq!(vm.state.env.now, 35);
    let value = vm.state.maps.user_lookup(map, &vm.state.memory, &1u32.to_ne_bytes()).unwrap();
    assert_eq!(value[16..], 3u64.to_ne_bytes());
    let error = vm.advance(u64::MAX, options).unwrap_err();
    assert!(error.to_string().contains("budget"), "one that never ends does not hang the machine: {error}");
}

#[test]
fn a_runner_gives_what_single_runs_give() {
    // The packet's bytes summed up, counted on the stack; a packet that begins with 0xff is read behind its end.
    let text = "
        r2 = *(u32 *)(r1 +0)
        r3 = *(u32 *)(r1 +4)
        r0 = 0
        *(u8 *)(r10 -1) = 1
        r5 = *(u16 *)(r10 -2)
        again: if r2 >= r3 goto out
        r4 = *(u8 *)(r2 +0)
        r0 += r4
        r2 += 1
        r5 += 1
        goto again
        out: if r4 == 0xff goto beyond
        r0 <<= 8
        r0 |= r5
        *(u16 *)(r10 -2) = r5
        exit
        beyond: r0 = *(u8 *)(r3 +0)
        exit";
    let packets: [&[u8]; 6] = [&[1, 2, 3], &[9; 700], &[5, 0xff], &[], &[7; 5000], &[1, 2, 3]];
    for engine in [Engine::Interpreter, Engine::Jit { blind: None }, Engine::Jit { blind: Some(3) }] {
        let options = Options { engine, budget: 100_000 };
        let insns = asm::parse(text).unwrap();
        let mut single = Vm::new(Env::default()).unwrap();
        let mut many = Vm::new(Env::default()).unwrap();
        let program = single.load_raw("test", ProgType::Xdp, &insns, &[]).unwrap();
        assert_eq!(many.load_raw("test", ProgType::Xdp, &insns, &[]).unwrap(), program);
        let mut input = Input::packet(ProgType::Xdp, &[]).unwrap();
        let mut runner = many.runner(program, &input, options).unwrap();
        for (at, packet) in packets.iter().enumerate() {
            input.replace_packet(ProgType::Xdp, packet);
            assert_eq!(Some(&input), Input::packet(ProgType::Xdp, packet).as_ref());
            runner.put(&input).unwrap();
            let outcome = single.run(program, &input, options);
            match runner.run() {
                Ok(result) => {
                    let outcome = outcome.unwrap();
                    assert_eq!((result, &runner.state().run), (outcome.result, &outcome.run), "{at}");
                    assert!(at != 2);
                }
                Err(fault) => {
                    assert!(at == 2 && fault.agrees(outcome.unwrap_err().fault().unwrap()), "{at}: {fault}")
                }
            }
        }
        // Without another input memory is as the last run left it.
        assert_eq!([(); 2].map(|()| runner.run().unwrap() & 0xff), [6, 9]);
    }
}
