//! Answers in place of the kernel's, for tests of what follows a refused call.

use std::cell::RefCell;

use rustix::io::Errno;

type Answer = Box<dyn FnMut(u32) -> Option<Result<i32, Errno>>>;

thread_local! {
    static FAKE: RefCell<Option<Answer>> = const { RefCell::new(None) };
}

/// Removes the fake when dropped.
pub(crate) struct Guard;

impl Drop for Guard {
    fn drop(&mut self) {
        FAKE.with(|f| f.borrow_mut().take());
    }
}

/// Answers this thread's bpf(2) calls through `answer` (by command; `None`: ask the kernel) until the guard is gone.
pub(crate) fn install(answer: impl FnMut(u32) -> Option<Result<i32, Errno>> + 'static) -> Guard {
    FAKE.with(|f| *f.borrow_mut() = Some(Box::new(answer)));
    Guard
}

pub(super) fn answer(command: u32) -> Option<Result<i32, Errno>> {
    FAKE.with(|f| f.borrow_mut().as_mut().and_then(|a| a(command)))
}
