//! Inputs of programs: what a run is about enters as an [`Input`], is put into memory as the program's context (and packet), and leaves
//! with what the program made of it.

use skep_bpf::context::{Field, Layout, Role, layout, writable};
use skep_bpf::kinds::ProgType;

use super::memory::Access;
use super::state::State;

/// The input of one run.
#[derive(Clone, PartialEq, Debug)]
pub struct Input {
    /// Bytes of the context. What stands for the packet's place is filled in.
    pub context: Vec<u8>,
    /// Fields of the context, where it is a struct of the kernel's interface.
    pub layout: Option<&'static Layout>,
    /// What the program may do with the context.
    pub access: Access,
    /// The packet.
    pub packet: Option<Vec<u8>>,
    /// Metadata in front of the packet: at most what fits there.
    pub meta: Vec<u8>,
    /// Where the packet's network header starts.
    pub network_offset: u32,
    /// The second argument; real programs have none.
    pub second: u64,
}

/// Bytes of an Ethernet header.
const ETHERNET: u32 = 14;
/// `PACKET_HOST` is 0; EtherType of IPv4, of IPv6.
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];
const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;

/// A field that a context does not have, or a value that it cannot hold.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FieldError {
    /// No such field.
    #[error("`{context}` has no field `{field}`")]
    Unknown {
        /// The context.
        context: &'static str,
        /// The field.
        field: String,
    },
    /// Too large.
    #[error("`{field}` has {bytes} bytes and cannot hold {value:#x}")]
    Range {
        /// The field.
        field: String,
        /// Its bytes.
        bytes: u32,
        /// The value.
        value: u64,
    },
}

impl Input {
    fn plain(context: Vec<u8>, access: Access) -> Input {
        Input { context, layout: None, access, packet: None, meta: Vec::new(), network_offset: 0, second: 0 }
    }

    /// Bytes that a program may read and write.
    pub fn bytes(context: &[u8]) -> Input {
        Input::plain(context.to_vec(), Access::ReadWrite)
    }

    /// A record that a program may read (tracepoints, registers, perf events).
    pub fn record(context: &[u8]) -> Input {
        Input::plain(context.to_vec(), Access::Read)
    }

    /// Arguments of a raw tracepoint or a function.
    pub fn args(args: &[u64]) -> Input {
        Input::record(&args.iter().flat_map(|arg| arg.to_le_bytes()).collect::<Vec<u8>>())
    }

    /// What a perf event's program gets (`struct bpf_perf_event_data`): registers, sample period and address.
    pub fn perf_event(registers: &[u8], sample_period: u64, address: u64) -> Input {
        let mut context = registers.to_vec();
        context.extend(sample_period.to_le_bytes());
        context.extend(address.to_le_bytes());
        Input::record(&context)
    }

    /// The context of a kind of programs, all zero; `None` where it is not a struct of the kernel's interface.
    pub fn fields(prog_type: ProgType) -> Option<Input> {
        let layout = layout(prog_type)?;
        let access = Access::Fields(writable(prog_type));
        Some(Input { layout: Some(layout), ..Input::plain(vec![0; layout.size as usize], access) })
    }

    /// A packet for a kind of programs, with the fields that follow from its bytes; `None` where the kind has none. The bytes
    /// start with an Ethernet header.
    pub fn packet(prog_type: ProgType, packet: &[u8]) -> Option<Input> {
        let mut input = Input::fields(prog_type)?;
        input.layout?.role(Role::Data)?;
        input.replace_packet(prog_type, packet);
        Some(input)
    }

    /// Another packet, with the fields that follow from its bytes; all others stay. It costs no allocation where there has been
    /// a packet as long.
    pub fn replace_packet(&mut self, prog_type: ProgType, packet: &[u8]) {
        self.network_offset = ETHERNET;
        // cgroup programs and tunnels see a packet from its network header on.
        let strips =
            matches!(prog_type, ProgType::CgroupSkb | ProgType::LwtIn | ProgType::LwtOut | ProgType::LwtXmit);
        let start = if strips { packet.len().min(ETHERNET as usize) } else { 0 };
        let bytes = self.packet.get_or_insert_default();
        bytes.clear();
        bytes.extend_from_slice(&packet[start..]);
        self.network_offset -= start as u32;
        if self.layout.is_some_and(|l| l.name == "__sk_buff") {
            self.describe(packet);
        }
    }

    /// Fields of a socket buffer that follow from the packet.
    fn describe(&mut self, packet: &[u8]) {
        let ether = packet.get(12..14).and_then(|b| b.first_chunk::<2>()).copied().unwrap_or_default();
        // Ignoring is right: `__sk_buff` has these fields, and the values fit.
        let _ = self.set("protocol", u16::from_le_bytes(ether).into());
        let _ = self.set("wire_len", packet.len() as u64);
        let family = match ether {
            IPV4 => AF_INET,
            IPV6 => AF_INET6,
            _ => 0,
        };
        let _ = self.set("family", family);
    }

    fn field(&self, name: &str) -> Result<&'static Field, FieldError> {
        let layout = self.layout;
        let context = layout.map_or("context", |layout| layout.name);
        layout
            .and_then(|layout| layout.field(name))
            .ok_or_else(|| FieldError::Unknown { context, field: name.to_owned() })
    }

    /// Sets a field (of an array, its first bytes).
    pub fn set(&mut self, name: &str, value: u64) -> Result<(), FieldError> {
        let field = self.field(name)?;
        let width = field.size.min(8);
        if width < 8 && value >> (width * 8) != 0 {
            return Err(FieldError::Range { field: name.to_owned(), bytes: field.size, value });
        }
        let place = field.offset as usize..(field.offset + width) as usize;
        if let Some(place) = self.context.get_mut(place) {
            place.copy_from_slice(&value.to_le_bytes()[..width as usize]);
        }
        Ok(())
    }

    /// Sets a field's bytes.
    pub fn set_bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), FieldError> {
        let field = self.field(name)?;
        let value = bytes.len() as u64;
        let range = FieldError::Range { field: name.to_owned(), bytes: field.size, value };
        let start = field.offset as usize;
        let fits = bytes.len() <= field.size as usize;
        let place = self.context.get_mut(start..start + bytes.len()).filter(|_| fits);
        place.ok_or(range)?.copy_from_slice(bytes);
        Ok(())
    }
}

/// A field of a context's bytes, as a number; `None` where there is no such field.
pub fn field(layout: &Layout, context: &[u8], name: &str) -> Option<u64> {
    let field = layout.field(name)?;
    let bytes = context.get(field.offset as usize..(field.offset + field.size.min(8)) as usize)?;
    Some(super::interp::number(bytes))
}

impl State {
    /// Makes the context's fields about the packet follow the packet, and lets the program touch all of it.
    pub fn sync_packet(&mut self) {
        let (Some(packet), Some(layout)) = (self.run.packet, self.run.layout) else { return };
        // What was allocated for the packet has room for it.
        let _ = packet.apply(&mut self.memory);
        let Some(context) = self.memory.host_mut(self.run.context, layout.size) else { return };
        for field in layout.fields {
            let value = match field.role {
                Role::Data => packet.data.get(),
                Role::DataEnd => packet.end.get(),
                Role::DataMeta => packet.meta.get(),
                Role::Len => packet.len().into(),
                Role::Scalar | Role::Pointer => continue,
            };
            let place = field.offset as usize..(field.offset + field.size) as usize;
            context[place].copy_from_slice(&value.to_le_bytes()[..field.size as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_follow_from_the_packet() {
        let mut packet = vec![0; 60];
        packet[12..14].copy_from_slice(&IPV6);
        let input = Input::packet(ProgType::SchedCls, &packet).unwrap();
        let get = |name| field(input.layout.unwrap(), &input.context, name).unwrap();
        assert_eq!((get("protocol"), get("family"), get("wire_len")), (0xdd86, AF_INET6, 60));
        let cgroup = Input::packet(ProgType::CgroupSkb, &packet).unwrap();
        assert_eq!((cgroup.packet.unwrap().len(), cgroup.network_offset), (46, 0));
        assert!(Input::packet(ProgType::Tracing, &packet).is_none());
        assert!(Input::packet(ProgType::SkLookup, &packet).is_none());
    }

    #[test]
    fn fields_are_set_by_name() {
        let mut input = Input::fields(ProgType::SkLookup).unwrap();
        input.set("local_port", 443).unwrap();
        input.set_bytes("remote_ip6", &[1; 16]).unwrap();
        assert_eq!(field(input.layout.unwrap(), &input.context, "local_port"), Some(443));
        assert_eq!(
            input.set("remote_port", 1 << 16).unwrap_err().to_string(),
            "`remote_port` has 2 bytes and cannot hold 0x10000"
        );
        assert_eq!(input.set("colour", 1).unwrap_err().to_string(), "`bpf_sk_lookup` has no field `colour`");
        assert!(input.set_bytes("remote_ip4", &[1; 5]).is_err());
    }
}
