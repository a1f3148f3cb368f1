//! The files of packets that a script writes (`skboutput`): a program enters with a way to open files, a writer for the
//! session leaves. Each file that the script names is opened at once, so that it is there and readable however many packets come.

use std::collections::HashMap;
use std::io::{self, Write};

use skep_bpf::event::Action;
use skep_bpf::object::Object;
use skep_packet::file::{Packet, PcapWriter};
use skep_runtime::SavePackets;

use crate::Error;

/// Opens a file for writing, empty.
pub type Open<'o> = &'o dyn Fn(&str) -> io::Result<Box<dyn Write>>;

/// `LINKTYPE_RAW`: packets begin with their IP header.
const RAW_IP: u16 = 101;
/// Bytes of the longest packet.
const LONGEST: u32 = 65535;

/// Open files by name.
struct Files(HashMap<String, PcapWriter<Box<dyn Write>>>);

/// The files that the programs of `object` write packets to; `None` if there are none.
pub(crate) fn files(object: &Object, open: Open<'_>) -> Result<Option<Box<dyn SavePackets>>, Error> {
    let mut files = HashMap::new();
    for layout in &object.events {
        let Action::SavePacket { path, .. } = &layout.action else { continue };
        if files.contains_key(path) {
            continue;
        }
        let failed = |e: io::Error| Error::Capture(format!("cannot write packets to {path}: {e}"));
        let writer =
            open(path).and_then(|out| PcapWriter::new(out, RAW_IP, LONGEST, false)).map_err(failed)?;
        files.insert(path.clone(), writer);
    }
    if files.is_empty() {
        return Ok(None);
    }
    let mut files = Files(files);
    files.flush().map_err(|e| Error::Capture(format!("cannot write packets: {e}")))?;
    Ok(Some(Box::new(files)))
}

impl SavePackets for Files {
    fn save(&mut self, path: &str, time: u64, packet: &[u8]) -> io::Result<()> {
        let Some(writer) = self.0.get_mut(path) else { return Err(io::ErrorKind::NotFound.into()) };
        let len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let packet = Packet { interface: 0, time, data: packet, len, direction: None, comment: None };
        writer.write(&packet).map(|_| ())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.values_mut().try_for_each(PcapWriter::flush)
    }
}
