//! Pages of machine code, and the calls into and out of it. Bytes enter, callable code leaves. Always: a page is never
//! writable and executable together; code is written once, made executable, and never changes again.

use std::ffi::c_void;
use std::ptr::NonNull;

use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use crate::jit::state::{Calls, Site, State, Stop, outcome};

/// Code that can be called.
#[derive(Debug)]
pub(crate) struct Pages {
    start: NonNull<c_void>,
    /// Bytes that are mapped.
    mapped: usize,
    /// Bytes of code.
    length: usize,
}

// SAFETY: the pages are owned, and nobody writes to them.
unsafe impl Send for Pages {}

/// How a call out of compiled code ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Go on with this in r0.
    Continue(u64),
    /// The program faulted.
    Fault,
    /// The function returns this.
    Return(u64),
}

/// The machine as compiled code sees it. What faulted and why stays with the machine.
pub(crate) trait Host {
    /// Checks an access that no window allows, and gives its address on the host.
    fn resolve(&mut self, state: &mut State, at: u64, site: Site) -> Option<NonNull<u8>>;
    /// Calls the helper or kernel function of the instruction `state.called`.
    fn call(&mut self, state: &mut State, arguments: [u64; 5]) -> Outcome;
    /// A legacy packet load of the instruction `state.called`: r6 and the index.
    fn packet(&mut self, state: &mut State, context: u64, index: u64) -> Outcome;
    /// The program stops at an instruction.
    fn stop(&mut self, state: &mut State, insn: u32, why: Stop);
}

/// What compiled code returns: r0, and how it ended.
#[repr(C)]
struct Results {
    value: u64,
    outcome: u64,
}

impl From<Outcome> for Results {
    fn from(ended: Outcome) -> Results {
        let (value, outcome) = match ended {
            Outcome::Continue(value) => (value, outcome::GO_ON),
            Outcome::Fault => (0, outcome::FAULT),
            Outcome::Return(value) => (value, outcome::RETURN),
        };
        Results { value, outcome }
    }
}

impl Calls {
    /// Calls of a machine of this kind; the stub is that of the code that runs.
    pub(crate) fn of<H: Host>() -> Calls {
        Calls {
            resolve: 0,
            resolver: resolve::<H> as *const () as u64,
            helper: call::<H> as *const () as u64,
            packet: packet::<H> as *const () as u64,
            fail: stop::<H> as *const () as u64,
        }
    }
}

type Entry = extern "C" fn(*mut State, u64, u64, u64, u64, u64) -> Results;

impl Pages {
    /// Puts code where it can run.
    pub(crate) fn new(code: &[u8]) -> Result<Pages, Errno> {
        let page = rustix::param::page_size();
        let mapped = code.len().max(1).next_multiple_of(page);
        let (write, execute) =
            (ProtFlags::READ | ProtFlags::WRITE, MprotectFlags::READ | MprotectFlags::EXEC);
        // SAFETY: a new private mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { mmap_anonymous(std::ptr::null_mut(), mapped, write, MapFlags::PRIVATE) }?;
        let start = NonNull::new(start).ok_or(Errno::NOMEM)?;
        let pages = Pages { start, mapped, length: code.len() };
        // SAFETY: the mapping is new, at least as long as the code, and nobody else knows it. Where instruction caches do not
        // see writes, the kernel makes them when a page becomes executable.
        unsafe {
            std::ptr::copy_nonoverlapping(code.as_ptr(), pages.start.as_ptr().cast::<u8>(), code.len());
            mprotect(pages.start.as_ptr(), mapped, execute)?;
        }
        Ok(pages)
    }

    /// Where the code at `offset` lies on the host.
    #[inline]
    pub(crate) fn address(&self, offset: usize) -> u64 {
        debug_assert!(offset < self.length);
        self.start.as_ptr() as u64 + offset as u64
    }

    /// The code.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the pages are readable as long as `self` lives, and never written again.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast::<u8>(), self.length) }
    }

    /// Runs the function at `offset` with r1 to r5; gives r0 unless it faulted.
    ///
    /// The offset is one that the compiler gave for these bytes, `state` shows live memory (its base, windows and frames) and its
    /// table of functions is that of this code, its calls are those of `H`: the compiler's output keeps the promise of every
    /// access on that. What the state said of another machine or other code before is replaced.
    #[inline]
    pub(crate) fn run<H: Host>(
        &self,
        offset: usize,
        state: &mut State,
        host: &mut H,
        r: [u64; 5],
    ) -> Option<u64> {
        (state.host, state.calls.resolve) = (std::ptr::from_mut(host) as u64, self.address(0));
        // SAFETY: `offset` is the start of a function of this signature that the compiler made; the code follows the host's
        // calling convention, and touches what `state` shows.
        let entry = unsafe { std::mem::transmute::<u64, Entry>(self.address(offset)) };
        let results = entry(state, r[0], r[1], r[2], r[3], r[4]);
        (results.outcome & outcome::FAULT == 0).then_some(results.value)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing runs in it or borrows it any more.
        let _ = unsafe { munmap(self.start.as_ptr(), self.mapped) };
    }
}

/// The state and the machine behind it.
///
/// # Safety
/// `state` is what [`Pages::run`] gave to the code that calls: both are borrowed there until the code returns, and only one of
/// the functions below runs at a time.
unsafe fn both<'a, H: Host>(state: *mut State) -> (&'a mut State, &'a mut H) {
    // SAFETY: as above; `run` has put the machine's address there, of this type.
    unsafe {
        let host = (*state).host as *mut H;
        (&mut *state, &mut *host)
    }
}

extern "C" fn resolve<H: Host>(state: *mut State, at: u64, site: u64) {
    // SAFETY: called by the code that `run` runs.
    let (state, host) = unsafe { both::<H>(state) };
    let found = host.resolve(state, at, Site::decode(site));
    state.found = found.map_or(0, |bytes| bytes.as_ptr() as u64);
}

extern "C" fn call<H: Host>(state: *mut State, r1: u64, r2: u64, r3: u64, r4: u64, r5: u64) -> Results {
    // SAFETY: called by the code that `run` runs.
    let (state, host) = unsafe { both::<H>(state) };
    host.call(state, [r1, r2, r3, r4, r5]).into()
}

extern "C" fn packet<H: Host>(state: *mut State, context: u64, index: u64) -> Results {
    // SAFETY: called by the code that `run` runs.
    let (state, host) = unsafe { both::<H>(state) };
    host.packet(state, context, index).into()
}

extern "C" fn stop<H: Host>(state: *mut State, insn: u64, why: u64) {
    // SAFETY: called by the code that `run` runs.
    let (state, host) = unsafe { both::<H>(state) };
    let why = match why {
        0 => Stop::Budget,
        _ => Stop::Depth,
    };
    host.stop(state, insn as u32, why);
}
