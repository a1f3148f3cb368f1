//! Names of ports, protocols, hosts and networks: a name and a target enter, numbers leave.
//!
//! What the target's files say counts (`/etc/services`, `/etc/protocols`, `/etc/hosts`, `/etc/networks`, `/etc/ethers`);
//! a small table stands in for what they lack. No name is ever looked up on a network.

use skep_bpf::target::{Target, TargetExt};
use std::net::IpAddr;
use std::sync::Arc;

/// A port as a name stands for it: with tcp or udp where it is the port of one of them only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Port {
    /// Number.
    pub number: u32,
    /// Protocol number; `None`: of any.
    pub proto: Option<u8>,
}

/// TCP's and UDP's protocol numbers.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Ports that everybody knows, the same for TCP and UDP unless said.
const SERVICES: &[(&str, u16, &str)] = &[
    ("echo", 7, "tcp udp"),
    ("discard", 9, "tcp udp"),
    ("ftp-data", 20, "tcp"),
    ("ftp", 21, "tcp"),
    ("ssh", 22, "tcp"),
    ("telnet", 23, "tcp"),
    ("smtp", 25, "tcp"),
    ("time", 37, "tcp udp"),
    ("domain", 53, "tcp udp"),
    ("bootps", 67, "udp"),
    ("bootpc", 68, "udp"),
    ("tftp", 69, "udp"),
    ("http", 80, "tcp"),
    ("kerberos", 88, "tcp udp"),
    ("pop3", 110, "tcp"),
    ("sunrpc", 111, "tcp udp"),
    ("ntp", 123, "udp"),
    ("netbios-ns", 137, "udp"),
    ("netbios-dgm", 138, "udp"),
    ("netbios-ssn", 139, "tcp"),
    ("imap2", 143, "tcp"),
    ("snmp", 161, "tcp udp"),
    ("bgp", 179, "tcp"),
    ("ldap", 389, "tcp udp"),
    ("https", 443, "tcp udp"),
    ("microsoft-ds", 445, "tcp udp"),
    ("isakmp", 500, "udp"),
    ("syslog", 514, "udp"),
    ("imaps", 993, "tcp"),
    ("pop3s", 995, "tcp"),
    ("nfs", 2049, "tcp udp"),
    ("mysql", 3306, "tcp"),
    ("postgresql", 5432, "tcp"),
];

const PROTOCOLS: &[(&str, u8)] = &[
    ("ip", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("ipencap", 4),
    ("tcp", 6),
    ("egp", 8),
    ("igp", 9),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("eigrp", 88),
    ("ospf", 89),
    ("ipip", 94),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", 132),
    ("udplite", 136),
];

/// EtherTypes and LLC addresses by the names that libpcap gives them.
const ETHER_PROTOCOLS: &[(&str, u32)] = &[
    ("aarp", 0x80f3),
    ("arp", 0x0806),
    ("atalk", 0x809b),
    ("decnet", 0x6003),
    ("ip", 0x0800),
    ("ip6", 0x86dd),
    ("lat", 0x6004),
    ("loopback", 0x9000),
    ("mopdl", 0x6001),
    ("moprc", 0x6002),
    ("rarp", 0x8035),
    ("sca", 0x6007),
    ("iso", 0xfe),
    ("stp", 0x42),
    ("ipx", 0xe0),
    ("netbeui", 0xf0),
];

/// Looks names up.
pub struct Names<'a> {
    target: &'a dyn Target,
}

impl std::fmt::Debug for Names<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names")
    }
}

impl<'a> Names<'a> {
    /// Names as `target` knows them.
    pub fn new(target: &'a dyn Target) -> Names<'a> {
        Names { target }
    }

    fn file(&self, path: &str) -> Option<Arc<str>> {
        self.target.file(path).ok()
    }

    /// The port that is called `name`.
    pub fn port(&self, name: &str) -> Option<Port> {
        let services = self.file("/etc/services");
        let find = |proto: &str| {
            let told = services.as_deref().and_then(|text| service(text, name, proto));
            let known = |(found, _, protos): &&(&str, u16, &str)| *found == name && protos.contains(proto);
            told.or_else(|| SERVICES.iter().find(known).map(|(_, port, _)| *port)).map(u32::from)
        };
        match (find("tcp"), find("udp")) {
            (Some(tcp), Some(udp)) if tcp == udp => Some(Port { number: tcp, proto: None }),
            (Some(number), _) => Some(Port { number, proto: Some(TCP) }),
            (None, Some(number)) => Some(Port { number, proto: Some(UDP) }),
            (None, None) => None,
        }
    }

    /// The number of an IP protocol.
    pub fn protocol(&self, name: &str) -> Option<u32> {
        let text = self.file("/etc/protocols");
        let told = text.as_deref().and_then(|text| {
            rows(text).find_map(|row| {
                let (first, number) = (row.first()?, row.get(1)?);
                let named = *first == name || row.iter().skip(2).any(|alias| *alias == name);
                named.then(|| number.parse().ok()).flatten()
            })
        });
        told.or_else(|| {
            PROTOCOLS.iter().find(|(found, _)| *found == name).map(|(_, number)| u32::from(*number))
        })
    }

    /// An EtherType, or below 1,536 an LLC address.
    pub fn ether_protocol(&self, name: &str) -> Option<u32> {
        ETHER_PROTOCOLS.iter().find(|(found, _)| *found == name).map(|(_, number)| *number)
    }

    /// The addresses of a host.
    pub fn host(&self, name: &str) -> Vec<IpAddr> {
        let text = self.file("/etc/hosts");
        let mut found: Vec<IpAddr> = Vec::new();
        for row in text.as_deref().into_iter().flat_map(rows) {
            let named = row.iter().skip(1).any(|host| host.eq_ignore_ascii_case(name));
            let address = row.first().filter(|_| named).and_then(|address| address.parse().ok());
            found.extend(address.filter(|address| !found.contains(address)));
        }
        if found.is_empty() && name.eq_ignore_ascii_case("localhost") {
            found.extend(["127.0.0.1".parse::<IpAddr>(), "::1".parse()].into_iter().flatten());
        }
        found
    }

    /// The number of a network without its trailing zero bytes.
    pub fn network(&self, name: &str) -> Option<u32> {
        let text = self.file("/etc/networks")?;
        let row = rows(&text).find(|row| {
            row.len() > 1 && row.iter().enumerate().any(|(i, word)| i != 1 && word.eq_ignore_ascii_case(name))
        })?;
        let mut parts = row[1].split('.').map(str::parse::<u8>);
        let mut number = 0u32;
        let mut count = 0;
        for part in parts.by_ref() {
            number = number.checked_mul(256)?.checked_add(u32::from(part.ok()?))?;
            count += 1;
        }
        (1..=4).contains(&count).then_some(number)
    }

    /// The link-layer address of a host.
    pub fn ether_host(&self, name: &str) -> Option<[u8; 6]> {
        let text = self.file("/etc/ethers")?;
        rows(&text).find(|row| row.get(1) == Some(&name)).and_then(|row| {
            let mut address = [0u8; 6];
            let mut parts = row[0].split(':');
            for byte in &mut address {
                *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
            }
            parts.next().is_none().then_some(address)
        })
    }
}

/// The words of each row, without comments.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or(""))
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
        .filter(|row| !row.is_empty())
}

fn service(text: &str, name: &str, proto: &str) -> Option<u16> {
    rows(text).find_map(|row| {
        let (port, found) = row.get(1)?.split_once('/')?;
        let named = row.iter().enumerate().any(|(i, word)| i != 1 && *word == name);
        (named && found == proto).then(|| port.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_bpf::target::{Answer, Question, TargetError};

    /// A machine that has these files and nothing else.
    struct Files(&'static [(&'static str, &'static str)]);

    impl Target for Files {
        fn ask(&self, question: &Question) -> Result<Answer, TargetError> {
            let Question::File(path) = question else { return Err(TargetError::Unknown("that".into())) };
            let found = self.0.iter().find(|(name, _)| name == path);
            found
                .map(|(_, text)| Answer::Text((*text).into()))
                .ok_or_else(|| TargetError::NotFound(path.clone()))
        }
    }

    #[test]
    fn files_come_before_the_table() {
        let files = Files(&[
            (
                "/etc/services",
                "# x\nhttp 8080/tcp www # web\nboth 7/tcp\nboth 8/udp\nsame 9/tcp\nsame 9/udp\n",
            ),
            ("/etc/protocols", "fancy 99 FANCY\n"),
            ("/etc/hosts", "10.0.0.1 a b\nfe80::1 b\n10.0.0.1 b\n"),
            ("/etc/networks", "lab 10.1\n"),
            ("/etc/ethers", "0:1:2:3:4:5 box\n"),
        ]);
        let names = Names::new(&files);
        assert_eq!(names.port("www"), Some(Port { number: 8080, proto: Some(TCP) }));
        assert_eq!(names.port("both"), Some(Port { number: 7, proto: Some(TCP) }));
        assert_eq!(names.port("same"), Some(Port { number: 9, proto: None }));
        assert_eq!(names.port("ntp"), Some(Port { number: 123, proto: Some(UDP) }));
        assert_eq!(names.port("nothing"), None);
        assert_eq!(names.protocol("FANCY"), Some(99));
        assert_eq!(names.protocol("ospf"), Some(89));
        assert_eq!(names.host("B").len(), 2);
        assert_eq!(names.network("lab"), Some(0x0a01));
        assert_eq!(names.ether_host("box"), Some([0, 1, 2, 3, 4, 5]));
    }

    #[test]
    fn without_files_the_table_knows_the_usual() {
        let names = Names::new(&Files(&[]));
        assert_eq!(names.port("domain"), Some(Port { number: 53, proto: None }));
        assert_eq!(names.host("localhost").len(), 2);
        assert!(names.host("example.org").is_empty());
    }
}
