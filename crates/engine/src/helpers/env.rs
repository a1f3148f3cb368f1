//! The world outside of the program, as far as helpers ask for it: clock, CPU, processes, memory of the kernel. All of it is set
//! beforehand: two runs with the same settings see the same.

/// The world.
#[derive(Clone, PartialEq, Debug)]
pub struct Env {
    /// CPUs of the machine.
    pub cpus: u32,
    /// The CPU that programs run on.
    pub cpu: u32,
    /// Nanoseconds since boot.
    pub now: u64,
    /// State of the random numbers.
    pub seed: u64,
}

impl Default for Env {
    fn default() -> Env {
        Env { cpus: 1, cpu: 0, now: 0, seed: 0 }
    }
}

impl Env {
    /// The address of a variable of the kernel; `None` where none is recorded.
    pub fn kernel_symbol(&self, _name: &str) -> Option<u64> {
        None
    }

    /// Memory of the kernel at `at`, as far as it is recorded; what is not reads as zero.
    pub fn kernel_memory(&self, _at: u64, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}
