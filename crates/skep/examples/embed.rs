//! skep inside a Rust program: compiles a script, loads it, reads its events and its maps. Run it as root:
//! `cargo run -p skep --example embed`.

use skep::{Limits, Output, Script, Tracer};
use std::time::Duration;

const SCRIPT: &str = r#"
tracepoint:syscalls:sys_enter_openat { printf("%s opens %s\n", comm, str(args.filename)); }
tracepoint:raw_syscalls:sys_enter { @calls[comm] = count(); }
"#;

fn main() -> Result<(), skep::Error> {
    let program = Script::inline(SCRIPT).compile()?;
    // Events as JSON lines, to any writer: here standard output.
    let (out, err) = (Box::new(std::io::stdout()), Box::new(std::io::stderr()));
    let output = Output { out, err, json: true, escapes: false };
    let mut tracer = Tracer::load(&program, output, &Limits::default(), 0)?;
    tracer.start()?;
    tracer.run_for(Duration::from_secs(2))?;
    for (comm, count) in tracer.map("@calls")? {
        println!("{comm} made {count} system calls");
    }
    Ok(())
}
