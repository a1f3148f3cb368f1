//! Links: which program is attached where, as far as the kernel says it.

use std::os::fd::AsFd;

use rustix::io::Errno;
use skep_bpf::kinds::AttachType;

use super::{Which, ids, open};
use crate::error::Error;
use crate::sys::attr::LinkInfo;
use crate::sys::objects::{self, Kind};

/// A link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkRow {
    /// Id.
    pub id: u32,
    /// Kind, as bpftool calls it.
    pub kind: String,
    /// Id of the program.
    pub program: u32,
    /// Where it is attached: names and values.
    pub place: Vec<(&'static str, String)>,
}

/// Kinds by their numbers (`enum bpf_link_type`, Linux 6.18).
const KINDS: [&str; 15] = [
    "unspec",
    "raw_tracepoint",
    "tracing",
    "cgroup",
    "iter",
    "netns",
    "xdp",
    "perf_event",
    "kprobe_multi",
    "struct_ops",
    "netfilter",
    "tcx",
    "uprobe_multi",
    "netkit",
    "sockmap",
];

/// The u32 at byte `at` behind the common part.
fn word(info: &LinkInfo, at: usize) -> u32 {
    let bytes = info.body.get(at / 8).copied().unwrap_or(0).to_ne_bytes();
    let half = if at.is_multiple_of(8) { [0, 1, 2, 3] } else { [4, 5, 6, 7] };
    u32::from_ne_bytes(half.map(|i: usize| bytes[i]))
}

fn attach_type(number: u32) -> String {
    AttachType::from_number(number).map_or_else(|| number.to_string(), |kind| kind.name().to_owned())
}

fn interface(index: u32) -> String {
    let found = std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten().find(|entry| {
        let text = std::fs::read_to_string(entry.path().join("ifindex")).unwrap_or_default();
        text.trim().parse() == Ok(index)
    });
    found.map_or_else(|| format!("index {index}"), |e| e.file_name().to_string_lossy().into_owned())
}

/// Where a link is (include/uapi/linux/bpf.h, `struct bpf_link_info`).
fn place(kind: &str, info: &LinkInfo, name: String) -> Vec<(&'static str, String)> {
    match kind {
        "raw_tracepoint" => vec![("tracepoint", name)],
        "tracing" => vec![("attach_type", attach_type(word(info, 0)))],
        "cgroup" => {
            let id = info.body[0];
            vec![("cgroup", id.to_string()), ("attach_type", attach_type(word(info, 8)))]
        }
        "netns" => {
            vec![("netns", word(info, 0).to_string()), ("attach_type", attach_type(word(info, 4)))]
        }
        "xdp" => vec![("interface", interface(word(info, 0)))],
        "tcx" | "netkit" => {
            vec![("interface", interface(word(info, 0))), ("attach_type", attach_type(word(info, 4)))]
        }
        "struct_ops" => vec![("map", word(info, 0).to_string())],
        "sockmap" => vec![("map", word(info, 0).to_string()), ("attach_type", attach_type(word(info, 4)))],
        "kprobe_multi" => vec![("functions", word(info, 8).to_string())],
        "perf_event" => {
            let offset = word(info, 20);
            let at = if offset == 0 { name.clone() } else { format!("{name}+{offset:#x}") };
            match word(info, 0) {
                1 => vec![("uprobe", at)],
                2 => vec![("uretprobe", at)],
                3 => vec![("kprobe", at)],
                4 => vec![("kretprobe", at)],
                5 => vec![("tracepoint", name)],
                6 => vec![("event", format!("type {} config {}", word(info, 16), info.body[1]))],
                _ => Vec::new(),
            }
        }
        _ => Vec::new(),
    }
}

fn row(info: &LinkInfo, name: String) -> LinkRow {
    let kind =
        KINDS.get(info.link_type as usize).map_or_else(|| info.link_type.to_string(), |k| (*k).to_owned());
    let place = place(&kind, info, name);
    LinkRow { id: info.id, kind, program: info.prog_id, place }
}

/// All links, by id (5.8).
pub fn links() -> Result<Vec<LinkRow>, Error> {
    let opened = ids(Kind::Link, "links")?.into_iter().filter_map(|id| objects::by_id(Kind::Link, id).ok());
    Ok(opened.filter_map(|fd| objects::link_info(fd.as_fd()).ok()).map(|(i, name)| row(&i, name)).collect())
}

/// Takes a link off its place; whoever holds it keeps an empty link.
pub fn detach(which: &Which) -> Result<(), Error> {
    if let Which::Name(name) = which {
        let why = "links have no names: give an id or the path of a pin".to_owned();
        return Err(Error::Damaged { what: format!("link {name}"), why });
    }
    let fd = open(Kind::Link, "link", which, &|_, _| false)?;
    objects::link_detach(fd.as_fd()).map_err(|errno| match errno {
        Errno::OPNOTSUPP => Error::Unavailable {
            what: format!("detaching link {which}"),
            why: "the kernel takes only cgroup, network and XDP links off; end the program that holds it, or unpin it"
                .into(),
        },
        errno => Error::os(format!("detach link {which}"), errno),
    })
}
