//! Queues and stacks (kernel/bpf/queue_stack_maps.c). They have no keys; values are copied in and out.

use std::collections::VecDeque;

use rustix::io::Errno;
use skep_bpf::kinds::MapType;
use skep_bpf::object::MapSpec;

use super::{Map, update_flag};

/// A queue or a stack.
pub(super) struct Queue {
    spec: MapSpec,
    values: VecDeque<Box<[u8]>>,
}

impl Queue {
    pub(super) fn new(spec: &MapSpec) -> Queue {
        Queue { spec: spec.clone(), values: VecDeque::new() }
    }

    fn is_stack(&self) -> bool {
        self.spec.map_type == MapType::Stack
    }
}

impl Map for Queue {
    fn spec(&self) -> &MapSpec {
        &self.spec
    }

    fn push(&mut self, value: &[u8], flags: u64) -> Result<(), Errno> {
        if flags & update_flag::NOEXIST != 0 || flags > update_flag::EXIST {
            return Err(Errno::INVAL);
        }
        if self.values.len() >= self.spec.max_entries as usize {
            if flags & update_flag::EXIST == 0 {
                return Err(Errno::TOOBIG);
            }
            self.values.pop_front();
        }
        let mut bytes = value.to_vec();
        bytes.resize(self.spec.value_size as usize, 0);
        self.values.push_back(bytes.into());
        Ok(())
    }

    fn peek(&self, _value: &[u8]) -> Result<Vec<u8>, Errno> {
        let value = if self.is_stack() { self.values.back() } else { self.values.front() };
        value.map(|value| value.to_vec()).ok_or(Errno::NOENT)
    }

    fn pop(&mut self) -> Result<Vec<u8>, Errno> {
        let value = if self.is_stack() { self.values.pop_back() } else { self.values.pop_front() };
        value.map(Vec::from).ok_or(Errno::NOENT)
    }

    fn contents(&self) -> Vec<Vec<u8>> {
        let values = self.values.iter().map(|value| value.to_vec());
        if self.is_stack() { values.rev().collect() } else { values.collect() }
    }
}
