//! Maps of every kind, written and read back.

use crate::support::{load, map, object, program, root};
use skep_bpf::backend::{Backend, MapAccess};
use skep_bpf::insn::{Insn, Reg, pseudo, size};
use skep_bpf::kinds::{MapType, ProgType};
use skep_bpf::object::{Attach, MapSpec, Reloc, RelocKind};

#[test]
fn maps_of_all_kinds_read_back() {
    if !root("maps_of_all_kinds_read_back") {
        return;
    }
    let kinds = [MapType::Hash, MapType::PercpuHash, MapType::LruHash, MapType::LruPercpuHash];
    let mut specs: Vec<MapSpec> = kinds.iter().map(|k| map("@h", *k, 12, 20, 10_000)).collect();
    specs.push(map("@a", MapType::Array, 4, 20, 1000));
    specs.push(map("@p", MapType::PercpuArray, 4, 20, 1000));
    let mut loaded = load(&object(specs, Vec::new()));
    let cpus = loaded.possible_cpus();
    for (index, kind) in kinds.into_iter().enumerate() {
        for n in 0..5000u32 {
            let mut key = [0; 12];
            key[..4].copy_from_slice(&n.to_ne_bytes());
            loaded.map_update(index, &key, &[n as u8; 20]).unwrap();
        }
        let entries = loaded.map_entries(index).unwrap();
        assert_eq!(entries.len(), 5000, "{kind:?}");
        let per_cpu = matches!(kind, MapType::PercpuHash | MapType::LruPercpuHash);
        assert_eq!(entries.cpus(), if per_cpu { cpus } else { 1 });
        for entry in entries.iter() {
            let n = entry.key[0];
            assert!(entry.per_cpu().all(|v| v == [n; 20]));
        }
        loaded.map_zero(index).unwrap();
        assert_eq!(loaded.map_entries(index).unwrap().len(), 5000);
        assert!(loaded.map_entries(index).unwrap().iter().all(|e| e.per_cpu().all(|v| v == [0; 20])));
        assert!(loaded.map_delete(index, &[0; 12]).unwrap());
        assert!(!loaded.map_delete(index, &[0; 12]).unwrap());
        assert!(loaded.map_lookup(index, &[0; 12]).unwrap().is_empty());
        loaded.map_clear(index).unwrap();
        assert!(loaded.map_entries(index).unwrap().is_empty());
    }
    for index in [4, 5] {
        loaded.map_update(index, &7u32.to_ne_bytes(), &[9; 20]).unwrap();
        let entries = loaded.map_entries(index).unwrap();
        assert_eq!(entries.len(), 1000);
        assert!(entries.get(7).unwrap().per_cpu().all(|v| v == [9; 20]));
        loaded.map_clear(index).unwrap();
        assert_eq!(loaded.map_lookup(index, &7u32.to_ne_bytes()).unwrap().get(0).unwrap().value(), [0; 20]);
    }
}

#[test]
fn one_crowded_bucket_is_read_whole() {
    if !root("one_crowded_bucket_is_read_whole") {
        return;
    }
    // A value so large that a batch holds few entries.
    let mut loaded = load(&object(vec![map("@big", MapType::Hash, 8, 30_000, 3000)], Vec::new()));
    for n in 0..1000u64 {
        loaded.map_update(0, &n.to_ne_bytes(), &vec![1; 30_000]).unwrap();
    }
    assert_eq!(loaded.map_entries(0).unwrap().len(), 1000);
}

#[test]
fn global_data_is_filled_and_frozen() {
    if !root("global_data_is_filled_and_frozen") {
        return;
    }
    let mut spec = map("data", MapType::Array, 4, 16, 1);
    spec.initial = vec![3; 16];
    spec.frozen = true;
    let value = Insn::ld_imm64(Reg::R1, pseudo::MAP_VALUE, 8 << 32);
    let insns = vec![value[0], value[1], Insn::load(size::B, Reg::R0, Reg::R1, 0), Insn::exit()];
    let relocs = vec![Reloc { insn: 0, kind: RelocKind::MapValue(0) }];
    let mut loaded =
        load(&object(vec![spec], vec![program(ProgType::RawTracepoint, insns, relocs, Attach::Begin)]));
    assert_eq!(loaded.map_entries(0).unwrap().get(0).unwrap().value(), [3; 16]);
    assert!(loaded.map_update(0, &0u32.to_ne_bytes(), &[0; 16]).is_err(), "frozen");
    loaded.run_begin().unwrap();
}

#[test]
fn the_control_map_closes_the_gate() {
    if !root("the_control_map_closes_the_gate") {
        return;
    }
    let mut wanted = object(vec![map("control", MapType::Array, 4, 8, 1)], Vec::new());
    wanted.session.control_map = Some(0);
    let mut loaded = load(&wanted);
    loaded.attach_all().unwrap();
    loaded.detach().unwrap();
    assert_eq!(loaded.map_entries(0).unwrap().get(0).unwrap().value(), [1, 0, 0, 0, 0, 0, 0, 0]);
}
