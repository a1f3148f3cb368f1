//! A child that is held at its program's first instruction: its libraries are mapped, so that their tables can be made,
//! and nothing of its own has run. It is traced with ptrace(2) until it is let go, by the thread that began it.

use std::fs;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use super::Child;
use crate::error::Error;
use crate::sys::trace;

/// `AT_ENTRY` (include/uapi/linux/auxvec.h).
const AT_ENTRY: u64 = 9;
/// `int3`.
const BREAKPOINT: u8 = 0xcc;
/// Stops on the way that are not the end of it.
const MOST_STOPS: usize = 1000;

impl Child {
    /// Lets the child become its program and run up to where that begins; [`Child::release`] lets it go on from there.
    pub fn run_to_entry(&mut self) -> Result<(), Error> {
        if cfg!(not(target_arch = "x86_64")) {
            let why = "on this architecture a program is only traced from its start without dw_ustack: start it, and name it with -p";
            return Err(Error::Damaged { what: format!("command {}", self.name), why: why.to_owned() });
        }
        let pid = self.pid.as_raw_nonzero().get();
        let operation = format!("hold {} where it begins", self.name);
        let failed = |errno| Error::os(operation.clone(), errno);
        let no_memory = |e: std::io::Error| Error::io(operation.clone(), &e);
        trace::seize(pid).map_err(failed)?;
        self.release()?;
        self.next_stop(libc::SIGTRAP, libc::PTRACE_EVENT_EXEC)?;
        let entry = entry_point(pid)?;
        let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem"));
        let memory = memory.map_err(no_memory)?;
        let mut code = [0];
        memory.read_exact_at(&mut code, entry).map_err(no_memory)?;
        memory.write_all_at(&[BREAKPOINT], entry).map_err(no_memory)?;
        trace::go_on(pid, 0).map_err(failed)?;
        self.next_stop(libc::SIGTRAP, 0)?;
        memory.write_all_at(&code, entry).map_err(no_memory)?;
        set_program_counter(pid, entry).map_err(failed)?;
        self.held = true;
        Ok(())
    }

    /// Waits for a stop with this signal and event; others are passed on.
    fn next_stop(&mut self, signal: i32, event: i32) -> Result<(), Error> {
        let pid = self.pid.as_raw_nonzero().get();
        let failed = |errno| Error::os(format!("hold {} where it begins", self.name), errno);
        for _ in 0..MOST_STOPS {
            let status = trace::wait(pid).map_err(failed)?;
            match trace::stopped(status) {
                Some(stop) if stop == (signal, event) => return Ok(()),
                Some((other, 0)) => trace::go_on(pid, other).map_err(failed)?,
                Some(_) => trace::go_on(pid, 0).map_err(failed)?,
                None => {
                    self.status = Some(libc::WEXITSTATUS(status));
                    break;
                }
            }
        }
        Err(Error::Damaged {
            what: format!("command {}", self.name),
            why: "it ended before its program began".to_owned(),
        })
    }

    /// Lets a held child go on.
    pub(super) fn let_go(&mut self) -> Result<(), Error> {
        self.held = false;
        let pid = self.pid.as_raw_nonzero().get();
        trace::detach(pid).map_err(|e| Error::os(format!("let {} go on", self.name), e))
    }
}

#[cfg(target_arch = "x86_64")]
fn set_program_counter(pid: i32, address: u64) -> Result<(), rustix::io::Errno> {
    trace::set_program_counter(pid, address)
}

#[cfg(not(target_arch = "x86_64"))]
fn set_program_counter(_: i32, _: u64) -> Result<(), rustix::io::Errno> {
    Err(rustix::io::Errno::NOSYS)
}

/// Where a process's program begins.
fn entry_point(pid: i32) -> Result<u64, Error> {
    let path = format!("/proc/{pid}/auxv");
    let bytes = fs::read(&path).map_err(|e| Error::io(format!("read {path}"), &e))?;
    let word = |b: &[u8]| b.try_into().map_or(0, u64::from_ne_bytes);
    let entry = bytes.chunks_exact(16).find(|pair| word(&pair[..8]) == AT_ENTRY).map(|pair| word(&pair[8..]));
    entry.ok_or_else(|| Error::Damaged {
        what: path,
        why: "it does not say where the program begins".to_owned(),
    })
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_child_is_held_with_its_libraries() {
        let mut child = Child::spawn("/bin/sh -c 'exit 3'").unwrap();
        if child.run_to_entry().is_err_and(|e| e.is_permission()) {
            return;
        }
        let maps = fs::read_to_string(format!("/proc/{}/maps", child.pid())).unwrap();
        assert!(maps.contains("libc"), "{maps}");
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(child.status(), None);
        child.release().unwrap();
        let status = (0..200).find_map(|_| {
            std::thread::sleep(Duration::from_millis(5));
            child.status()
        });
        assert_eq!(status, Some(3));
    }

    #[test]
    fn a_held_child_ends_with_its_value() {
        let mut child = Child::spawn("sleep 60").unwrap();
        let pid = child.pid();
        let held = child.run_to_entry();
        drop(child);
        assert!(held.is_err() || !crate::proc::exists(pid));
    }
}
