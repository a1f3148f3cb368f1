//! Text: to the trace pipe, into memory, into the output of an iterator.

use rustix::io::Errno;

use super::format::format;
use super::{Answer, Call, failed, refused};
use crate::helpers::env::effects::Effect;
use crate::vm::fault::FaultKind;

/// Longest line of `bpf_trace_printk()` (BPF_TRACE_PRINTK_SIZE), its end included.
const LINE: usize = 1024;
/// Most arguments of a format (MAX_BPRINTF_VARARGS).
const ARGS: usize = 12;
/// Longest format of `bpf_snprintf()` that is looked through for its end.
const FORMAT: u32 = 4096;

fn line(call: &mut Call<'_>, text: Result<Vec<u8>, Errno>) -> u64 {
    match text {
        Ok(mut text) => {
            text.truncate(LINE - 1);
            let printed = String::from_utf8_lossy(&text).into_owned();
            call.state.env.effects.push(Effect::Print(printed));
            text.len() as u64
        }
        Err(errno) => failed(errno),
    }
}

/// Values that lie in memory as u64; EINVAL for a length that is none.
fn values(call: &Call<'_>, name: &'static str, number: u8) -> Result<Result<Vec<u64>, Errno>, FaultKind> {
    let len = call.length(name, number + 1)? as usize;
    if !len.is_multiple_of(8) || len > ARGS * 8 || (len > 0 && call.arg(number) == 0) {
        return Ok(Err(Errno::INVAL));
    }
    let bytes = call.fixed(number, len as u32)?;
    let words = bytes.chunks_exact(8).map(|word| {
        let mut value = [0; 8];
        value.copy_from_slice(word);
        u64::from_ne_bytes(value)
    });
    Ok(Ok(words.collect()))
}

pub(super) fn trace_printk(call: &mut Call<'_>) -> Answer {
    let template = call.sized("trace_printk", 1)?;
    let args = [call.arg(3), call.arg(4), call.arg(5)];
    let text = format(call, &template, &args);
    Ok(line(call, text))
}

pub(super) fn trace_vprintk(call: &mut Call<'_>) -> Answer {
    let template = call.sized("trace_vprintk", 1)?;
    let args = values(call, "trace_vprintk", 3)?;
    let text = args.and_then(|args| format(call, &template, &args));
    Ok(line(call, text))
}

/// A NUL-terminated format in the program's memory.
pub(super) fn template(call: &Call<'_>, number: u8) -> Result<Vec<u8>, FaultKind> {
    let mut text = Vec::new();
    loop {
        let at = call.arg(number).wrapping_add(text.len() as u64);
        let byte = call.state.memory.read(at, 1)?[0];
        text.push(byte);
        if byte == 0 || text.len() >= FORMAT as usize {
            return Ok(text);
        }
    }
}

pub(super) fn snprintf(call: &mut Call<'_>) -> Answer {
    let size = call.length("snprintf", 2)?;
    let size = if call.arg(1) == 0 { 0 } else { size };
    call.writable(1, size)?;
    let template = template(call, 3)?;
    let args = values(call, "snprintf", 4)?;
    let mut text = match args.and_then(|args| format(call, &template, &args)) {
        Ok(text) => text,
        Err(errno) => return Ok(failed(errno)),
    };
    let whole = text.len() as u64 + 1;
    if size > 0 {
        text.truncate(size as usize - 1);
        text.push(0);
        call.put(1, &text)?;
    }
    Ok(whole)
}

pub(super) fn seq_printf(call: &mut Call<'_>) -> Answer {
    let template = call.sized("seq_printf", 2)?;
    let args = values(call, "seq_printf", 4)?;
    Ok(match args.and_then(|args| format(call, &template, &args)) {
        Ok(text) => {
            call.state.env.effects.push(Effect::Sequence(text));
            0
        }
        Err(errno) => failed(errno),
    })
}

pub(super) fn seq_write(call: &mut Call<'_>) -> Answer {
    let bytes = call.sized("seq_write", 2)?;
    call.state.env.effects.push(Effect::Sequence(bytes));
    Ok(0)
}

/// `bpf_snprintf_btf()` and `bpf_seq_printf_btf()` print kernel types, which the machine does not know, unless it was recorded.
pub(super) fn snprintf_btf(call: &mut Call<'_>) -> Answer {
    let size = call.length("snprintf_btf", 2)?;
    call.writable(1, size)?;
    match call.recorded(skep_bpf::helpers::id::SNPRINTF_BTF)? {
        Some(r0) => Ok(r0),
        None => Err(refused(
            "bpf_snprintf_btf()",
            "it prints a type of the kernel; nothing was recorded for this call",
        )),
    }
}
