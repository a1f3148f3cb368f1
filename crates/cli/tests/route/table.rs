//! The table: printed, changed, killed in the middle, large.

use super::{ROUTES, good, in_network};

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
    assert!(small.starts_with("# lookup: arrays of 8 MiB") && small == again, "{shown}");
    // For all that the batch needs at once, and more.
    assert!(large.starts_with("# lookup: arrays of 20 MiB"), "{shown}");
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
fn one_change_of_a_large_table() {
    // 4,096 routes are counted by themselves: one that goes makes room for another, and what finds none shares a next hop.
    let script = format!(
        "$S route up --ports r1,r2
        {ROUTES}
        awk 'BEGIN {{ for (i = 0; i < 4091; i++) printf \"10.%d.%d.0/24 drop\\n\", 64 + i / 256, i % 256 }}' > /tmp/large.$$
        $S route show >> /tmp/large.$$; $S route load /tmp/large.$$; rm /tmp/large.$$
        own() {{ echo \"$1\"; $S route stats | grep -v drop; }}
        $S route add 10.98.0.0/16 via 10.0.2.2; own first
        $S route del 10.98.0.0/16; ip -d neigh show dev r2 10.0.2.2
        $S route add 10.97.0.0/16 via 10.0.2.2; own second
        $S route add 10.96.0.0/16 via 10.0.2.2; $S route add 10.95.0.0/16 via 10.0.2.2; own third
        $S route replace 10.97.0.0/16 drop; $S route replace 10.96.0.0/16 dev r2; own fourth
        neighbour() {{ echo \"$1\"; ip -d neigh show dev r2 10.0.2.2; }}
        neighbour shared; $S route del 10.95.0.0/16; neighbour gone
        echo reached; $S route replace 10.0.2.2/32 via 10.0.2.2; ROUTE_TEST_ROLE='probe 10.0.2.2' $a $T
        $S route show | grep -vc drop
        $S route down; kill $P"
    );
    let Some(output) = in_network(true, &script) else { return };
    let shown = good(&output);
    let told = |what: &str, part: &str| {
        let behind = shown.split_once(&format!("\n{what}\n")).map_or("", |s| s.1);
        let lines = behind.lines().take_while(|line| line.starts_with(' '));
        assert!(lines.map(str::trim_start).any(|line| line.ends_with(part)), "{what}: {part}\n---\n{shown}");
    };
    told("first", " 1  10.98.0.0/16 via 10.0.2.2 dev r2");
    told("second", " 1  10.97.0.0/16 via 10.0.2.2 dev r2");
    told("third", " 2  via 10.0.2.2 dev r2");
    told("fourth", " 1  via 10.0.2.2 dev r2");
    told("fourth", " 1  dev r2");
    assert!(shown.contains("10.0.2.2: 3 of 3"), "{shown}");
    // Marked while a route leads there, also by a next hop that it shared with others until they went.
    let marked = |line: &str| line.contains("managed");
    let (before, behind) = shown.split_once("\nshared\n").unwrap();
    let (behind, gone) = behind.split_once("\ngone\n").unwrap();
    assert!(!before.lines().any(marked) && !gone.lines().any(marked), "{shown}");
    if !behind.lines().any(marked) {
        eprintln!("skipped: this kernel or `ip` knows no managed neighbours");
    }
}

#[test]
fn thousands_of_routes_are_counted_each() {
    // More next hops than there are without `--count`, by XDP too, which sees no checksums that a veth leaves undone.
    let script = format!(
        "command -v ethtool > /dev/null || {{ echo 'skipped: no ethtool'; exit 0; }}
        nsenter -t $A -n ethtool -K h1 tx off gro on > /dev/null; nsenter -t $B -n ethtool -K h2 tx off gro on > /dev/null
        $S route up --ports r1,r2 --native --count=9100
        {ROUTES}
        awk 'BEGIN {{ for (i = 0; i < 9000; i++) printf \"10.%d.%d.0/24 drop\\n\", 64 + i / 256, i % 256 }}' > /tmp/counted.$$
        $S route show >> /tmp/counted.$$; $S route load /tmp/counted.$$; rm /tmp/counted.$$
        $S route add 10.0.2.2/32 dev r2
        ROUTE_TEST_ROLE='probe 10.0.2.2' $a $T; ROUTE_TEST_ROLE='probe 10.99.39.1' $a $T
        $S route stats > /tmp/counted.$$; grep -c drop /tmp/counted.$$; grep -e '10.0.2.2 dev' -e '10.99.39' /tmp/counted.$$; rm /tmp/counted.$$
        $S route del 10.99.39.0/24; $S route add 10.1.0.0/16 drop; $S route stats | grep '10.1.0.0/16'
        $S route down; kill $P"
    );
    let Some(output) = in_network(true, &script) else { return };
    let shown = good(&output);
    if shown.contains("skipped: no ethtool") {
        eprintln!("skipped: no ethtool");
        return;
    }
    assert!(shown.contains("10.0.2.2: 3 of 3") && shown.contains("10.99.39.1: 0 of 3"), "{shown}");
    assert!(shown.lines().any(|line| line == "9000"), "{shown}");
    let counted = |route: &str| {
        let line = shown.lines().find(|line| line.ends_with(route) && line.starts_with(' '));
        line.map(|line| line.split_whitespace().next().map(str::to_owned)).unwrap_or_default()
    };
    for (route, packets) in
        [(" 1  10.0.2.2 dev r2", "3"), (" 1  10.99.39.0/24 drop", "3"), (" 1  10.1.0.0/16 drop", "0")]
    {
        assert_eq!(counted(route).as_deref(), Some(packets), "{route}: {shown}");
    }
}

#[test]
fn changes_while_packets_flow_lose_none() {
    // All tables lead there, by a block or a longer one, and lead nowhere beside it; large ones need larger arrays, for which the
    // programs change too. What sockets had no room for is no loss of the router.
    let script = format!(
        "D=$(mktemp -d); trap \"kill $A $B 2>/dev/null; rm -r $D\" EXIT; cd $D
        $S route up --ports r1,r2 WAY
        {ROUTES}
        $b ip addr add 10.99.0.1/32 dev lo
        $S route add 10.99.0.0/16 via 10.0.2.2
        (cat <($S route show); echo 10.98.0.0/16 drop; echo 10.100.0.0/16 drop) > small
        (cat small; echo 10.99.0.0/24 via 10.0.2.2
         awk 'BEGIN {{ for (i = 0; i < 15000; i++) printf \"%d.%d.9.0/24 drop\\n\", 20 + i / 256, i % 256 }}') > large
        ROUTE_TEST_ROLE='steady 10.99.0.1' $a $T > heard & H=$!
        for i in 1 2; do
          $S route load large; $S route add 10.99.0.1/32 via 10.0.2.2; $S route replace 10.99.0.0/24 via 10.0.2.2 if \"tcp\"
          $S route replace 10.99.0.0/24 via 10.0.2.2; $S route del 10.99.0.1/32; $S route load small
          $S route replace 10.99.0.0/16 via 10.0.2.2 if \"udp port 7\"; $S route del 10.99.0.0/16 if \"udp port 7\"
        done
        touch end; wait $H; cat heard
        for n in \"$a\" \"$b\"; do $n awk '/^Udp: [0-9]/ {{ print \"no room \" $6 }}' /proc/net/snmp; done
        $S route down; kill $P"
    );
    for way in ["", "--native"] {
        let Some(output) = in_network(true, &script.replace("WAY", way)) else { return };
        let shown = good(&output);
        let number = |line: &str| line.rsplit(' ').next().and_then(|n| n.parse::<u32>().ok());
        let line = shown.lines().find(|line| line.starts_with("sent ")).unwrap_or_else(|| panic!("{shown}"));
        let sent = number(line.split_once(',').unwrap().0).unwrap();
        let no_room: u32 = shown.lines().filter(|l| l.starts_with("no room")).filter_map(number).sum();
        assert!(sent > 100, "{shown}");
        assert_eq!(number(line).unwrap() + no_room, sent, "{way} {shown}");
    }
}
