//! Workloads that make system calls or events in their own process.
//!
//! In: the arguments, checked in number. Out: exactly the calls that the table in `mod.rs` says (and those of a process's end).

use std::hint::black_box;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustix::fs::{CWD, Mode, OFlags};

use super::{count, failed, pin};

pub(super) fn getppid(args: &[String]) -> Result<(), String> {
    for _ in 0..count(&args[0])? {
        black_box(rustix::process::getppid());
    }
    Ok(())
}

pub(super) fn each_cpu(args: &[String]) -> Result<(), String> {
    let times = count(&args[0])?;
    for cpu in crate::feature::cpus() {
        pin(cpu)?;
        for _ in 0..times {
            black_box(rustix::process::getppid());
        }
    }
    Ok(())
}

pub(super) fn openat(args: &[String]) -> Result<(), String> {
    for _ in 0..count(&args[1])? {
        let opened = rustix::fs::openat(CWD, args[0].as_str(), OFlags::RDONLY, Mode::empty());
        drop(opened.map_err(failed(&args[0]))?);
    }
    Ok(())
}

pub(super) fn read(args: &[String]) -> Result<(), String> {
    let file =
        rustix::fs::openat(CWD, "/dev/zero", OFlags::RDONLY, Mode::empty()).map_err(failed("/dev/zero"))?;
    let mut buffer = vec![0_u8; count(&args[1])?];
    for _ in 0..count(&args[0])? {
        rustix::io::read(&file, &mut buffer[..]).map_err(failed("read"))?;
    }
    Ok(())
}

pub(super) fn write(args: &[String]) -> Result<(), String> {
    let file =
        rustix::fs::openat(CWD, "/dev/null", OFlags::WRONLY, Mode::empty()).map_err(failed("/dev/null"))?;
    let buffer = vec![b'b'; count(&args[1])?];
    for _ in 0..count(&args[0])? {
        rustix::io::write(&file, &buffer).map_err(failed("write"))?;
    }
    Ok(())
}

pub(super) fn tcp_loopback(args: &[String]) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("loopback: {error}");
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(fail)?;
    let address = listener.local_addr().map_err(fail)?;
    for _ in 0..count(&args[0])? {
        let client = TcpStream::connect(address).map_err(fail)?;
        let (server, _) = listener.accept().map_err(fail)?;
        drop(client);
        drop(server);
    }
    Ok(())
}

/// Two connections to a listener that has room for one: the other's SYN is not answered, and sent again after a second.
pub(super) fn tcp_silent(args: &[String]) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("loopback: {error}");
    let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(fail)?;
    rustix::net::listen(&listener, 0).map_err(failed("listen"))?;
    let address = listener.local_addr().map_err(fail)?;
    let answered = TcpStream::connect(address).map_err(fail)?;
    let time = Duration::from_millis(count(&args[0])? as u64);
    let silent = TcpStream::connect_timeout(&address, time);
    drop(answered);
    match silent {
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Ok(()),
        Err(error) => Err(fail(error)),
        Ok(_) => Err("loopback: the listener answered both".to_owned()),
    }
}

pub(super) fn naps(args: &[String]) -> Result<(), String> {
    let length = Duration::from_millis(count(&args[1])? as u64);
    for _ in 0..count(&args[0])? {
        std::thread::sleep(length);
    }
    Ok(())
}

pub(super) fn spin(args: &[String]) -> Result<(), String> {
    // Time on a CPU, not on the wall: other work on the machine must not make the load smaller.
    let enough = Duration::from_millis(count(&args[0])? as u64);
    let used = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
    };
    let start = used();
    let mut n = 0_u64;
    while used().saturating_sub(start) < enough {
        for _ in 0..10_000 {
            n = black_box(n.wrapping_mul(31).wrapping_add(7));
        }
    }
    Ok(())
}

pub(super) fn faults(args: &[String]) -> Result<(), String> {
    const PAGE: usize = 4096;
    let mut memory = vec![0_u8; count(&args[0])? * PAGE];
    for page in memory.chunks_mut(PAGE) {
        page[0] = 1;
    }
    black_box(&memory);
    Ok(())
}

/// One after another: of programs that meet on one CPU the kernel skips some, which is another test's matter.
pub(super) fn threads(args: &[String]) -> Result<(), String> {
    let work = || black_box(rustix::process::getppid());
    (0..count(&args[0])?)
        .try_for_each(|_| std::thread::spawn(work).join().map(drop).map_err(|_| "a thread failed".to_owned()))
}

pub(super) fn say(args: &[String]) -> Result<(), String> {
    println!("{}", args[0]);
    Ok(())
}
