//! Large scripts take about linear time: the pipeline is run on functions of one and of four times the size, and may take
//! no more than ten times as long for the larger one.

#![allow(clippy::unwrap_used, clippy::panic)]

use skep_compiler::ir::*;
use skep_compiler::pipeline::{PASSES, run_pass};
use std::time::{Duration, Instant};

/// Builds one statement; the number tells them apart.
type Statement = fn(&mut FuncBuilder, usize, &[Slot], Block);

/// `$a = $a + n`, over several variables.
fn assign(b: &mut FuncBuilder, n: usize, slots: &[Slot], _: Block) {
    let addr = b.slot_addr(slots[n % slots.len()]);
    let old = b.load(Type::U64, addr, 0);
    let new = b.add_imm(old, n as i64);
    b.store(8, addr, 0, new);
}

/// `if ($a == n) { return }`, to one exit.
fn exit(b: &mut FuncBuilder, n: usize, slots: &[Slot], out: Block) {
    assign(b, n, slots, out);
    let addr = b.slot_addr(slots[0]);
    let value = b.load(Type::U64, addr, 0);
    let limit = b.u64(n as u64 * 977);
    let rest = b.block(&[]);
    b.branch(Cc::Eq, value, limit, out, rest);
    b.switch_to(rest);
}

/// `if (pid == n) { $a = … } else { $b = … }`.
fn if_else(b: &mut FuncBuilder, n: usize, slots: &[Slot], out: Block) {
    let pid = b.helper(skep_bpf::helpers::id::GET_CURRENT_PID_TGID, &[], Type::U64);
    let limit = b.u64(n as u64 * 31);
    let (then, other, join) = (b.block(&[]), b.block(&[]), b.block(&[]));
    b.branch(Cc::Ult, pid, limit, then, other);
    for (i, block) in [then, other].into_iter().enumerate() {
        b.switch_to(block);
        assign(b, n + i, slots, out);
        b.jump(join, &[]);
    }
    b.switch_to(join);
}

/// Deeper and deeper: `if ($a < n) { … `, all ends at the exit.
fn nest(b: &mut FuncBuilder, n: usize, slots: &[Slot], out: Block) {
    let addr = b.slot_addr(slots[n % slots.len()]);
    let value = b.load(Type::U64, addr, 0);
    let limit = b.u64(n as u64);
    let (inner, leave) = (b.block(&[]), b.block(&[]));
    b.branch(Cc::Ult, value, limit, inner, leave);
    b.switch_to(leave);
    b.jump(out, &[]);
    b.switch_to(inner);
    assign(b, n, slots, out);
}

fn function(statement: Statement, count: usize, variables: usize) -> Module {
    let mut b = FuncBuilder::new("big", FuncKind::Sub, &[Type::U64], Type::U64);
    let slots: Vec<Slot> = (0..variables).map(|i| b.slot(8, 8, &format!("$v{i}"))).collect();
    let out = b.block(&[]);
    for n in 0..count {
        statement(&mut b, n, &slots, out);
    }
    b.jump(out, &[]);
    b.switch_to(out);
    let addr = b.slot_addr(slots[0]);
    let last = b.load(Type::U64, addr, 0);
    b.ret(last);
    Module { funcs: vec![b.finish()], ..Module::default() }
}

/// The pipeline's passes without the checker, in an order like the pipeline's.
fn time(statement: Statement, count: usize, variables: usize) -> Duration {
    let mut module = function(statement, count, variables);
    let start = Instant::now();
    let order = [
        "prune", "promote", "fold", "number", "unify", "thread", "fold", "number", "unbound", "sweep",
        "order",
    ];
    for name in order {
        let at = Instant::now();
        let (_, pass) = PASSES.iter().find(|(n, _)| *n == name).unwrap();
        run_pass(&mut module, *pass);
        if std::env::var_os("SKEP_VERBOSE").is_some() {
            println!("  {name}: {:?}", at.elapsed());
        }
    }
    check(&module).unwrap();
    start.elapsed()
}

#[test]
fn time_is_about_linear() {
    let shapes: [(&str, Statement, usize); 6] = [
        ("assign", assign, 10),
        ("exit", exit, 10),
        ("if else", if_else, 10),
        ("nest", nest, 10),
        ("if else, many variables", if_else, 300),
        ("exit, many variables", exit, 300),
    ];
    for (name, statement, variables) in shapes {
        // A busy machine gets a second and a third try.
        let linear = (0..3).any(|_| {
            let small = time(statement, 2000, variables);
            let large = time(statement, 8000, variables);
            println!("{name}: {small:?} and {large:?}");
            large < small * 10 + Duration::from_millis(50)
        });
        assert!(linear, "{name}: four times the statements take more than ten times as long");
    }
}
