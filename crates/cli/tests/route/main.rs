//! `skep route` between network namespaces of the test's own: two hosts and a router whose kernel does not forward. Without
//! root, or without `ip`, these tests say so and pass.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at what it does not understand")]

mod table;
mod ways;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Output};
use std::time::Duration;

const SKEP: &str = env!("CARGO_BIN_EXE_skep");
/// What this program does in a host's namespace when it is started again: see `host`.
const ROLE: &str = "ROUTE_TEST_ROLE";
/// Bytes that cross in a TCP connection.
const STREAM: usize = 3_000_000;

/// The namespaces: `$S` is skep, `$a` and `$b` run a command in the hosts, `$T` plays a role. The router has the addresses
/// 10.0.1.1 and 10.0.2.1, the hosts 10.0.1.2 and 10.0.2.2, and the same below 2001:db8.
const NETWORK: &str = r#"
set -e
unshare -n sleep 120 & A=$!
unshare -n sleep 120 & B=$!
trap "kill $A $B 2>/dev/null" EXIT
a="nsenter -t $A -n"; b="nsenter -t $B -n"
for i in 1 2 3 4 5 6 7 8 9 10; do [ "$(readlink /proc/$B/ns/net)" != "$(readlink /proc/self/ns/net)" ] && break; sleep 0.1; done
sleep 0.1
ip link set lo up
ip link add r1 type veth peer name h1 netns $A
ip link add r2 type veth peer name h2 netns $B
for n in 1 2; do
  ip addr add 10.0.$n.1/24 dev r$n; ip addr add 2001:db8:$n::1/64 dev r$n nodad; ip link set r$n up
done
host() {
  nsenter -t $1 -n ip addr add 10.0.$2.2/24 dev h$2
  nsenter -t $1 -n ip addr add 2001:db8:$2::2/64 dev h$2 nodad
  nsenter -t $1 -n ip link set h$2 up
  nsenter -t $1 -n ip link set lo up
  nsenter -t $1 -n ip route add default via 10.0.$2.1
  nsenter -t $1 -n ip -6 route add default via 2001:db8:$2::1
}
host $A 1; host $B 2
[ "$(cat /proc/sys/net/ipv4/ip_forward)" = 0 ]
"#;

/// Runs a script behind [`NETWORK`], with or without a BPF file system. `None` without the rights to.
fn in_network(bpf: bool, script: &str) -> Option<Output> {
    let probe = "mount -t bpf bpf /sys/fs/bpf && ip link add x type veth peer name y && command -v nsenter";
    let may = Command::new("unshare").args(["-m", "-n", "bash", "-c", probe]).output();
    if !may.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: no rights to make networks and load programs, or no `ip`");
        return None;
    }
    let mount = if bpf { "mount -t bpf bpf /sys/fs/bpf" } else { "mount -t tmpfs none /sys/fs" };
    let me = std::env::current_exe().unwrap();
    let script =
        format!("{mount}\nT=\"{} --exact host --nocapture --quiet\"\n{NETWORK}\n{script}", me.display());
    let mut command = Command::new("unshare");
    command.args(["-m", "-n", "bash", "-c", &script]).env("S", SKEP);
    Some(command.output().unwrap())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a script printed; it must have gone well.
fn good(output: &Output) -> String {
    let shown = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{shown}");
    shown
}

/// The part of a host: `serve`, `expire ADDRESS`, `probe ADDRESS…` (three datagrams), `steady ADDRESS` (datagrams until a file `end` is there) or
/// `ask ADDRESS` (datagrams, then a stream). Without a role it is no test.
#[test]
fn host() {
    let Ok(role) = std::env::var(ROLE) else { return };
    match role.split_once(' ') {
        None => serve(),
        Some(("expire", address)) => expire(address.parse().unwrap()),
        Some(("probe", addresses)) => addresses.split(' ').for_each(|a| probe(a.parse().unwrap())),
        Some(("steady", address)) => steady(address.parse().unwrap()),
        Some((_, address)) => ask(address.parse().unwrap()),
    }
}

fn serve() {
    let datagrams = UdpSocket::bind("[::]:7").unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = datagrams.recv_from(&mut buffer) {
            let _ = datagrams.send_to(&buffer[..length], from);
        }
    });
    let listener = TcpListener::bind("[::]:8").unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let (mut buffer, mut seen) = (vec![0; 1 << 16], 0);
        while seen < STREAM {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => break,
                Ok(length) => seen += length,
            }
        }
        let _ = stream.write_all(seen.to_string().as_bytes());
    }
}

/// Sends datagrams that live for one hop. The standard library sets the hop limit of IPv4 only.
fn expire(address: IpAddr) {
    for _ in 0..5 {
        match address {
            IpAddr::V4(_) => {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.set_ttl(1).unwrap();
                socket.send_to(b"short", (address, 7)).unwrap();
            }
            IpAddr::V6(_) => {
                // Hops of the namespace's own default.
                let limit = "/proc/sys/net/ipv6/conf/h1/hop_limit";
                std::fs::write(limit, "1").unwrap();
                UdpSocket::bind("[::]:0").unwrap().send_to(b"short", (address, 7)).unwrap();
                std::fs::write(limit, "64").unwrap();
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How many datagrams come back.
fn echoes(address: IpAddr, count: u8, patience: Duration) -> u32 {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect((address, 7)).unwrap();
    socket.set_read_timeout(Some(patience)).unwrap();
    let mut answers = 0;
    for n in 0..count {
        let mut buffer = [0; 300];
        // An ICMP error before may end either.
        let heard = socket.send(&[n; 200]).and_then(|_| socket.recv(&mut buffer));
        if heard.is_ok_and(|length| length == 200) && buffer[..200] == [n; 200] {
            answers += 1;
        }
    }
    answers
}

/// A datagram every two milliseconds until a file `end` is there: how many came back, each once.
fn steady(address: IpAddr) {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let receiver = socket.try_clone().unwrap();
    let hear = std::thread::spawn(move || {
        let mut seen = std::collections::HashSet::new();
        let mut buffer = [0; 4];
        while receiver.recv_from(&mut buffer).is_ok_and(|(length, _)| length == 4) {
            assert!(seen.insert(buffer), "one came twice");
        }
        seen.len()
    });
    let mut sent = 0u32;
    while !std::path::Path::new("end").exists() {
        socket.send_to(&sent.to_le_bytes(), (address, 7)).unwrap();
        sent += 1;
        std::thread::sleep(Duration::from_millis(2));
    }
    println!("\nsent {sent}, came back {}", hear.join().unwrap());
}

fn probe(address: IpAddr) {
    let answers = echoes(address, 3, Duration::from_millis(200));
    println!("\n{address}: {answers} of 3");
}

fn ask(address: IpAddr) {
    let answers = echoes(address, 20, Duration::from_millis(500));
    let mut seen = String::new();
    if let Ok(mut stream) = TcpStream::connect_timeout(&SocketAddr::new(address, 8), Duration::from_secs(3)) {
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = stream.write_all(&vec![b'x'; STREAM]).and_then(|()| stream.read_to_string(&mut seen));
    }
    println!("\n{address}: {answers} of 20, stream of {seen}");
}

const ROUTES: &str = "
$S route add 10.0.1.0/24 dev r1
$S route add 10.0.2.0/24 dev r2
$S route add 2001:db8:1::/64 dev r1
$S route add 2001:db8:2::/64 dev r2
ROUTE_TEST_ROLE=serve $b $T & P=$!
sleep 1.5
";

#[test]
fn hosts_reach_each_other_through_a_kernel_that_does_not_forward() {
    let script = format!(
        "ROUTE_TEST_ROLE='ask 10.0.2.2' $a $T
        $S route up --ports r1,r2
        {ROUTES}
        for to in 10.0.2.2 2001:db8:2::2; do ROUTE_TEST_ROLE=\"ask $to\" $a $T; done
        $S route stats; $S route show -a
        $S route down; kill $P
        $S route show && exit 1; ls /sys/fs/bpf"
    );
    let Some(output) = in_network(true, &script) else { return };
    let shown = good(&output);
    assert!(shown.contains("10.0.2.2: 0 of 20, stream of \n"), "not without the router: {shown}");
    assert!(shown.contains("r1: TC: the other end of a veth pair leaves checksums undone"), "{shown}");
    for line in ["10.0.2.2: 20 of 20, stream of 3000000", "2001:db8:2::2: 20 of 20, stream of 3000000"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let counted = shown.lines().find(|l| l.ends_with(" dev r2")).unwrap();
    let packets: u64 = counted.split_whitespace().next().unwrap().parse().unwrap();
    assert!(packets > 42, "{shown}");
    assert!(
        shown.contains("10.0.2.255 local") && shown.contains("# port r2: TC: the other end of a veth pair"),
        "{shown}"
    );
    assert!(shown.contains("no router runs in this network namespace"), "{shown}");
    assert!(!shown.contains("skep-route-"), "pins stay: {shown}");
}

#[test]
fn senders_hear_of_ends_of_life_and_of_long_packets() {
    // The kernel counts only errors whose checksums are right, and a connection across the short link needs them.
    let script = format!(
        "$S route up --ports r1,r2
        {ROUTES}
        ip link set r2 mtu 1400 # the next change brings the next hops up to date
        $S route add 10.8.0.0/16 drop
        for to in 10.0.2.2 2001:db8:2::2; do ROUTE_TEST_ROLE=\"expire $to\" $a $T; ROUTE_TEST_ROLE=\"ask $to\" $a $T; done
        $S route add 10.9.0.0/16 unreachable
        $S route add 2001:db8:9::/48 unreachable
        ROUTE_TEST_ROLE='probe 10.9.1.1 2001:db8:9::1' $a $T
        $a grep ^Icmp: /proc/net/snmp; $a cat /proc/net/snmp6
        $a ip route get 10.0.2.2; $a ip route get 2001:db8:2::2
        $S route down; kill $P"
    );
    let Some(output) = in_network(true, &script) else { return };
    let shown = good(&output);
    let mut icmp = shown.lines().filter(|l| l.starts_with("Icmp: "));
    let (names, values) = (icmp.next().unwrap(), icmp.next().unwrap());
    let counted = |name: &str| {
        let at = names.split(' ').position(|n| n == name).unwrap();
        values.split(' ').nth(at).unwrap().parse::<u64>().unwrap()
    };
    assert!((1..=5).contains(&counted("InTimeExcds")), "{shown}");
    assert_eq!(counted("InCsumErrors"), 0, "{shown}");
    let six = |name: &str| {
        let line = shown.lines().find(|l| l.split_whitespace().next() == Some(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    assert!((1..=5).contains(&six("Icmp6InTimeExcds")), "{shown}");
    assert!(six("Icmp6InPktTooBigs") > 0 && six("Icmp6InCsumErrors") == 0, "{shown}");
    // Three that said there was no way, and at least one that said how long packets may be.
    assert!(counted("InDestUnreachs") > 3 && six("Icmp6InType1") == 3, "{shown}");
    for address in ["10.0.2.2", "2001:db8:2::2"] {
        let line = format!("{address}: 20 of 20, stream of 3000000");
        assert!(shown.contains(&line), "{line}: {shown}");
    }
    assert!(shown.matches("mtu 1400").count() >= 2, "both paths are known to be short: {shown}");
}

#[test]
fn without_a_bpf_file_system_tc_forwards_all() {
    let script = format!(
        "$S route up --ports r1,r2
        {ROUTES}
        ROUTE_TEST_ROLE='ask 10.0.2.2' $a $T
        $S route down; kill $P"
    );
    let Some(output) = in_network(false, &script) else { return };
    let shown = good(&output);
    assert!(shown.contains("warning: neighbours cannot be followed"), "{shown}");
    assert!(shown.contains("10.0.2.2: 20 of 20, stream of 3000000"), "{shown}");
}
