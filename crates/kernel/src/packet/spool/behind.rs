//! A thread that writes full buffers of a spool in their order, straight to the disk as long as the disk keeps up. When a second
//! buffer waits, the first one goes into the page cache, which is faster than any disk.

use std::io::{self, IoSlice};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::body::{Body, Written};
use super::buffer::Buffer;

/// Most buffers: a disk may take a tenth of a second for one.
const BUFFERS: usize = 16;

/// What is known of buffers that came back.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Bytes that are not in the file.
    pub(super) missing: u64,
    /// Records that are not.
    pub(super) lost: u64,
    /// Why.
    pub(super) failed: Option<io::Error>,
}

/// The thread, and its buffers.
#[derive(Debug)]
pub(super) struct Behind {
    /// `None`: it is to end.
    full: Option<Sender<Buffer>>,
    back: Receiver<(Buffer, Written)>,
    free: Vec<Buffer>,
    /// How many buffers there are, and how many are on their way.
    made: usize,
    away: usize,
    account: Account,
    thread: Option<JoinHandle<()>>,
}

impl Behind {
    pub(super) fn start(body: Arc<Mutex<Body>>) -> io::Result<Behind> {
        let (full, next) = channel();
        let (done, back) = channel();
        let work = move || work(&body, &next, &done);
        let thread = Builder::new().name("skep-write".to_owned()).spawn(work)?;
        let account = Account::default();
        let (free, thread) = (Vec::new(), Some(thread));
        Ok(Behind { full: Some(full), back, free, made: 0, away: 0, account, thread })
    }

    /// An empty buffer; waits for one when there are as many as there may be.
    pub(super) fn buffer(&mut self) -> io::Result<Buffer> {
        while let Ok((buffer, written)) = self.back.try_recv() {
            self.take_back(buffer, written);
        }
        if self.free.is_empty() && self.made >= BUFFERS {
            self.wait_for_one();
        }
        match self.free.pop() {
            Some(buffer) => Ok(buffer),
            None => {
                self.made += 1;
                Buffer::new(0, true)
            }
        }
    }

    /// Sends a buffer on its way.
    pub(super) fn send(&mut self, buffer: Buffer) {
        self.away += 1;
        let sent = self.full.as_ref().map(|full| full.send(buffer));
        // The thread ends when the other end of this is gone.
        debug_assert!(matches!(sent, Some(Ok(()))));
    }

    /// Whether something is on its way.
    pub(super) fn is_busy(&self) -> bool {
        self.away > 0
    }

    /// Waits until all is in the file.
    pub(super) fn wait(&mut self) {
        while self.away > 0 {
            self.wait_for_one();
        }
    }

    /// What became of buffers since the last call.
    pub(super) fn account(&mut self) -> Account {
        std::mem::take(&mut self.account)
    }

    fn wait_for_one(&mut self) {
        match self.back.recv() {
            Ok((buffer, written)) => self.take_back(buffer, written),
            Err(_) => self.away = 0,
        }
    }

    fn take_back(&mut self, buffer: Buffer, written: Written) {
        self.away -= 1;
        self.account.missing += buffer.len() as u64 - written.whole;
        self.account.lost += written.lost;
        if let Err(error) = written.result {
            self.account.failed.get_or_insert(error);
        }
        self.free.push(buffer);
    }
}

fn work(body: &Mutex<Body>, full: &Receiver<Buffer>, done: &Sender<(Buffer, Written)>) {
    let mut next = full.recv().ok();
    while let Some(buffer) = next {
        let waiting = full.try_recv().ok();
        let written = {
            let mut body = body.lock().unwrap_or_else(PoisonError::into_inner);
            match waiting {
                None => body.write_direct(buffer.bytes(), &buffer.ends),
                Some(_) => body.write(&mut [IoSlice::new(buffer.bytes())], &buffer.ends),
            }
        };
        if done.send((buffer, written)).is_err() {
            return;
        }
        next = waiting.or_else(|| full.recv().ok());
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.full = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
