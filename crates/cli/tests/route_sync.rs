//! `skep route sync` and changes that are cut short, in network namespaces of the test's own. Without root, or without `ip`, these
//! tests say so and pass.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop at what it does not understand")]

use std::process::{Command, Output};

const SKEP: &str = env!("CARGO_BIN_EXE_skep");

/// A router with two ports, r1 and r2, whose other ends are in the same namespace. `$S` is skep, `$D` a folder for files, `await`
/// waits until the route of an address ends as said, `follow` starts to follow the kernel's table.
const ROUTER: &str = r#"
set -e
D=$(mktemp -d)
Y=
trap '[ -z "$Y" ] || kill $Y 2>/dev/null; $S route down >/dev/null 2>&1 || true; rm -rf $D' EXIT
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
for n in 1 2; do
  ip link add r$n type veth peer name h$n
  ip addr add 10.0.$n.1/24 dev r$n; ip addr add 2001:db8:$n::1/64 dev r$n nodad
  ip link set r$n up; ip link set h$n up
done
$S route up --ports r1,r2
await() {
  for i in $(seq 200); do
    seen=$($S route get $1)
    case "$seen" in *$2) echo "$1: $2"; return 0;; esac
    sleep 0.02
  done
  echo "$1 was never $2 but $seen"; $S route show; exit 1
}
follow() {
  : > $D/log
  $S route sync -v "$@" >> $D/log 2>&1 & Y=$!
  for i in $(seq 200); do grep -q ^following $D/log && return 0; sleep 0.02; done
  cat $D/log; exit 1
}
unfollow() { kill $Y; wait $Y; Y=; }
"#;

/// Runs a script behind [`ROUTER`]; what it printed, and it must have gone well. `None` without the rights to.
fn in_router(script: &str) -> Option<String> {
    let probe = "mount -t bpf bpf /sys/fs/bpf && ip link add x type veth peer name y";
    let may = Command::new("unshare").args(["-m", "-n", "bash", "-c", probe]).output();
    if !may.is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: no rights to make networks and load programs, or no `ip`");
        return None;
    }
    let script = format!("{ROUTER}\n{script}");
    let output: Output =
        Command::new("unshare").args(["-m", "-n", "bash", "-c", &script]).env("S", SKEP).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let shown = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{shown}");
    Some(shown)
}

#[test]
fn routes_of_the_kernel_are_followed() {
    let script = r#"
        none="go to the kernel"
        ip route add 10.60.0.0/16 via 10.0.2.2
        ip route add 10.69.0.0/16 via 10.0.2.2 table 100
        follow
        await 10.60.1.1 "via 10.0.2.2 dev r2"
        await 10.0.2.9 "10.0.2.0/24 dev r2"
        await 10.0.2.1 "local"
        ip route add 10.61.0.0/16 via 10.0.1.2;       await 10.61.1.1 "via 10.0.1.2 dev r1"
        ip route replace 10.61.0.0/16 via 10.0.2.2;   await 10.61.1.1 "via 10.0.2.2 dev r2"
        ip route del 10.61.0.0/16;                    await 10.61.1.1 "$none"
        ip -6 route add 2001:db8:60::/48 via 2001:db8:2::2;     await 2001:db8:60::1 "via 2001:db8:2::2 dev r2"
        ip -6 route replace 2001:db8:60::/48 via 2001:db8:1::2; await 2001:db8:60::1 "via 2001:db8:1::2 dev r1"
        ip -6 route del 2001:db8:60::/48;             await 2001:db8:60::1 "$none"
        ip route add 10.62.0.0/16 nexthop via 10.0.1.2 nexthop via 10.0.2.2 weight 3
        await 10.62.1.1 "via 10.0.1.2 dev r1 via 10.0.2.2 dev r2 weight 3"
        ip -6 route add 2001:db8:62::/48 nexthop via 2001:db8:1::2 nexthop via 2001:db8:2::2
        await 2001:db8:62::1 "via 2001:db8:1::2 dev r1 via 2001:db8:2::2 dev r2"
        ip -6 route del 2001:db8:62::/48 via 2001:db8:1::2 dev r1; await 2001:db8:62::1 "2001:db8:62::/48 via 2001:db8:2::2 dev r2"
        ip route add blackhole 10.63.0.0/16;          await 10.63.1.1 "10.63.0.0/16 drop"
        ip route add throw 10.63.1.0/24;              await 10.63.1.1 "10.63.1.0/24 pass"
        ip route add 10.64.0.0/16 via 10.0.1.2 metric 20; await 10.64.1.1 "via 10.0.1.2 dev r1"
        ip route add 10.64.0.0/16 via 10.0.2.2 metric 10; await 10.64.1.1 "via 10.0.2.2 dev r2"
        ip route del 10.64.0.0/16 metric 10;          await 10.64.1.1 "via 10.0.1.2 dev r1"
        ip route add 10.66.0.0/16 via inet6 2001:db8:2::9; await 10.66.1.1 "via 2001:db8:2::9 dev r2"
        ip nexthop add id 7 via 10.0.1.2 dev r1; ip route add 10.65.0.0/16 nhid 7; await 10.65.1.1 "via 10.0.1.2 dev r1"
        ip nexthop replace id 7 via 10.0.2.2 dev r2;  await 10.65.1.1 "via 10.0.2.2 dev r2"
        ip nexthop add id 8 via 10.0.1.2 dev r1; ip nexthop add id 9 group 7/8; ip route add 10.67.0.0/16 nhid 9
        await 10.67.1.1 "10.67.0.0/16 via 10.0.2.2 dev r2 via 10.0.1.2 dev r1"
        ip nexthop del id 7;                          await 10.65.1.1 "$none"; await 10.67.1.1 "10.67.0.0/16 via 10.0.1.2 dev r1"
        ip link set r2 down;                          await 10.60.1.1 "$none"; await 10.62.1.1 "10.62.0.0/16 via 10.0.1.2 dev r1"
        ip link set r2 up;                            await 10.0.2.9 "10.0.2.0/24 dev r2"
        await 10.62.1.1 "10.62.0.0/16*via 10.0.2.2 dev r2 weight 3*"
        ip addr add 10.0.9.1/24 dev r2;               await 10.0.9.1 "10.0.9.1 local"
        $S route get 10.69.1.1
        $S route sync || true
        cat $D/log
        unfollow
        ip route add 10.69.0.0/16 via 10.0.2.2 table 100 # the first went with its interface
        follow --table 100; await 10.69.1.1 "via 10.0.2.2 dev r2"; await 10.62.1.1 "$none"
        $S route show
    "#;
    let Some(shown) = in_router(script) else { return };
    assert!(
        shown.contains("no route: packets to 10.69.1.1 go to the kernel"),
        "the main table alone: {shown}"
    );
    assert!(shown.contains("another `skep route sync` follows the kernel's table already"), "{shown}");
    let alone = shown.matches("# sync").count() == 1;
    assert!(alone && shown.contains("\n10.69.0.0/16 via 10.0.2.2 dev r2 # sync\n"), "{shown}");
    assert!(!shown.contains("warning"), "{shown}");
}

#[test]
fn routes_by_hand_stay_and_the_table_outlives_who_follows() {
    let script = r#"
        $S route add 10.50.0.0/16 drop
        ip route add 10.50.0.0/16 via 10.0.1.2 proto bird
        ip route add 10.51.0.0/16 via 10.0.1.2 proto bird
        ip route add 10.52.0.0/16 via 10.0.1.2 proto static
        follow --proto bird
        await 10.51.1.1 "via 10.0.1.2 dev r1"
        await 10.50.1.1 "10.50.0.0/16 drop"
        await 10.52.1.1 "go to the kernel"
        # A route that is written by hand takes the place of a followed one, which comes back behind it.
        $S route add 10.51.0.0/16 pass; await 10.51.1.1 "pass"
        $S route del 10.51.0.0/16;      await 10.51.1.1 "via 10.0.1.2 dev r1"
        $S route del 10.50.0.0/16;      await 10.50.1.1 "via 10.0.1.2 dev r1"
        printf '10.55.0.0/16 drop\n' | $S route load -; await 10.51.1.1 "via 10.0.1.2 dev r1"
        kill -9 $Y; wait $Y || true; Y=
        ip route del 10.51.0.0/16; ip route add 10.53.0.0/16 via 10.0.2.2 proto bird
        $S route show | sort
        follow --proto bird; await 10.51.1.1 "go to the kernel"; await 10.53.1.1 "via 10.0.2.2 dev r2"
        $S route down
        for i in $(seq 200); do kill -0 $Y 2>/dev/null || break; sleep 0.05; done
        wait $Y || true; Y=; cat $D/log
    "#;
    let Some(shown) = in_router(script) else { return };
    let outlived = "10.50.0.0/16 via 10.0.1.2 dev r1 # sync\n10.51.0.0/16 via 10.0.1.2 dev r1 # sync\n10.55.0.0/16 drop\n";
    assert!(shown.contains(outlived), "{shown}");
    assert!(shown.contains("the router has ended"), "{shown}");
}

/// Two BIRDs: one in a namespace of its own announces prefixes over both links, the router's prefers the first.
const BIRDS: &str = r#"
        unshare -n sleep 120 & P=$!
        trap 'kill $P $Y $B1 $B2 2>/dev/null || true; wait || true; $S route down >/dev/null 2>&1 || true; rm -rf $D' EXIT
        for i in $(seq 100); do [ "$(readlink /proc/$P/ns/net)" != "$(readlink /proc/self/ns/net)" ] && break; sleep 0.05; done
        p="nsenter -t $P -n"
        for n in 1 2; do
          ip link set h$n netns $P; $p ip addr add 10.0.$n.2/24 dev h$n; $p ip link set h$n up
        done
        peer() { # name, own number, own address, the other's number and address, what it takes and gives
          echo "protocol bgp $1 { local $3 as $2; neighbor $5 as $4; check link yes; connect delay time 1; error wait time 1, 1; ipv4 { import $6; export $7; next hop self; }; }"
        }
        {
          echo "router id 10.0.1.2; protocol device { scan time 1; } protocol static many { ipv4;"
          awk 'BEGIN { for (i = 0; i < 2000; i++) printf "route 20.0.%d.%d/28 blackhole;\n", i / 16, i % 16 * 16 }'
          echo "}"
          for n in 1 2; do peer n$n 65002 10.0.$n.2 65001 10.0.$n.1 none "where source = RTS_STATIC"; done
        } > $D/p.conf
        {
          echo "router id 10.0.1.1; protocol device { scan time 1; } protocol kernel { ipv4 { import none; export all; }; }"
          for n in 1 2; do peer n$n 65001 10.0.$n.1 65002 10.0.$n.2 "filter { bgp_local_pref = $((300 - n)); accept; }" none; done
        } > $D/r.conf
        $p bird -f -c $D/p.conf -s $D/p.sock -P $D/p.pid & B1=$!
        bird -f -c $D/r.conf -s $D/r.sock -P $D/r.pid & B2=$!
        all() { # waits until all of them go by a gateway
          for i in $(seq 300); do [ $($S route show | grep -c "via $1 dev .* # sync") = 2000 ] && { echo "2000 via $1"; return 0; }; sleep 0.1; done
          echo "not all via $1"; $S route show > $D/shown; head -5 $D/shown; exit 1
        }
"#;

#[test]
fn routes_of_bird_are_followed() {
    if !Command::new("bird").arg("--version").output().is_ok_and(|o| o.status.success()) {
        eprintln!("skipped: there is no `bird` (Debian's bird2)");
        return;
    }
    let script = format!(
        "{BIRDS}
        follow --proto bird
        all 10.0.1.2
        $p ip link set h1 down; all 10.0.2.2
        $p ip link set h1 up; all 10.0.1.2
        kill -9 $B2; kill -9 $Y; $S route show | grep -c sync"
    );
    let Some(shown) = in_router(&script) else { return };
    assert!(shown.contains("2000 via 10.0.1.2\n2000 via 10.0.2.2\n2000 via 10.0.1.2\n2000\n"), "{shown}");
}

#[test]
fn tables_are_saved_and_watched() {
    let script = r#"
        $S route add 10.50.0.0/16 via 10.0.1.2; $S route add 10.51.0.0/16 drop
        ip route add 10.52.0.0/16 via 10.0.2.2 proto bird
        follow --proto bird
        $S route save $D/saved; cat $D/saved; $S route save | cmp - $D/saved
        $S route watch > $D/watched & W=$!
        for i in $(seq 200); do grep -q '^+ 10.52' $D/watched && break; sleep 0.02; done
        $S route replace 10.51.0.0/16 pass; $S route del 10.50.0.0/16
        for i in $(seq 200); do grep -q '^- 10.50' $D/watched && break; sleep 0.02; done
        sleep 1.2; kill $W; wait $W
        cat $D/watched
        $S route load $D/saved; $S route save | cmp - $D/saved && echo "the same"
        $S route save $D/no/such || true
    "#;
    let Some(shown) = in_router(script) else { return };
    for part in [
        "10.50.0.0/16 via 10.0.1.2 dev r1\n10.51.0.0/16 drop\n+ 10.50",
        "+ 10.50.0.0/16 via 10.0.1.2 dev r1\n+ 10.51.0.0/16 drop\n+ 10.52.0.0/16 via 10.0.2.2 dev r2 # sync\n",
        "- 10.51.0.0/16 drop\n",
        "+ 10.51.0.0/16 pass\n",
        "- 10.50.0.0/16 via 10.0.1.2 dev r1\n",
        "2 routes\nthe same",
        "no/such: No such file",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}

#[test]
fn tests_of_tables_need_no_kernel() {
    let cases = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/route");
    let good = Command::new(SKEP).args(["route", "test"]).arg(cases.join("forward.yaml")).output().unwrap();
    let said = String::from_utf8_lossy(&good.stdout).into_owned();
    assert!(good.status.success() && said.contains(" as expected, 0 not"), "{said}");
    let bad = std::env::temp_dir().join(format!("skep-route-{}.yaml", std::process::id()));
    let text = std::fs::read_to_string(cases.join("forward.yaml")).unwrap();
    std::fs::write(&bad, text.replace("out: drop", "out: eth2")).unwrap();
    let output = Command::new(SKEP).args(["route", "test"]).arg(&bad).output().unwrap();
    std::fs::remove_file(&bad).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("the longest prefix counts: out eth2 by xdp was expected, but it was drop by xdp"),
        "{said}"
    );
}

#[test]
fn many_routes_at_once_and_an_overrun() {
    let script = r#"
        follow --proto bird
        awk 'BEGIN { for (i = 0; i < 120000; i++) printf "route add 100.%d.%d.%d/32 via 10.0.%d.2 proto bird\n", i / 65536, i / 256 % 256, i % 256, 1 + i % 2 }' > $D/batch
        kill -STOP $Y
        ip -batch $D/batch
        kill -CONT $Y
        for i in $(seq 600); do [ $($S route show | grep -c sync) = 120000 ] && break; sleep 0.1; done
        $S route show | awk '/sync/ { n[$3]++ } END { for (i in n) print i, n[i] }' | sort
        sed -i 's/route add/route del/' $D/batch; ip -batch $D/batch
        for i in $(seq 600); do [ $($S route show | grep -c sync) = 0 ] && break; sleep 0.1; done
        $S route show; cat $D/log | grep -v messages
    "#;
    let Some(shown) = in_router(script) else { return };
    assert!(shown.contains("10.0.1.2 60000\n10.0.2.2 60000\n"), "{shown}");
    assert!(shown.contains("changes came too fast, the whole table is read again"), "{shown}");
}

#[test]
fn a_command_that_is_killed_leaves_a_table_that_holds() {
    let script = r#"
        awk 'BEGIN { for (i = 0; i < 20000; i++) printf "10.%d.%d.0/24 via 10.0.1.2 dev r1\n", 64 + i / 256, i % 256 }' > $D/one
        awk 'BEGIN { for (i = 0; i < 24000; i++) printf "10.%d.%d.0/24 via 10.0.2.%d dev r2\n", 64 + i / 256, i % 256, 2 + i % 9 }' > $D/other
        cat $D/one $D/other | sort > $D/both
        $S route load $D/one
        cut=0
        for i in $(seq 24); do
          file=$([ $((i % 2)) = 1 ] && echo $D/other || echo $D/one)
          $S route load $file > $D/said & P=$!
          sleep 0.$((i * 37 % 10))$((i * 7 % 10))
          kill -9 $P 2>/dev/null || true; wait $P 2>/dev/null || true
          $S route show | sort > $D/now
          [ -z "$(comm -23 $D/now $D/both)" ] || { echo "a route that nobody wrote"; comm -23 $D/now $D/both | head; exit 1; }
          # Those of both files are there at any time.
          [ $(wc -l < $D/now) -ge 20000 ] || { echo "only $(wc -l < $D/now) routes"; exit 1; }
          cmp -s <(sort $D/one) $D/now || cmp -s <(sort $D/other) $D/now || cut=$((cut + 1))
        done
        echo "cut in the middle: $cut"
        $S route load $D/other; $S route show | sort | cmp - <(sort $D/other)
        # A file with a mistake changes nothing.
        printf '10.7.0.0/16 drop\n10.8.0.0/33 drop\n' > $D/bad; $S route load $D/bad || true
        $S route show | sort | cmp - <(sort $D/other) && echo "the same"
    "#;
    let Some(shown) = in_router(script) else { return };
    assert!(shown.contains("the same") && shown.contains("bad:2: 10.8.0.0/33"), "{shown}");
}
