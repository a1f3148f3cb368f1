//! Contexts of programs whose context is a struct of the kernel's interface: fields, and which of them a program may write
//! (include/uapi/linux/bpf.h and the `*_is_valid_access` functions of net/core/filter.c, kernel/bpf/cgroup.c, Linux 6.18).

use crate::kinds::ProgType;

/// A context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Name of the struct.
    pub name: &'static str,
    /// Bytes.
    pub size: u32,
    /// Fields, ascending; padding is left out.
    pub fields: &'static [Field],
}

/// A field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Name.
    pub name: &'static str,
    /// Bytes from the start.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// What it stands for.
    pub role: Role,
}

/// What a field stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// A number, or an array of them.
    Scalar,
    /// Address of the packet's first byte.
    Data,
    /// Address behind its last.
    DataEnd,
    /// Address of the metadata in front.
    DataMeta,
    /// Bytes of the packet.
    Len,
    /// Pointer to another object of the kernel, or null.
    Pointer,
}

impl Layout {
    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The field with this role.
    pub fn role(&self, role: Role) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.role == role)
    }
}

/// The context of a kind of programs; `None` where it is not one of these structs.
pub fn layout(prog_type: ProgType) -> Option<&'static Layout> {
    use ProgType::*;
    Some(match prog_type {
        SocketFilter | SchedCls | SchedAct | CgroupSkb | LwtIn | LwtOut | LwtXmit | LwtSeg6local | SkSkb
        | FlowDissector => &SK_BUFF,
        Xdp => &XDP_MD,
        CgroupSockAddr => &SOCK_ADDR,
        SockOps => &SOCK_OPS,
        SkMsg => &SK_MSG,
        SkLookup => &SK_LOOKUP,
        CgroupSock => &SOCK,
        SkReuseport => &SK_REUSEPORT,
        CgroupSysctl => &SYSCTL,
        CgroupSockopt => &SOCKOPT,
        CgroupDevice => &DEVICE,
        _ => return None,
    })
}

/// What programs of a kind may write: ranges of bytes, start and end.
pub fn writable(prog_type: ProgType) -> &'static [(u16, u16)] {
    use ProgType::*;
    match prog_type {
        // cb
        SocketFilter => &[(48, 68)],
        // mark, queue_mapping, priority, tc_index and cb, tc_classid, tstamp
        SchedCls | SchedAct => &[(8, 16), (32, 36), (44, 68), (72, 76), (152, 160)],
        // mark, priority, cb, tstamp
        CgroupSkb => &[(8, 12), (32, 36), (48, 68), (152, 160)],
        // mark, priority, cb
        LwtIn | LwtOut | LwtXmit | LwtSeg6local => &[(8, 12), (32, 36), (48, 68)],
        // priority, tc_index
        SkSkb => &[(32, 36), (44, 48)],
        // user_ip4 to user_port, msg_src_ip4 and msg_src_ip6
        CgroupSockAddr => &[(4, 28), (40, 60)],
        // reply, sk_txhash
        SockOps => &[(4, 8), (164, 168)],
        // bound_dev_if, mark, priority
        CgroupSock => &[(0, 4), (16, 24)],
        // file_pos
        CgroupSysctl => &[(4, 8)],
        // level to retval
        CgroupSockopt => &[(24, 40)],
        _ => &[],
    }
}

macro_rules! layouts {
    ($($(#[$doc:meta])* $static:ident $name:literal $size:literal {
        $($field:ident $offset:literal $bytes:literal $role:ident)*
    })*) => {
        $($(#[$doc])* pub static $static: Layout = Layout {
            name: $name,
            size: $size,
            fields: &[$(Field {
                name: stringify!($field), offset: $offset, size: $bytes, role: Role::$role,
            }),*],
        };)*

        /// All of them.
        pub static ALL: &[&Layout] = &[$(&$static),*];
    };
}

layouts! {
    /// Packets of the network stack.
    SK_BUFF "__sk_buff" 192 {
        len 0 4 Len
        pkt_type 4 4 Scalar
        mark 8 4 Scalar
        queue_mapping 12 4 Scalar
        protocol 16 4 Scalar
        vlan_present 20 4 Scalar
        vlan_tci 24 4 Scalar
        vlan_proto 28 4 Scalar
        priority 32 4 Scalar
        ingress_ifindex 36 4 Scalar
        ifindex 40 4 Scalar
        tc_index 44 4 Scalar
        cb 48 20 Scalar
        hash 68 4 Scalar
        tc_classid 72 4 Scalar
        data 76 4 Data
        data_end 80 4 DataEnd
        napi_id 84 4 Scalar
        family 88 4 Scalar
        remote_ip4 92 4 Scalar
        local_ip4 96 4 Scalar
        remote_ip6 100 16 Scalar
        local_ip6 116 16 Scalar
        remote_port 132 4 Scalar
        local_port 136 4 Scalar
        data_meta 140 4 DataMeta
        flow_keys 144 8 Pointer
        tstamp 152 8 Scalar
        wire_len 160 4 Scalar
        gso_segs 164 4 Scalar
        sk 168 8 Pointer
        gso_size 176 4 Scalar
        tstamp_type 180 1 Scalar
        hwtstamp 184 8 Scalar
    }
    /// Packets before the network stack.
    XDP_MD "xdp_md" 24 {
        data 0 4 Data
        data_end 4 4 DataEnd
        data_meta 8 4 DataMeta
        ingress_ifindex 12 4 Scalar
        rx_queue_index 16 4 Scalar
        egress_ifindex 20 4 Scalar
    }
    /// Addresses of bind, connect, sendmsg and their like.
    SOCK_ADDR "bpf_sock_addr" 72 {
        user_family 0 4 Scalar
        user_ip4 4 4 Scalar
        user_ip6 8 16 Scalar
        user_port 24 4 Scalar
        family 28 4 Scalar
        type 32 4 Scalar
        protocol 36 4 Scalar
        msg_src_ip4 40 4 Scalar
        msg_src_ip6 44 16 Scalar
        sk 64 8 Pointer
    }
    /// Events of TCP connections.
    SOCK_OPS "bpf_sock_ops" 224 {
        op 0 4 Scalar
        args 4 16 Scalar
        family 20 4 Scalar
        remote_ip4 24 4 Scalar
        local_ip4 28 4 Scalar
        remote_ip6 32 16 Scalar
        local_ip6 48 16 Scalar
        remote_port 64 4 Scalar
        local_port 68 4 Scalar
        is_fullsock 72 4 Scalar
        snd_cwnd 76 4 Scalar
        srtt_us 80 4 Scalar
        bpf_sock_ops_cb_flags 84 4 Scalar
        state 88 4 Scalar
        rtt_min 92 4 Scalar
        snd_ssthresh 96 4 Scalar
        rcv_nxt 100 4 Scalar
        snd_nxt 104 4 Scalar
        snd_una 108 4 Scalar
        mss_cache 112 4 Scalar
        ecn_flags 116 4 Scalar
        rate_delivered 120 4 Scalar
        rate_interval_us 124 4 Scalar
        packets_out 128 4 Scalar
        retrans_out 132 4 Scalar
        total_retrans 136 4 Scalar
        segs_in 140 4 Scalar
        data_segs_in 144 4 Scalar
        segs_out 148 4 Scalar
        data_segs_out 152 4 Scalar
        lost_out 156 4 Scalar
        sacked_out 160 4 Scalar
        sk_txhash 164 4 Scalar
        bytes_received 168 8 Scalar
        bytes_acked 176 8 Scalar
        sk 184 8 Pointer
        skb_data 192 8 Data
        skb_data_end 200 8 DataEnd
        skb_len 208 4 Len
        skb_tcp_flags 212 4 Scalar
        skb_hwtstamp 216 8 Scalar
    }
    /// Messages that sockets of a sockmap send.
    SK_MSG "sk_msg_md" 80 {
        data 0 8 Data
        data_end 8 8 DataEnd
        family 16 4 Scalar
        remote_ip4 20 4 Scalar
        local_ip4 24 4 Scalar
        remote_ip6 28 16 Scalar
        local_ip6 44 16 Scalar
        remote_port 60 4 Scalar
        local_port 64 4 Scalar
        size 68 4 Len
        sk 72 8 Pointer
    }
    /// Lookups of a listening socket.
    SK_LOOKUP "bpf_sk_lookup" 72 {
        cookie 0 8 Scalar
        family 8 4 Scalar
        protocol 12 4 Scalar
        remote_ip4 16 4 Scalar
        remote_ip6 20 16 Scalar
        remote_port 36 2 Scalar
        local_ip4 40 4 Scalar
        local_ip6 44 16 Scalar
        local_port 60 4 Scalar
        ingress_ifindex 64 4 Scalar
    }
    /// Sockets.
    SOCK "bpf_sock" 80 {
        bound_dev_if 0 4 Scalar
        family 4 4 Scalar
        type 8 4 Scalar
        protocol 12 4 Scalar
        mark 16 4 Scalar
        priority 20 4 Scalar
        src_ip4 24 4 Scalar
        src_ip6 28 16 Scalar
        src_port 44 4 Scalar
        dst_port 48 2 Scalar
        dst_ip4 52 4 Scalar
        dst_ip6 56 16 Scalar
        state 72 4 Scalar
        rx_queue_mapping 76 4 Scalar
    }
    /// Choice of a socket of a reuseport group.
    SK_REUSEPORT "sk_reuseport_md" 56 {
        data 0 8 Data
        data_end 8 8 DataEnd
        len 16 4 Len
        eth_protocol 20 4 Scalar
        ip_protocol 24 4 Scalar
        bind_inany 28 4 Scalar
        hash 32 4 Scalar
        sk 40 8 Pointer
        migrating_sk 48 8 Pointer
    }
    /// Reads and writes of a sysctl.
    SYSCTL "bpf_sysctl" 8 {
        write 0 4 Scalar
        file_pos 4 4 Scalar
    }
    /// getsockopt and setsockopt.
    SOCKOPT "bpf_sockopt" 40 {
        sk 0 8 Pointer
        optval 8 8 Data
        optval_end 16 8 DataEnd
        level 24 4 Scalar
        optname 28 4 Scalar
        optlen 32 4 Scalar
        retval 36 4 Scalar
    }
    /// Use of a device.
    DEVICE "bpf_cgroup_dev_ctx" 12 {
        access_type 0 4 Scalar
        major 4 4 Scalar
        minor 8 4 Scalar
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::{Btf, NameKind};

    #[test]
    fn layouts_are_the_running_kernels() {
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            eprintln!("skipped: no /sys/kernel/btf/vmlinux");
            return;
        };
        let btf = Btf::parse(bytes, None).unwrap();
        for layout in ALL {
            let id = btf.find(NameKind::Struct, layout.name).unwrap_or_else(|| panic!("{}", layout.name));
            assert_eq!(btf.size_of(id), Some(layout.size), "{}", layout.name);
            for field in layout.fields {
                let found = btf.find_member(id, field.name).unwrap_or_else(|| panic!("{}", field.name));
                let size = btf.size_of(found.ty);
                let place = (found.byte_offset(), size);
                assert_eq!(place, (field.offset.into(), Some(field.size)), "{}.{}", layout.name, field.name);
            }
        }
    }

    #[test]
    fn what_may_be_written_are_whole_fields() {
        for number in 1..=32 {
            let Some(kind) = ProgType::from_number(number) else { continue };
            for &(start, end) in writable(kind) {
                let layout = layout(kind).unwrap();
                let starts = layout.fields.iter().any(|f| f.offset == start.into());
                // `reply` is the first of the four arguments.
                let ends =
                    (start, end) == (4, 8) || layout.fields.iter().any(|f| f.offset + f.size == end.into());
                assert!(starts && ends && start < end, "{kind:?} {start} {end}");
            }
        }
    }
}
