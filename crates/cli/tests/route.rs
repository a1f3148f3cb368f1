//! `skep route` between network namespaces of the test's own: two hosts and a router whose kernel does not forward. Without
//! root, or without `ip`, these tests say so and pass.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at what it does not understand")]

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
unshare -n sleep 60 & A=$!
unshare -n sleep 60 & B=$!
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

/// The part of a host: `serve`, `expire ADDRESS`, `probe ADDRESS…` (three datagrams) or `ask ADDRESS` (datagrams, then a stream). Without a role
/// it is no test.
#[test]
fn host() {
    let Ok(role) = std::env::var(ROLE) else { return };
    match role.split_once(' ') {
        None => serve(),
        Some(("expire", address)) => expire(address.parse().unwrap()),
        Some(("probe", addresses)) => addresses.split(' ').for_each(|a| probe(a.parse().unwrap())),
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

#[test]
fn the_table_is_changed_and_printed() {
    let script = r#"
        $S route up --ports r1,r2
        $S route add 10.1.0.0/16 via 10.0.2.2
        $S route add 10.1.1.0/24 drop
        $S route add 2001:db8:9::/48 via fe80::9 dev r2 weight 2 via 2001:db8:1::9
        $S route replace 10.1.1.0/24 via 10.0.1.9 via 10.0.2.9
        $S route show > /tmp/routes.$$
        cat /tmp/routes.$$
        $S route get 10.1.1.77; $S route get 10.1.2.3; $S route get 9.9.9.9; $S route get 10.0.1.1
        $S route del 10.1.0.0/16; $S route get 10.1.2.3
        echo load; $S route load /tmp/routes.$$; $S route show | diff - /tmp/routes.$$
        printf '10.7.0.0/16 drop\n10.8.0.0/16 via 10.9.9.9\n' > /tmp/routes.$$
        $S route load /tmp/routes.$$ || true; $S route get 10.7.0.1; $S route get 10.1.2.3
        printf '10.7.0.0/16 drop\n\n10.7.0.0/16 pass # twice\n' | $S route load - || true
        printf '10.7.0.0/16 drop\n' | $S route load -; $S route show
        rm /tmp/routes.$$
        $S route add 10.7.0.0/16 pass || true
        $S route del 10.6.0.0/16 || true
        $S route del 10.0.1.1 || true
        $S route add 10.6.0.1/16 drop || true
        $S route add 10.6.0.0/16 dev nothing || true
        $S route up --ports r1 || true
        ip addr add 10.0.3.1/24 dev r2; $S route replace 10.6.0.0/16 drop; $S route get 10.0.3.1
        $S route down
        $S route up --ports r1,nothing || true
        $S route up --ports lo || true
    "#;
    let Some(output) = in_network(true, script) else { return };
    let shown = good(&output);
    for part in [
        "10.1.0.0/16 via 10.0.2.2 dev r2\n10.1.1.0/24 via 10.0.1.9 dev r1 via 10.0.2.9 dev r2\n2001:db8:9::/48 via fe80::9 dev r2 weight 2 via 2001:db8:1::9 dev r1\n",
        "10.1.1.0/24 via 10.0.1.9 dev r1 via 10.0.2.9 dev r2\n10.1.0.0/16 via 10.0.2.2 dev r2\nno route: packets to 9.9.9.9 go to the kernel\n10.0.1.1 local\nno route: packets to 10.1.2.3 go",
        "load\n3 routes\nno route: packets to 10.7.0.1 go to the kernel\n10.1.0.0/16 via",
        ":2: 10.9.9.9 is in no network of this machine's interfaces",
        "stdin:3: 10.7.0.0/16 has a route in line 1 already",
        "1 route\n10.7.0.0/16 drop\n",
        "there is a route to 10.7.0.0/16 already: `replace` changes it",
        "there is no route to 10.6.0.0/16",
        "10.0.1.1 is the machine's own",
        "`10.6.0.0/16` is the block",
        "there is no interface `nothing`",
        "a router runs here already, on r1, r2",
        "10.0.3.1 local\nstopped on r1, r2",
        "lo is no port: it has hardware of kind 772",
    ] {
        assert!(shown.contains(part), "{part}\n---\n{shown}");
    }
}

#[test]
fn a_router_outlives_the_command_and_a_mishap() {
    let script = format!(
        "$S trace -e 'xdp:r2 {{ pass(); }}' > /dev/null & X=$!
        sleep 2
        $S route up --ports r1,r2 --native || true
        $S route show || true
        kill -INT $X; wait $X || true
        timeout -s KILL 1 $S route up --ports r1,r2 || true
        $S route down || true
        $S route up --ports r1,r2
        {ROUTES}
        (i=0; while [ $i -lt 20 ]; do i=$((i+1)); $S route add 10.200.$i.0/24 drop & sleep 0.01; kill -9 $! 2>/dev/null; done) || true
        ROUTE_TEST_ROLE='ask 10.0.2.2' $a $T
        $S route show > /dev/null
        $S route down; kill $P"
    );
    let Some(output) = in_network(true, &script) else { return };
    let shown = good(&output);
    assert!(shown.contains("another XDP program is attached there"), "{shown}");
    assert!(
        shown.contains("no router runs in this network namespace"),
        "nothing half-attached stays: {shown}"
    );
    assert!(shown.contains("10.0.2.2: 20 of 20, stream of 3000000"), "{shown}");
}

#[test]
fn many_routes_are_looked_up_directly() {
    // One route of 32 bits and one of 25 within the hosts' network, so that all arrays are read; then a change of each.
    let script = format!(
        "$S route up --ports r1,r2
        {ROUTES}
        ROUTE_TEST_ROLE='probe 10.0.2.2' $a $T
        $S route show > /tmp/many.$$
        awk 'BEGIN {{ for (i = 0; i < 12000; i++) printf \"10.%d.%d.0/24 drop\\n\", 64 + i / 256, i % 256 }}' >> /tmp/many.$$
        awk 'BEGIN {{ for (i = 0; i < 3000; i++) printf \"%d.%d.9.0/24 drop\\n\", 20 + i / 256, i % 256 }}' >> /tmp/many.$$
        echo '0.0.0.0/0 via 10.0.2.2' >> /tmp/many.$$
        $S route show -a | grep lookup
        $S route load /tmp/many.$$
        $S route show -a | grep lookup
        echo shorter; ROUTE_TEST_ROLE='probe 10.0.2.2 2001:db8:2::2' $a $T
        $S route add 10.0.2.2/32 drop; echo dropped; ROUTE_TEST_ROLE='probe 10.0.2.2' $a $T
        $S route replace 10.0.2.2/32 dev r2; echo again; ROUTE_TEST_ROLE='probe 10.0.2.2' $a $T
        $S route del 10.0.2.2/32; $S route del 10.0.2.0/24; $S route replace 10.0.2.0/25 unreachable
        echo long; ROUTE_TEST_ROLE='probe 10.0.2.2' $a $T
        $S route del 10.0.2.0/25; echo default; ROUTE_TEST_ROLE='probe 10.0.2.2' $a $T
        $S route replace 0.0.0.0/0 drop; echo none; ROUTE_TEST_ROLE='probe 10.0.2.2' $a $T
        $S route replace 10.0.2.0/24 dev r2
        (i=0; while [ $i -lt 20 ]; do i=$((i+1)); $S route replace 10.0.0.0/$((8 + i)) drop & sleep 0.0$i; kill -9 $! 2>/dev/null; done) || true
        $S route replace 10.0.2.2/32 dev r2; $S route replace 10.0.1.2/32 dev r1
        echo killed; ROUTE_TEST_ROLE='probe 10.0.2.2' $a $T
        grep -v 9.0/24 /tmp/many.$$ > /tmp/fewer.$$; $S route load /tmp/fewer.$$; rm /tmp/many.$$ /tmp/fewer.$$
        $S route show -a | grep lookup
        echo fewer; ROUTE_TEST_ROLE='probe 10.0.2.2' $a $T
        $S route down; kill $P"
    );
    let Some(output) = in_network(true, &script) else { return };
    let shown = good(&output);
    let arrays: Vec<&str> = shown.lines().filter(|line| line.starts_with("# lookup")).collect();
    let [small, large, again] = arrays[..] else { panic!("{shown}") };
    assert!(small.starts_with("# lookup: arrays of 6 MiB") && small == again, "{shown}");
    // For all that the batch needs at once.
    assert!(large.starts_with("# lookup: arrays of 10 MiB"), "{shown}");
    let told = |what: &str, line: &str| {
        let behind = shown.split_once(&format!("{what}\n")).map_or("", |s| s.1);
        let found = behind.lines().find(|l| l.starts_with("10.0.2.2:")).unwrap_or("");
        assert!(found.starts_with(line), "{what}: {found}\n{shown}");
    };
    for (what, answers) in [
        ("shorter", 3),
        ("dropped", 0),
        ("again", 3),
        ("long", 0),
        ("default", 3),
        ("none", 0),
        ("killed", 3),
        ("fewer", 3),
    ] {
        told(what, &format!("10.0.2.2: {answers} of 3"));
    }
}

#[test]
fn gateways_stay_known() {
    // The gateway answers nobody before it is asked for; its entry is the kernel's own again when no route leads there.
    let script = "
        $S route up --ports r1,r2
        ip neigh add 10.0.1.9 lladdr 02:00:00:00:00:09 dev r1 nud permanent
        $S route add 10.9.0.0/16 via 10.0.2.2
        $S route add 10.10.0.0/16 via 10.0.1.9 via 10.0.2.2
        sleep 0.3; echo marked; ip -d neigh show dev r2 10.0.2.2; ip -d neigh show dev r1 10.0.1.9
        $S route del 10.9.0.0/16; echo still; ip -d neigh show dev r2 10.0.2.2
        $S route del 10.10.0.0/16; echo free; ip -d neigh show dev r2 10.0.2.2
        $S route add 10.9.0.0/16 via 10.0.2.2; ip -d neigh show dev r2 10.0.2.2
        $S route down; echo down; ip -d neigh show dev r2 10.0.2.2; ip -d neigh show dev r1 10.0.1.9
    ";
    let Some(output) = in_network(true, script) else { return };
    let shown = good(&output);
    let told = |what: &str| {
        let behind = shown.split_once(&format!("{what}\n")).map_or("", |s| s.1);
        behind.lines().next().unwrap_or("").to_owned()
    };
    // Linux 5.16 and iproute2 of the same time know the mark.
    if !told("marked").contains("managed") {
        assert!(told("marked").contains("lladdr"), "it was asked for: {shown}");
        return;
    }
    assert!(told("marked").contains("lladdr") && told("still").contains("managed"), "{shown}");
    assert!(!told("free").contains("managed") && !told("down").contains("managed"), "{shown}");
    assert!(
        shown.matches("02:00:00:00:00:09").count() == 2 && shown.matches("PERMANENT").count() == 2,
        "{shown}"
    );
}

/// Reads what the kernel sends into a tun device and answers each datagram to port 7 with its own bytes.
const TUN: &str = r#"
import fcntl, os, struct, sys
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack("16sH22x", sys.argv[1].encode(), 0x1001))
print("open", flush=True)
while True:
    packet = bytearray(os.read(tun, 4096))
    if packet[0] >> 4 != 4 or packet[9] != 17: continue
    print("ttl", packet[8], flush=True)
    packet[12:16], packet[16:20] = packet[16:20], packet[12:16]
    packet[20:22], packet[22:24] = packet[22:24], packet[20:22]
    packet[26:28] = b"\0\0"
    os.write(tun, packet)
"#;

#[test]
fn a_tun_device_is_a_port() {
    let script = format!(
        "command -v python3 >/dev/null && [ -c /dev/net/tun ] || {{ echo 'no tun'; exit 0; }}
        cat > $D/tun.py <<'PY'\n{TUN}\nPY
        python3 $D/tun.py t0 > $D/tun 2>&1 & U=$!
        for i in $(seq 100); do grep -q open $D/tun && break; sleep 0.05; done
        ip addr add 10.0.7.1/24 dev t0; ip link set t0 up
        $S route up --ports r1,t0
        $S route add 10.0.1.0/24 dev r1
        $S route add 10.7.0.0/16 dev t0
        echo answers; ROUTE_TEST_ROLE='probe 10.7.1.1' $a $T
        $S route show -a; $S route down; tc qdisc show dev t0
        $S route up --ports t0; $S route add 10.7.0.0/16 dev t0; $S route down; tc qdisc show dev t0
        kill $U; cat $D/tun"
    );
    let script = format!("D=$(mktemp -d); trap 'kill $A $B $U 2>/dev/null; rm -rf $D' EXIT; U=\n{script}");
    let Some(output) = in_network(true, &script) else { return };
    let shown = good(&output);
    if shown.contains("no tun") {
        eprintln!("skipped: no python3 or no /dev/net/tun");
        return;
    }
    assert!(shown.contains("t0: TC: its packets have no Ethernet header"), "{shown}");
    assert!(shown.contains("10.7.1.1: 3 of 3") && shown.contains("# port t0: TC: its packets"), "{shown}");
    assert!(shown.contains("stopped on r1, t0\n") && !shown.contains("clsact"), "{shown}");
    assert!(shown.contains("stopped on t0\n"), "{shown}");
    assert!(shown.contains("ttl 63"), "{shown}");
}

#[test]
fn routes_have_conditions_counters_and_cpus() {
    let script = format!(
        "$S route up --ports r1,r2
        {ROUTES}
        probe() {{ echo \"$1\"; ROUTE_TEST_ROLE='probe 10.0.2.2' $a $T; }}
        $S route add 10.0.2.0/24 drop if \"udp dst port 7\"; probe dropped
        $S route get 10.0.2.2
        $S route add 10.0.2.0/24 dev r2 at 1 if udp dst port 7 and src host 10.0.1.2; probe first
        $S route stats | grep -c 'if \"udp dst port 7' || true
        $S route save > /tmp/conditions.$$
        $S route del 10.0.2.0/24; $S route del 10.0.2.0/24 if udp dst port 7 and src host 10.0.1.2; probe deleted
        $S route load /tmp/conditions.$$; $S route save | diff - /tmp/conditions.$$ && probe loaded
        rm /tmp/conditions.$$
        $S route add 10.0.2.0/24 drop if 'udp dst prt 7' || true
        $S route add 10.0.2.0/24 drop if 'udp dst port 7' || true
        $S route del 10.0.2.0/24 if tcp || true
        $S route add 10.3.0.0/16 cpu 4000 || true
        (i=0; while [ $i -lt 8 ]; do i=$((i+1)); $S route replace 10.0.2.0/24 drop if \"udp port $((100 + i))\" & sleep 0.$((i * 3 % 10)); kill -9 $! 2>/dev/null; done) || true
        probe killed
        $S route replace 10.0.2.0/24 dev r2 cpu 0 if 'udp dst port 7 and src host 10.0.1.2'; probe steered
        $S route get 10.0.2.2; $S route stats
        $S route down; kill $P"
    );
    let Some(output) = in_network(true, &script) else { return };
    let shown = good(&output);
    for (what, answers) in
        [("dropped", 0), ("first", 3), ("deleted", 0), ("loaded", 3), ("killed", 3), ("steered", 3)]
    {
        let behind = shown.split_once(&format!("{what}\n")).map_or("", |s| s.1);
        let found = behind.lines().find(|l| l.starts_with("10.0.2.2:")).unwrap_or("");
        assert_eq!(found, format!("10.0.2.2: {answers} of 3"), "{what}: {shown}");
    }
    for part in [
        "10.0.2.0/24 drop if \"udp dst port 7\"\n10.0.2.0/24 dev r2\n",
        "^ `and`, `or` or the end expected",
        "there is a route to 10.0.2.0/24 with that `if` already",
        "there is no route to 10.0.2.0/24 if \"tcp\"",
        "there is no CPU `4000`: this machine has ",
        "warning: packets that come in by r1, r2 stay on the CPU that has them",
        "10.0.2.0/24 dev r2 cpu 0 if \"udp dst port 7 and src host 10.0.1.2\"\n",
    ] {
        assert!(shown.contains(part), "{part}\n---\n{shown}");
    }
    let counted =
        shown.lines().rfind(|l| l.ends_with("cpu 0 if \"udp dst port 7 and src host 10.0.1.2\"")).unwrap();
    assert_eq!(counted.split_whitespace().next(), Some("3"), "{shown}");
}

#[test]
fn a_cpu_goes_on_with_packets() {
    let last = std::thread::available_parallelism().map_or(0, |n| n.get() - 1);
    // XDP sees no checksums that a veth leaves undone.
    let script = format!(
        "command -v ethtool > /dev/null || {{ echo 'skipped: no ethtool'; exit 0; }}
        nsenter -t $A -n ethtool -K h1 tx off gro on > /dev/null; nsenter -t $B -n ethtool -K h2 tx off gro on > /dev/null
        $S route up --ports r1,r2 --native
        {ROUTES}
        $S route replace 10.0.2.0/24 dev r2 cpu {last}
        ROUTE_TEST_ROLE='probe 10.0.2.2' $a taskset -c 0 $T
        $S route stats; $S route show
        $S route replace 10.0.2.0/24 via 10.0.2.2 cpu {last}; $S route replace 10.0.1.0/24 dev r1 cpu 0
        echo again; ROUTE_TEST_ROLE='probe 10.0.2.2' $a taskset -c 0 $T
        $S route stats
        $S route down; kill $P"
    );
    let Some(output) = in_network(true, &script) else { return };
    let shown = good(&output);
    if shown.contains("skipped: no ethtool") {
        eprintln!("skipped: no ethtool");
        return;
    }
    assert!(shown.contains("r1: XDP, then TC") && !shown.contains("warning"), "{shown}");
    assert_eq!(shown.matches("10.0.2.2: 3 of 3").count(), 2, "{shown}");
    for route in
        [format!("10.0.2.0/24 dev r2 cpu {last}"), format!("10.0.2.0/24 via 10.0.2.2 dev r2 cpu {last}")]
    {
        let counted = shown.lines().find(|l| l.ends_with(&route) && !l.starts_with("10.")).unwrap();
        assert_eq!(counted.split_whitespace().next(), Some("3"), "{shown}");
    }
}
