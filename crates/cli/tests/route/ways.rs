//! Ways of packets: gateways, tun devices, conditions, other CPUs.

use super::{ROUTES, good, in_network};

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
