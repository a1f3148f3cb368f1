//! Strings (kernel/bpf/helpers.c, 6.17): they are read as the kernel's memory is, at most a page of each.

use rustix::io::Errno;

use crate::helpers::memory::Space;
use crate::helpers::{Answer, Call, failed};

/// Longest string (XATTR_SIZE_MAX is the kernel's; a string of the machine's objects is shorter).
const LONGEST: u32 = 64 << 10;

/// The string that an argument points to; `most` bytes of it.
fn string(call: &Call<'_>, number: u8, most: u32) -> Result<Vec<u8>, Errno> {
    call.outside_text(Space::Kernel, call.arg(number), most.min(LONGEST))
}

fn whole(call: &Call<'_>, number: u8) -> Result<Vec<u8>, Errno> {
    let text = string(call, number, LONGEST)?;
    if text.len() == LONGEST as usize { Err(Errno::TOOBIG) } else { Ok(text) }
}

fn answer(found: Result<Option<usize>, Errno>) -> Answer {
    Ok(match found {
        Ok(Some(at)) => at as u64,
        Ok(None) => failed(Errno::NOENT),
        Err(errno) => failed(errno),
    })
}

fn compare(call: &Call<'_>, fold: bool) -> Answer {
    let both = whole(call, 1).and_then(|a| Ok((a, whole(call, 2)?)));
    Ok(both.map_or_else(failed, |(mut a, mut b)| {
        if fold {
            a.make_ascii_lowercase();
            b.make_ascii_lowercase();
        }
        (a.cmp(&b) as i64) as u64
    }))
}

pub(super) fn strcmp(call: &mut Call<'_>) -> Answer {
    compare(call, false)
}

pub(super) fn strcasecmp(call: &mut Call<'_>) -> Answer {
    compare(call, true)
}

pub(super) fn strlen(call: &mut Call<'_>) -> Answer {
    answer(whole(call, 1).map(|text| Some(text.len())))
}

pub(super) fn strnlen(call: &mut Call<'_>) -> Answer {
    let most = call.arg32(2);
    answer(string(call, 1, most).map(|text| Some(text.len())))
}

/// The first such byte; the end of the string counts as a NUL.
fn find(text: &[u8], wanted: u8) -> Option<usize> {
    let ended = text.iter().copied().chain([0]);
    ended.into_iter().position(|byte| byte == wanted)
}

pub(super) fn strchr(call: &mut Call<'_>) -> Answer {
    let wanted = call.arg(2) as u8;
    answer(whole(call, 1).map(|text| find(&text, wanted)))
}

pub(super) fn strnchr(call: &mut Call<'_>) -> Answer {
    let (most, wanted) = (call.arg32(2), call.arg(3) as u8);
    answer(string(call, 1, most).map(|text| find(&text, wanted).filter(|at| *at < most as usize)))
}

pub(super) fn strchrnul(call: &mut Call<'_>) -> Answer {
    let wanted = call.arg(2) as u8;
    answer(whole(call, 1).map(|text| Some(find(&text, wanted).unwrap_or(text.len()))))
}

pub(super) fn strrchr(call: &mut Call<'_>) -> Answer {
    let wanted = call.arg(2) as u8;
    answer(whole(call, 1).map(|text| match wanted {
        0 => Some(text.len()),
        _ => text.iter().rposition(|byte| *byte == wanted),
    }))
}

fn span(call: &Call<'_>, among: bool) -> Answer {
    let both = whole(call, 1).and_then(|a| Ok((a, whole(call, 2)?)));
    answer(both.map(|(text, set)| Some(text.iter().take_while(|byte| set.contains(byte) == among).count())))
}

pub(super) fn strspn(call: &mut Call<'_>) -> Answer {
    span(call, true)
}

pub(super) fn strcspn(call: &mut Call<'_>) -> Answer {
    span(call, false)
}

fn within(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() { Some(0) } else { text.windows(part.len()).position(|window| window == part) }
}

pub(super) fn strstr(call: &mut Call<'_>) -> Answer {
    let both = whole(call, 1).and_then(|a| Ok((a, whole(call, 2)?)));
    answer(both.map(|(text, part)| within(&text, &part)))
}

pub(super) fn strnstr(call: &mut Call<'_>) -> Answer {
    let most = call.arg32(3);
    let both = string(call, 1, most).and_then(|a| Ok((a, whole(call, 2)?)));
    answer(both.map(|(text, part)| within(&text, &part)))
}

/// `BPF_F_PAD_ZEROS`.
const PAD: u64 = 1;

pub(super) fn copy_from_user_str(call: &mut Call<'_>) -> Answer {
    let size = call.length("copy_from_user_str", 2)?;
    call.writable(1, size)?;
    let flags = call.arg(4);
    if flags & !PAD != 0 {
        return Ok(failed(Errno::INVAL));
    }
    if size == 0 {
        return Ok(0);
    }
    match call.outside_text(Space::User, call.arg(3), size - 1) {
        Ok(mut text) => {
            text.push(0);
            let len = text.len() as u64;
            if flags & PAD != 0 {
                text.resize(size as usize, 0);
            }
            call.put(1, &text)?;
            Ok(len)
        }
        Err(errno) => {
            call.put(1, &vec![0; size as usize])?;
            Ok(failed(errno))
        }
    }
}
