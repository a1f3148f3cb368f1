//! Options of `skep route`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Options of `skep route`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Route {
    /// What to do
    #[command(subcommand)]
    pub(crate) action: RouteAction,
}

/// What to do with the router.
#[derive(Debug, Subcommand)]
pub(crate) enum RouteAction {
    /// Start to forward between ports; without routes all packets go on to the kernel
    Up {
        /// The interfaces that packets to be forwarded come from
        #[arg(long, value_name = "NAME,…", value_delimiter = ',', required = true)]
        ports: Vec<String>,
        /// Run the XDP program in the driver of all ports, also of veth devices (whose peers must not leave checksums undone)
        #[arg(long, conflicts_with = "generic")]
        native: bool,
        /// Run no XDP program: TC forwards everything, on any device
        #[arg(long)]
        generic: bool,
        /// Count every route by itself, up to N of them, also those that follow the kernel's table (written by hand: 4,096 always)
        #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "65536", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
        count: Option<u32>,
    },
    /// Add a route
    Add(RouteWords),
    /// Add a route, or put it in the place of the one that is there
    Replace(RouteWords),
    /// Take a route away
    Del {
        /// Its destination, as `show` prints it, and `if EXPRESSION` behind it for the route with that condition
        #[arg(value_name = "DESTINATION", required = true, trailing_var_arg = true)]
        words: Vec<String>,
    },
    /// Print the routes, as `add` and `load` take them
    Show {
        /// The machine's own addresses too, and the ports
        #[arg(short, long)]
        all: bool,
    },
    /// Print the routes of an address, in the order in which they are tried
    Get {
        /// The address
        #[arg(value_parser = address)]
        address: std::net::IpAddr,
    },
    /// Print how many packets went by each route
    Stats,
    /// Print the routes that were written by hand, as `load` takes them
    Save {
        /// The file that gets them; without, they are printed
        file: Option<PathBuf>,
    },
    /// Print changes of the table, and how many packets went to each next hop, as they happen
    Watch {
        /// Seconds between two looks
        #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=3600))]
        interval: u32,
    },
    /// Try tables without a kernel: packets that tests in YAML name go through the router's programs on the offline machine
    Test {
        /// The tests
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
    /// Make the routes of a file the router's routes, one a line, in one batch
    Load {
        /// The file (`-`: standard input)
        file: PathBuf,
    },
    /// Follow the kernel's routing table, which routing daemons such as BIRD and FRR write, until a signal comes
    Sync(RouteSync),
    /// End the router; packets go to the kernel again
    Down,
}

/// What of the kernel's table is followed.
#[derive(Debug, Args)]
pub(crate) struct RouteSync {
    /// The table: its number, or `main` or `default`
    #[arg(long, value_name = "TABLE", default_value = "main", value_parser = table)]
    pub(crate) table: u32,
    /// Only routes that this protocol made: its number, or a name such as `bird`, `bgp`, `ospf`, `static`, `kernel`
    #[arg(long, value_name = "NAME", value_parser = protocol)]
    pub(crate) proto: Option<u8>,
    /// Print every batch of changes
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

fn address(word: &str) -> Result<std::net::IpAddr, String> {
    word.parse().map_err(|_| {
        "an address was expected, such as `10.1.2.3` or `2001:db8::1`; `show` prints blocks".to_owned()
    })
}

fn table(word: &str) -> Result<u32, String> {
    match word {
        "main" => Ok(skep::route::MAIN_TABLE),
        "default" => Ok(skep::route::MAIN_TABLE - 1),
        number => number
            .parse()
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| "a number from 1 on, `main` or `default` was expected".to_owned()),
    }
}

fn protocol(word: &str) -> Result<u8, String> {
    skep::route::protocol_number(word).ok_or_else(|| {
        "a number up to 255 was expected, or a name that `ip route` knows, such as `bird`, `bgp` or `static`".to_owned()
    })
}

/// A route.
#[derive(Debug, Args)]
pub(crate) struct RouteWords {
    /// DESTINATION, then `via ADDRESS [dev NAME] [weight N] [cpu N]` (also several), `dev NAME [cpu N]`, `redirect dev NAME`, `drop`,
    /// `unreachable`, `pass` or `cpu N`; then perhaps `[at N] if EXPRESSION`
    #[arg(value_name = "ROUTE", required = true, trailing_var_arg = true)]
    pub(crate) words: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  skep route up --ports eth1,eth2
  skep route add 10.1.0.0/16 via 192.0.2.1
  skep route add 2001:db8::/32 via fe80::1 dev eth2 weight 2 via fe80::2 dev eth1
  skep route add 0.0.0.0/0 via 192.0.2.9 if \"tcp dst port 443\"
  skep route add 10.2.0.0/16 dev eth2 cpu 1
  skep route replace 203.0.113.0/24 drop
  skep route save routes && skep route load routes
  skep route sync --proto bird
  skep route test table.yaml";
