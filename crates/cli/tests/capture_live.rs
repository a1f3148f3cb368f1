//! `skep capture` on interfaces, as root, in network namespaces of the test's own; without root these tests say so and pass.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at what it does not understand")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output};

const SKEP: &str = env!("CARGO_BIN_EXE_skep");
/// The environment variable that makes a test the source of traffic.
const TRAFFIC: &str = "SKEP_TEST_TRAFFIC";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder of the test's own.
fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("skep-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// What stands in front of every script: `up` makes the loopback interface and a pair of devices, `begin OPTIONS` starts a
/// capture and waits until it runs, `traffic KIND` makes some, `end` sends SIGINT and waits. Output and error lie in `out`
/// and `err`.
const HEAD: &str = r#"
set -e
cd "$D"
up() { ip link set lo up; ip link add va type veth peer name vb; ip link set va up; ip link set vb up
  ip addr add 10.9.0.1/24 dev va; ip addr add fd09::1/64 dev va nodad; }
trap 'kill $P 2>/dev/null || true' EXIT
P=
begin() { rm -f err; "$S" capture "$@" >out 2>err & P=$!
  for i in $(seq 200); do grep -qs "^capturing on" err && return; kill -0 $P || break; sleep 0.05; done; cat err; exit 9; }
traffic() { SKEP_TEST_TRAFFIC="$*" "$T" --exact traffic --nocapture >/dev/null; }
end() { kill -INT $P; wait $P || echo "exit $?" >>err; }
"#;

/// Runs a script in a network namespace of its own, in a folder of its own. `None` without the rights to.
fn alone(name: &str, script: &str) -> Option<(Output, PathBuf)> {
    let may = Command::new("unshare").args(["-n", "ip", "link", "set", "lo", "up"]).output();
    if !may.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: no rights to make network namespaces");
        return None;
    }
    let folder = folder(name);
    let mut command = Command::new("unshare");
    command.args(["-n", "-m", "bash", "-c", &format!("{HEAD}{script}")]);
    command.env("S", SKEP).env("D", &folder).env("T", std::env::current_exe().unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    Some((output, folder))
}

fn read(folder: &std::path::Path, name: &str) -> String {
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// The four numbers at the end; they add up.
fn counts(err: &str) -> [u64; 4] {
    let number = |what: &str| -> u64 {
        let line = err.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {err}"));
        line.split(' ').next().unwrap().parse().unwrap()
    };
    let all = [number(" matched"), number(" captured"), number(" left"), number(" dropped")];
    assert_eq!(all[0], all[1] + all[2] + all[3], "{err}");
    all
}

/// Packets of a file, by skep itself.
fn packets(folder: &std::path::Path, name: &str, expression: &str) -> u64 {
    let file = folder.join(name);
    let output = Command::new(SKEP)
        .args(["capture", "--count", "-r", file.to_str().unwrap(), expression])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).split(' ').next().unwrap().parse().unwrap()
}

/// Not a test by itself: the source of traffic.
#[test]
fn traffic() {
    let Ok(kind) = std::env::var(TRAFFIC) else { return };
    match kind.split(' ').collect::<Vec<_>>()[..] {
        ["udp", to, count, bytes] => {
            let bind = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(bind).unwrap();
            let payload = vec![b'u'; bytes.parse().unwrap()];
            for _ in 0..count.parse::<u32>().unwrap() {
                // Nobody listens: the kernel's refusal comes back to a later call.
                let _ = socket.send_to(&payload, to);
            }
        }
        // Echo requests by a ping socket.
        ["ping", to, count] => {
            use rustix::net::{AddressFamily, SendFlags, SocketType, ipproto, sendto, socket};
            let socket = socket(AddressFamily::INET, SocketType::DGRAM, Some(ipproto::ICMP)).unwrap();
            let to: std::net::SocketAddrV4 = format!("{to}:0").parse().unwrap();
            for sequence in 0..count.parse().unwrap() {
                let echo = [8, 0, 0, 0, 0, 0, 0, sequence];
                assert_eq!(sendto(&socket, &echo, SendFlags::empty(), &to).unwrap(), 8);
            }
        }
        ["broadcast", to] => {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.set_broadcast(true).unwrap();
            assert_eq!(socket.send_to(b"all", to).unwrap(), 3);
        }
        // Answers so many datagrams.
        ["answer", address, count] => {
            let socket = UdpSocket::bind(address).unwrap();
            println!("listening");
            let mut buffer = [0; 100];
            for _ in 0..count.parse::<u32>().unwrap() {
                let (length, from) = socket.recv_from(&mut buffer).unwrap();
                socket.send_to(&buffer[..length], from).unwrap();
            }
        }
        ["ask", address] => {
            let socket =
                UdpSocket::bind(if address.starts_with('[') { "[::1]:0" } else { "127.0.0.1:0" }).unwrap();
            socket.connect(address).unwrap();
            socket.send(b"question").unwrap();
            assert_eq!(socket.recv(&mut [0; 100]).unwrap(), 8);
        }
        ["http", port] => {
            let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut server, _) = listener.accept().unwrap();
            let mut buffer = [0; 100];
            client.write_all(b"GET /page HTTP/1.1\r\n\r\n").unwrap();
            assert!(server.read(&mut buffer).unwrap() > 0);
            server.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            assert!(client.read(&mut buffer).unwrap() > 0);
        }
        ["listen", port] => {
            let listener = TcpListener::bind(format!("127.0.0.1:{port}")).unwrap();
            println!("listening");
            std::thread::sleep(std::time::Duration::from_secs(60));
            drop(listener);
        }
        ["connect", port] => drop(TcpStream::connect(format!("127.0.0.1:{port}")).unwrap()),
        _ => panic!("{kind}"),
    }
}

#[test]
fn lines_of_one_interface() {
    let script = "up; begin -i lo -t 'tcp port 8081 or udp port 9'; traffic http 8081; traffic udp 127.0.0.1:9 2 5; sleep 0.2; end";
    let Some((_, folder)) = alone("live-lines", script) else { return };
    let (out, err) = (read(&folder, "out"), read(&folder, "err"));
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].contains("> 127.0.0.1.8081: Flags [S]"), "{out}");
    assert_eq!(out.matches("HTTP: GET /page HTTP/1.1").count(), 1, "sent and received is once:\n{out}");
    assert_eq!(out.matches("HTTP: HTTP/1.1 204 No Content").count(), 1, "{out}");
    assert_eq!(lines.iter().filter(|line| line.ends_with("127.0.0.1.9: UDP, length 5")).count(), 2, "{out}");
    assert_eq!(counts(&err), [lines.len() as u64, lines.len() as u64, 0, 0], "{err}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn files_have_interfaces_directions_and_fragments() {
    let script = "up; begin -i va -i lo -w f 'udp'; traffic udp 10.9.0.9:9 1 1; sleep 0.1
        ip neigh replace 10.9.0.9 lladdr 02:00:00:00:00:09 dev va; ip -6 neigh replace fd09::9 lladdr 02:00:00:00:00:09 dev va
        traffic udp 10.9.0.9:9 1 3000; traffic udp [fd09::9]:9 1 20; traffic udp 127.0.0.1:9 4 8; sleep 0.3; end
        \"$S\" capture -r f -t >lines";
    let Some((_, folder)) = alone("live-file", script) else { return };
    let (lines, err) = (read(&folder, "lines"), read(&folder, "err"));
    let count = |what: &str| lines.lines().filter(|line| line.contains(what)).count();
    assert_eq!(count("lo In  IP 127.0.0.1."), 4, "{lines}");
    assert_eq!(count("va Out IP6 fd09::1."), 1, "{lines}");
    assert!(count("va Out IP 10.9.0.1") >= 3, "three fragments: {lines}");
    let [matched, captured, left, dropped] = counts(&err);
    assert_eq!((matched, left, dropped), (captured, 0, 0), "{err}");
    assert_eq!(packets(&folder, "f", ""), captured);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn all_interfaces_and_one_way() {
    let script = "up; ip neigh replace 10.9.0.9 lladdr 02:00:00:00:00:09 dev va
        begin -i any -t 'udp port 9'; traffic udp 10.9.0.9:9 2 5; traffic udp 127.0.0.1:9 1 5; sleep 0.2; end; mv out both
        begin -i any -t -Q in 'udp port 9'; traffic udp 10.9.0.9:9 2 5; sleep 0.2; end; mv out in
        begin -i va -t -Q out 'udp port 9'; traffic udp 10.9.0.9:9 2 5; sleep 0.2; end; mv out way
        begin -i any -t 'udp port 9 and len > 90 and ifindex 1'; traffic udp 127.0.0.1:9 1 5; traffic udp 127.0.0.1:9 1 50; sleep 0.2; end";
    let Some((_, folder)) = alone("live-any", script) else { return };
    let both = read(&folder, "both");
    assert_eq!(both.lines().filter(|line| line.starts_with("va Out IP 10.9.0.1.")).count(), 2, "{both}");
    assert_eq!(both.lines().filter(|line| line.starts_with("vb In  IP 10.9.0.1.")).count(), 2, "{both}");
    assert_eq!(both.lines().filter(|line| line.starts_with("lo ")).count(), 1, "{both}");
    assert_eq!(read(&folder, "in").lines().filter(|line| line.starts_with("vb In ")).count(), 2);
    assert_eq!(read(&folder, "in").lines().count(), 2);
    assert_eq!(read(&folder, "way").lines().count(), 2);
    // What the kernel cannot test without link headers is tested here; what fails is counted.
    assert_eq!(read(&folder, "out").lines().count(), 1, "{}", read(&folder, "out"));
    counts(&read(&folder, "err"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn counts_add_up_after_the_last_packet_and_without_room() {
    let script = "up; begin -i lo -c 3 -w three udp; traffic udp 127.0.0.1:9 50 5; wait $P; cp err err3
        begin -i lo -B 1 -w many 'udp port 9'; kill -STOP $P; traffic udp 127.0.0.1:9 2000 3000; kill -CONT $P; sleep 0.3; end";
    let Some((_, folder)) = alone("live-counts", script) else { return };
    assert_eq!(counts(&read(&folder, "err3"))[1], 3);
    assert_eq!(packets(&folder, "three", ""), 3);
    let [matched, captured, left, dropped] = counts(&read(&folder, "err"));
    assert_eq!((matched, left), (2000, 0));
    assert!(dropped > 0, "{}", read(&folder, "err"));
    assert_eq!(packets(&folder, "many", ""), captured);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_full_disk_and_a_vanished_interface_leave_a_whole_file() {
    let script = "up; mkdir full; mount -t tmpfs -o size=128k none full
        begin -i lo -w full/f 'udp port 9'; traffic udp 127.0.0.1:9 1000 1000; wait $P && exit 7; cp err full.err; cp full/f f; umount full
        begin -i va -w gone 'udp port 9'; ip neigh replace 10.9.0.9 lladdr 02:00:00:00:00:09 dev va
        traffic udp 10.9.0.9:9 7 5; ip link del va; wait $P && exit 8; cp err gone.err";
    let Some((_, folder)) = alone("live-full", script) else { return };
    let err = read(&folder, "full.err");
    let [matched, captured, left, _] = counts(&err);
    assert!(matched > 100 && captured > 50 && left > 0, "{err}");
    assert!(err.contains("No space left on device"), "{err}");
    assert_eq!(packets(&folder, "f", ""), captured);
    let err = read(&folder, "gone.err");
    assert!(err.contains("error: va: the interface went down or is gone"), "{err}");
    assert_eq!((counts(&err)[1], packets(&folder, "gone", "udp port 9")), (7, 7));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn other_namespaces_and_the_list() {
    let script = "up; unshare -n sleep 60 & H=$!; sleep 0.2
        nsenter -t $H -n ip link set lo up; nsenter -t $H -n ip link add inner0 type veth peer name inner1
        \"$S\" capture -D --netns $H >list; begin -i lo --netns $H -t 'udp port 9'
        traffic udp 127.0.0.1:9 3 5; SKEP_TEST_TRAFFIC='udp 127.0.0.1:9 2 6' nsenter -t $H -n \"$T\" --exact traffic; sleep 0.2; end; kill $H
        \"$S\" capture -i nope 2>nope || true; \"$S\" capture --netns nope 2>space || true";
    let Some((_, folder)) = alone("live-netns", script) else { return };
    let list = read(&folder, "list");
    assert!(list.contains(".inner0 [mtu 1500]") && list.contains(".lo [mtu 65536, loopback]"), "{list}");
    let out = read(&folder, "out");
    assert_eq!(out.lines().filter(|line| line.ends_with("length 6")).count(), 2, "{out}");
    assert_eq!(out.lines().count(), 2, "{out}");
    let nope = read(&folder, "nope");
    assert!(nope.contains("there is no interface nope") && nope.contains("va"), "{nope}");
    assert!(read(&folder, "space").contains("network namespace nope"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn packets_have_processes() {
    // One process listens before the capture begins and never accepts; another connects.
    let script = "up; SKEP_TEST_TRAFFIC='listen 8088' \"$T\" --exact traffic --nocapture >ready & L=$!
        until grep -q listening ready; do sleep 0.05; done; echo $L >listener
        begin -i lo --process -t 'tcp port 8088 or tcp port 8089 or icmp'; traffic connect 8088; traffic http 8089; sleep 0.3; end; mv out all
        begin -i lo --comm \"$(basename \"$T\" | cut -c1-15)\" -w mine 'tcp port 8089'; traffic http 8089; sleep 0.3; end; cp err mine.err
        begin -i lo --comm nobody 'tcp port 8089'; traffic http 8089; sleep 0.3; end; kill $L";
    let Some((_, folder)) = alone("live-process", script) else { return };
    let (all, listener) = (read(&folder, "all"), read(&folder, "listener"));
    let opening: Vec<&str> =
        all.lines().filter(|line| line.contains("> 127.0.0.1.8088: Flags [S]")).collect();
    let [opening] = opening[..] else { panic!("{all}") };
    assert!(opening.starts_with("[capture_live-") && opening.contains(" > capture_live-"), "{opening}");
    assert!(opening.contains(&format!(" {}] IP ", listener.trim())), "{opening}, listener {listener}");
    let request = all.lines().find(|line| line.contains("GET /page")).unwrap();
    let ids: Vec<&str> =
        request.split_once(']').unwrap().0.split(' ').filter(|w| w.parse::<u32>().is_ok()).collect();
    assert!(ids.len() == 2 && ids[0] == ids[1], "both ends are of one process: {request}");
    let [matched, captured, ..] = counts(&read(&folder, "mine.err"));
    assert!(matched == captured && captured >= 8, "{matched} {captured}");
    let list = Command::new(SKEP).args(["capture", "-t", "-r"]).arg(folder.join("mine")).output().unwrap();
    assert!(text(&list.stdout).lines().all(|line| line.starts_with("lo In  [process: capture_live-")));
    let [matched, captured, left, _] = counts(&read(&folder, "err"));
    assert_eq!((captured, left), (0, matched));
    assert!(matched >= 8);
    std::fs::remove_dir_all(folder).unwrap();
}

/// The processes that a line begins with: names without what follows, and ids.
fn ends(line: &str) -> Vec<(String, u32)> {
    let inside =
        line.split_once('[').and_then(|(_, rest)| rest.split_once("] IP")).map_or("", |(inside, _)| inside);
    let one = |end: &str| {
        let mut words = end.split(' ');
        Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    inside.split(" > ").filter_map(one).collect()
}

#[test]
fn datagrams_and_ipv6_have_processes_that_may_have_ended() {
    let script = "up; ip addr add fd09::7/128 dev lo nodad
        SKEP_TEST_TRAFFIC='answer [::1]:8091 1' \"$T\" --exact traffic --nocapture >ready6 & A=$!
        until grep -q listening ready6; do sleep 0.05; done
        begin -i lo --process -t 'udp or icmp or tcp'
        traffic ask [::1]:8091; wait $A
        SKEP_TEST_TRAFFIC='answer 127.0.0.1:8092 1' \"$T\" --exact traffic --nocapture >ready4 & B=$!
        until grep -q listening ready4; do sleep 0.05; done; traffic ask 127.0.0.1:8092; wait $B
        traffic http 8093; traffic udp 127.0.0.1:8094 1 5; sleep 0.3; end
        echo $A >pid6; echo $B >pid4";
    let Some((_, folder)) = alone("live-ended", script) else { return };
    let out = read(&folder, "out");
    let pid = |name: &str| read(&folder, name).trim().parse::<u32>().unwrap();
    let line =
        |what: &str| out.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}\n{out}"));
    for (what, server) in [("> ::1.8091: UDP", pid("pid6")), ("> 127.0.0.1.8092: UDP", pid("pid4"))] {
        let ends = ends(line(what));
        assert_eq!(ends.len(), 2, "{}", line(what));
        assert_eq!(ends[1].1, server, "{}", line(what));
        assert_ne!(ends[0].1, server, "{}", line(what));
    }
    let answer = ends(line("IP6 ::1.8091 >"));
    assert_eq!(answer[0].1, pid("pid6"), "{out}");
    // The socket of the connection, which lived for a moment, is known at both ends.
    assert_eq!(ends(line("GET /page")).len(), 2, "{out}");
    assert!(line("ICMP ").starts_with("[?] IP "), "{out}");
    let nobody = line("> 127.0.0.1.8094: UDP");
    assert!(nobody.contains(" > ?] IP ") && ends(nobody).len() == 1, "{nobody}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn echoes_are_of_who_asks_and_what_passes_through_is_of_nobody() {
    // A socket of this machine is bound to the port that a datagram to another one's address has.
    let script = "up; echo '0 2147483647' >/proc/sys/net/ipv4/ping_group_range
        ip neigh replace 10.9.0.9 lladdr 02:00:00:00:00:09 dev va
        SKEP_TEST_TRAFFIC='answer 0.0.0.0:8095 1' \"$T\" --exact traffic --nocapture >ready & A=$!
        until grep -q listening ready; do sleep 0.05; done
        begin -i lo -i vb --process -t 'icmp or udp port 8095'; traffic ping 127.0.0.1 2
        traffic udp 10.9.0.9:8095 2 5; traffic ask 127.0.0.1:8095; wait $A; sleep 0.3; end; echo $A >answering";
    let Some((_, folder)) = alone("live-echo", script) else { return };
    let (out, answering) = (read(&folder, "out"), read(&folder, "answering").trim().parse::<u32>().unwrap());
    let lines = |what: &str| out.lines().filter(|line| line.contains(what)).map(ends).collect::<Vec<_>>();
    let (asked, answered) = (lines("ICMP echo request"), lines("ICMP echo reply"));
    assert_eq!((asked.len(), answered.len()), (2, 2), "{out}");
    for ends in asked.iter().chain(&answered) {
        assert!(ends.len() == 1 && ends[0].0.starts_with("capture_live-"), "{out}");
    }
    let passing = lines("> 10.9.0.9.8095: UDP");
    assert_eq!(passing.len(), 2, "{out}");
    assert!(passing.iter().flatten().all(|end| end.1 != answering), "{answering}: {out}");
    assert_eq!(lines("> 127.0.0.1.8095: UDP")[0][1].1, answering, "{out}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn packets_of_one_process_or_cgroup_alone() {
    let script = "up; SKEP_TEST_TRAFFIC='listen 8086' \"$T\" --exact traffic --nocapture >ready & L=$!
        until grep -q listening ready; do sleep 0.05; done; echo $L >listener
        begin -i lo --pid $L -t tcp; traffic connect 8086; traffic http 8087; sleep 0.3; end; mv out pid; kill $L
        ROOT=$(awk '$3 == \"cgroup2\" {print $2; exit}' /proc/mounts)
        G=$ROOT/skep-test-$$; mkdir \"$G\" 2>/dev/null || { touch none; exit 0; }
        trap 'kill $P 2>/dev/null || true; rmdir \"$G\"' EXIT
        begin -i lo --cgroup \"$G\" -t tcp; (echo $BASHPID >\"$G/cgroup.procs\"; traffic http 8087); traffic http 8085; sleep 0.3; end; mv out group";
    let Some((_, folder)) = alone("live-wanted", script) else { return };
    let (out, listener) = (read(&folder, "pid"), read(&folder, "listener"));
    assert!(out.contains("> 127.0.0.1.8086: Flags [S]"), "{out}");
    for line in out.lines() {
        assert!(
            line.contains(&format!(" {}] IP ", listener.trim()))
                || line.contains(&format!(" {} > ", listener.trim())),
            "{line}"
        );
        assert!(line.contains("127.0.0.1.8086"), "{line}");
    }
    if folder.join("none").exists() {
        eprintln!("skipped: no cgroup can be made");
    } else {
        let out = read(&folder, "group");
        assert!(out.contains("GET /page"), "{out}");
        assert!(
            out.lines().all(|line| line.contains("127.0.0.1.8087") && line.contains(" in skep-test-")),
            "{out}"
        );
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn signals_end_a_capture_with_a_whole_file() {
    let script =
        "up; for signal in INT TERM; do begin -i lo -w $signal 'udp port 9'; traffic udp 127.0.0.1:9 500 900
        kill -$signal $P; wait $P; cp err $signal.err; done";
    let Some((_, folder)) = alone("live-signal", script) else { return };
    for signal in ["INT", "TERM"] {
        assert_eq!(counts(&read(&folder, &format!("{signal}.err"))), [500, 500, 0, 0]);
        assert_eq!(packets(&folder, signal, ""), 500);
        // Large packets are written from where they lie.
        assert_eq!(packets(&folder, signal, "udp[8] = 0x75 and udp[907] = 0x75 and len = 942"), 500);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn broadcasts_are_those_of_the_interfaces_network() {
    let script = "up; ip route add 255.255.255.255 dev va
        ip neigh replace 10.9.0.9 lladdr 02:00:00:00:00:09 dev va
        begin -i va -t 'ip broadcast'; traffic broadcast 10.9.0.255:9; traffic udp 10.9.0.9:9 1 5; sleep 0.2; end; mv out va
        begin -i any -t 'ip broadcast'; traffic broadcast 10.9.0.255:9; traffic broadcast 255.255.255.255:9; sleep 0.2; end";
    let Some((_, folder)) = alone("live-broadcast", script) else { return };
    let out = read(&folder, "va");
    assert_eq!(out.lines().count(), 1, "{out}");
    assert!(out.contains("> 10.9.0.255.9: UDP, length 3"), "{out}");
    // All interfaces together have no network: only the broadcast to all is left.
    let out = read(&folder, "out");
    assert!(out.lines().all(|line| line.contains("> 255.255.255.255.9:")) && !out.is_empty(), "{out}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_table_of_flows_on_a_terminal_and_by_another_order() {
    let script = "up; command -v script >/dev/null || { touch none; exit 0; }
        (script -qec \"timeout -s INT 3 '$S' capture -i lo --top --top-by packets 'udp' 2>err\" tty >/dev/null) & Q=$!
        for i in $(seq 100); do grep -qs '^capturing on' err && break; sleep 0.05; done
        traffic udp 127.0.0.1:9 30 10; traffic udp 127.0.0.1:10 2 1000; wait $Q || true";
    let Some((_, folder)) = alone("live-terminal", script) else { return };
    if folder.join("none").exists() {
        eprintln!("skipped: no program to make a terminal");
    } else {
        let out = read(&folder, "tty");
        let table = out
            .split("\x1b[H\x1b[2J")
            .find(|table| table.contains("127.0.0.1.10"))
            .unwrap_or_else(|| panic!("{out}"));
        let place = |flow: &str| table.find(flow).unwrap_or_else(|| panic!("{flow}: {table}"));
        // 30 small packets before 2 large ones.
        assert!(place("> 127.0.0.1.9\r") < place("> 127.0.0.1.10\r"), "{table}");
        assert!(out.matches("\x1b[H\x1b[2J").count() >= 2, "{out}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn drops_have_a_reason_and_a_place() {
    let script = "up; begin --drops -t 'udp port 9777'; traffic udp 127.0.0.1:9777 2 5; traffic udp 127.0.0.1:9778 1 5; sleep 0.5; end; mv out lines
        begin --drops -c 1 -w file 'udp port 9779'; traffic udp [::1]:9779 1 5; wait $P
        begin --drops -t 'udp port 9780 and len > 1000 and udp[1400] = 0x75'; traffic udp 127.0.0.1:9780 3 1450; traffic udp 127.0.0.1:9780 2 900; traffic udp 127.0.0.1:9778 4000 5; sleep 0.5; end; mv out long; mv err long.err
        \"$S\" capture --drops 'udp port what' 2>wrong || true
        unshare -n sleep 60 & H=$!; sleep 0.2; nsenter -t $H -n ip link set lo up
        begin --drops --netns $H -t 'udp port 9782'; traffic udp 127.0.0.1:9782 2 6
        SKEP_TEST_TRAFFIC='udp 127.0.0.1:9782 3 7' nsenter -t $H -n \"$T\" --exact traffic >/dev/null; sleep 0.5; end; kill $H";
    let Some((_, folder)) = alone("live-drops", script) else { return };
    let lines = read(&folder, "lines");
    assert_eq!(lines.lines().count(), 2, "{lines}");
    for line in lines.lines() {
        assert!(line.starts_with("lo [dropped: NO_SOCKET in ") && line.contains("] IP 127.0.0.1."), "{line}");
        assert!(line.contains("udp") && line.ends_with("127.0.0.1.9777: UDP, length 5"), "{line}");
    }
    let list = Command::new(SKEP).args(["capture", "-t", "-r"]).arg(folder.join("file")).output().unwrap();
    assert!(text(&list.stdout).starts_with("lo [dropped: NO_SOCKET in "), "{}", text(&list.stdout));
    // The filter sees whole packets, in the kernel: none of the others was sent, and none was lost.
    let (long, err) = (read(&folder, "long"), read(&folder, "long.err"));
    assert_eq!(long.lines().filter(|line| line.ends_with("length 1450")).count(), 3, "{long}");
    assert_eq!((counts(&err), long.lines().count()), ([3, 3, 0, 0], 3), "{err}");
    let inside = read(&folder, "out");
    assert_eq!(inside.lines().filter(|line| line.ends_with("9782: UDP, length 7")).count(), 3, "{inside}");
    assert_eq!(inside.lines().count(), 3, "{inside}");
    let wrong = read(&folder, "wrong");
    assert!(wrong.contains("what") && !wrong.contains("drops.bt"), "{wrong}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_table_of_flows() {
    let script = "up; begin -i lo --top --top-rows 1 'udp'; traffic udp 127.0.0.1:9 30 100; traffic udp 127.0.0.1:10 1 5; sleep 1.3; end";
    let Some((_, folder)) = alone("live-top", script) else { return };
    let out = read(&folder, "out");
    let row = out.lines().find(|line| line.contains("> 127.0.0.1.9")).unwrap_or_else(|| panic!("{out}"));
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!((words[0], words[1]), ("4260", "30"), "{row}");
    assert!(words[3].starts_with("capture_live-"), "{row}");
    assert!(!out.contains("127.0.0.1.10"), "one row: {out}");
    assert_eq!(counts(&read(&folder, "err"))[0], 31);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn tunnels_and_what_they_carry() {
    let script = "up; ip neigh replace 10.9.0.9 lladdr 02:00:00:00:00:09 dev va
        ip link add vx type vxlan id 77 remote 10.9.0.9 dstport 4789 dev va 2>/dev/null || { touch none; exit 0; }
        ip addr add 10.8.0.1/24 dev vx; ip link set vx up; ip neigh replace 10.8.0.2 lladdr 02:00:00:00:00:22 dev vx
        begin -i va -i vx -t 'udp port 5555 or (udp port 4789 and udp[8:4] = 0x08000000)'; traffic udp 10.8.0.2:5555 2 5; sleep 0.3; end";
    let Some((_, folder)) = alone("live-tunnel", script) else { return };
    if folder.join("none").exists() {
        eprintln!("skipped: this kernel has no VXLAN devices");
    } else {
        let out = read(&folder, "out");
        let has = |start: &str| {
            let inner =
                |line: &&str| line.starts_with(start) && line.ends_with("> 10.8.0.2.5555: UDP, length 5");
            out.lines().filter(inner).count()
        };
        assert_eq!(has("va Out IP 10.9.0.1."), 2, "{out}");
        assert_eq!(has("vx Out IP 10.8.0.1."), 2, "{out}");
        counts(&read(&folder, "err"));
    }
    std::fs::remove_dir_all(folder).unwrap();
}
