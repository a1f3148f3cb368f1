//! One run of one case: loads, the program under test, its output, its end.
//!
//! In: a case, the program, whether the compiler's passes are on. Out: the command line, what came out, why it was cut short.
//! Always: the order is loads started and stopped, program started, its probes attached, loads released, loads ended, signal;
//! when the time is up, the program's process group and the loads are killed.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::args::{Options, Style};
use crate::around::Around;
use crate::expect::Output;
use crate::fixture::{Case, End, Via};
use crate::load::Running;
use crate::replay;
use crate::vars::Vars;

/// The environment variable and the line of output with which a program says that its probes are attached.
const ATTACHED: &str = "__BPFTRACE_NOTIFY_PROBES_ATTACHED";
/// What `skep capture` says on standard error when it receives.
const CAPTURING: &str = "capturing on ";

/// What a run was.
pub(crate) struct Ran {
    pub(crate) command: Vec<String>,
    pub(crate) output: Output,
    pub(crate) vars: Vars,
    /// Why the harness ended it.
    pub(crate) trouble: Option<String>,
    /// In what it differs when it happens again.
    pub(crate) differences: Vec<String>,
}

/// How a case is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// With the compiler's passes on.
    Passes,
    /// With them off.
    NoPasses,
    /// Recorded, and then replayed.
    Replayed,
}

#[derive(Clone, Copy, PartialEq)]
enum Stream {
    Stdout,
    Stderr,
}

enum Message {
    Line(Stream, String),
    End,
}

/// A folder that goes away with the value.
struct TempDir(PathBuf);

impl TempDir {
    fn create() -> Result<Self, String> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("livetest-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(TempDir(path))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the case once. An error is the harness's own trouble, not the program's.
pub(crate) fn run(case: &Case, options: &Options, way: Way) -> Result<Ran, String> {
    let limit = case.timeout * options.time_scale;
    let dir = TempDir::create()?;
    let mut vars = Vars::default();
    let me = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
    vars.set("SELF", me.display());
    vars.set("TMP", dir.0.display());
    if let Some(cgroup) = crate::cgroup::root() {
        vars.set("CGROUP", cgroup.display());
    }
    vars.set("CPUS", crate::feature::cpus().len());
    let subcommand = if options.style == Style::Skep { " trace" } else { "" };
    vars.set("TRACE", options.program.join(" ") + subcommand);
    for (name, text) in &case.files {
        write(&dir.0.join(name), &vars.fill(text))?;
    }
    let fixtures = std::fs::canonicalize(&options.fixtures).unwrap_or_else(|_| options.fixtures.clone());
    vars.set("FIXTURES", fixtures.display());
    case.builds.iter().try_for_each(|words| build(words, &vars, &dir.0))?;
    let Some(mtu) = case.net else { return within(case, options, way, &dir.0, vars, None) };
    let pins = !case.before.is_empty() || !case.after.is_empty();
    let network = crate::net::Network::make(mtu, &case.parts, pins)?;
    let around = Around { program: &options.program, net: network.pid(), dir: &dir.0, limit };
    let (before, mut told) = around.run(&case.before, &vars);
    let ran = told
        .take()
        .map_or_else(|| within(case, options, way, &dir.0, vars.clone(), Some(network.pid())), Err);
    // Also when the case has failed.
    let (after, trouble) = around.run(&case.after, &vars);
    drop(network);
    ran.map(|mut ran| {
        ran.trouble = ran.trouble.or(trouble);
        ran.output.before = before;
        ran.output.after = after;
        ran
    })
}

/// Runs the case in the network that a process holds, or in this one.
fn within(
    case: &Case,
    options: &Options,
    way: Way,
    dir: &Path,
    mut vars: Vars,
    holder: Option<u32>,
) -> Result<Ran, String> {
    let limit = case.timeout * options.time_scale;
    let me = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
    let mut loads = Vec::new();
    for (index, load) in case.loads.iter().enumerate() {
        let running = load.start(&vars, holder, limit)?;
        let name = if index == 0 { "PID".to_owned() } else { format!("PID{}", index + 1) };
        vars.set(&name, running.pid());
        loads.push(running);
    }
    let mut words = command_line(case, options, way, dir, &mut vars)?;
    if let Some(pid) = holder {
        words.splice(0..0, [me.display().to_string(), "in-net".to_owned(), pid.to_string()]);
    }
    let child = spawn(case, &words, &vars)?;
    let mut session = Session::start(case, child, loads, limit);
    if options.style == Style::Bpftrace {
        // bpftrace 0.27 now and then forgets the last events when the signal comes at once.
        session.grace = Duration::from_millis(300);
    }
    let trouble = session.drive();
    let mut output = session.finish();
    for (name, _) in &case.written {
        let text = std::fs::read(dir.join(name)).unwrap_or_default();
        output.written.push(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect());
    }
    let differences = match way {
        Way::Replayed => replay::differences(case, options, &replay::file(dir), &output)?,
        _ => Vec::new(),
    };
    Ok(Ran { command: words, output, vars, trouble, differences })
}

/// Runs a command that makes what the case traces.
fn build(words: &[String], vars: &Vars, dir: &Path) -> Result<(), String> {
    let words: Vec<String> = words.iter().map(|word| vars.fill(word)).collect();
    let (program, args) = words.split_first().ok_or("an empty `build`")?;
    let done = Command::new(program)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(format!("{}: {}", words.join(" "), String::from_utf8_lossy(&done.stderr))),
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The words of the command line, with what they refer to written to the run's folder.
fn command_line(
    case: &Case,
    options: &Options,
    way: Way,
    dir: &Path,
    vars: &mut Vars,
) -> Result<Vec<String>, String> {
    let mut words = options.program.clone();
    if let (Some(name), [.., last]) = (&case.called, words.as_mut_slice()) {
        let link = dir.join(name);
        let target = std::fs::canonicalize(&last).map_err(|error| format!("{last}: {error}"))?;
        std::os::unix::fs::symlink(target, &link).map_err(|error| format!("{}: {error}", link.display()))?;
        *last = link.display().to_string();
    }
    if let (Some(_), [.., last]) = (case.user, words.as_mut_slice()) {
        // The user may not be able to reach the program where it is.
        let copy = dir.join("program");
        std::fs::copy(&last, &copy).map_err(|error| format!("{last}: {error}"))?;
        *last = copy.display().to_string();
    }
    let script = vars.fill(case.script.as_deref().unwrap_or(""));
    let file = dir.join("script.bt");
    vars.set("SCRIPT", file.display());
    write(&file, &script)?;
    let fill = |list: &[String]| -> Vec<String> { list.iter().map(|word| vars.fill(word)).collect() };
    if let Some(command) = &case.command {
        let mut command = fill(command);
        if options.style == Style::Bpftrace && command.first().is_some_and(|word| word == "trace") {
            command.remove(0);
        }
        words.extend(command);
        return Ok(words);
    }
    if options.style == Style::Skep && case.called.is_none() {
        words.push("trace".to_owned());
    }
    let passes = way != Way::NoPasses;
    if !passes {
        words.push("--no-passes".to_owned());
    }
    if way == Way::Replayed {
        words.extend(["--record".to_owned(), replay::file(dir).display().to_string()]);
    }
    words.extend(fill(&case.args));
    match case.via {
        Via::Inline => words.extend(["-e".to_owned(), script]),
        Via::File => words.push(file.display().to_string()),
        Via::Stdin => words.push("-".to_owned()),
        Via::Object => {
            let object = crate::object::of(case, options, passes, &script, dir)?;
            words.push(object.display().to_string());
        }
    }
    words.extend(fill(&case.params));
    Ok(words)
}

fn spawn(case: &Case, words: &[String], vars: &Vars) -> Result<Child, String> {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).process_group(0).env(ATTACHED, "1").env_remove("RUST_BACKTRACE");
    command.envs(case.env.iter().map(|(name, value)| (name.clone(), vars.fill(value))));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.stdin(if case.via == Via::Stdin { Stdio::piped() } else { Stdio::null() });
    if let Some(user) = case.user {
        command.uid(user).gid(user).current_dir("/");
    }
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", words[0]))?;
    if let Some(mut stdin) = child.stdin.take() {
        let script = vars.fill(case.script.as_deref().unwrap_or(""));
        stdin
            .write_all(script.as_bytes())
            .map_err(|error| format!("the program's standard input: {error}"))?;
    }
    Ok(child)
}

/// Sends a stream's lines on; `most` closes it after that many.
fn read_lines(stream: impl Read + Send + 'static, which: Stream, most: Option<usize>, to: Sender<Message>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut taken = 0;
        let mut line = Vec::new();
        while most.is_none_or(|most| taken < most) {
            line.clear();
            match reader.read_until(b'\n', &mut line) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
            if line.last() == Some(&b'\n') {
                line.pop();
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            taken += usize::from(text != ATTACHED);
            if to.send(Message::Line(which, text)).is_err() {
                return;
            }
        }
        drop(reader);
        let _ = to.send(Message::End);
    });
}

/// What the loads are doing.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// Waiting for the probes to be attached.
    Attaching,
    /// The loads work.
    Working,
    /// The loads have ended; the signal is due then.
    Ending(Instant),
    /// The signal is sent, or none is needed.
    Waiting,
}

struct Session<'a> {
    case: &'a Case,
    child: Child,
    loads: Vec<Running>,
    messages: Receiver<Message>,
    open: usize,
    output: Output,
    phase: Phase,
    deadline: Instant,
    /// More time before the signal.
    grace: Duration,
}

impl<'a> Session<'a> {
    fn start(case: &'a Case, mut child: Child, loads: Vec<Running>, limit: Duration) -> Self {
        let (sender, messages) = channel();
        let mut open = 0;
        if let Some(stdout) = child.stdout.take() {
            read_lines(stdout, Stream::Stdout, case.close_stdout_after, sender.clone());
            open += 1;
        }
        if let Some(stderr) = child.stderr.take() {
            read_lines(stderr, Stream::Stderr, None, sender);
            open += 1;
        }
        let deadline = Instant::now() + limit;
        let (output, phase) = (Output::default(), Phase::Attaching);
        Session { case, child, loads, messages, open, output, phase, deadline, grace: Duration::ZERO }
    }

    /// Runs until the program has ended, or says why it cannot go on.
    fn drive(&mut self) -> Option<String> {
        loop {
            if Instant::now() >= self.deadline {
                return Some(match self.phase {
                    Phase::Attaching => "time is up; it never said that its probes are attached".to_owned(),
                    Phase::Working => "time is up; the loads had not ended".to_owned(),
                    Phase::Ending(_) | Phase::Waiting => "time is up; it did not end".to_owned(),
                });
            }
            match self.messages.recv_timeout(Duration::from_millis(5)) {
                Ok(Message::Line(Stream::Stdout, line)) if line == ATTACHED => {
                    if let Err(message) = self.attached() {
                        return Some(message);
                    }
                }
                Ok(Message::Line(Stream::Stdout, line)) => self.output.stdout.push(line),
                Ok(Message::Line(Stream::Stderr, line)) => {
                    let ready = self.phase == Phase::Attaching && line.starts_with(CAPTURING);
                    self.output.stderr.push(line);
                    if ready && let Err(message) = self.attached() {
                        return Some(message);
                    }
                }
                Ok(Message::End) => self.open -= 1,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.open = 0,
            }
            if self.open == 0 && self.exited() {
                return self.early_end();
            }
            if let Err(message) = self.step() {
                return Some(message);
            }
        }
    }

    fn attached(&mut self) -> Result<(), String> {
        self.phase = Phase::Working;
        self.loads.iter().try_for_each(Running::go)
    }

    /// Goes on to the next phase when the present one is over.
    fn step(&mut self) -> Result<(), String> {
        if self.phase == Phase::Working {
            let mut all = true;
            for load in &mut self.loads {
                all &= load.ended()?;
            }
            self.phase = match self.case.end {
                _ if !all => Phase::Working,
                End::Itself => Phase::Waiting,
                End::Signal(_, after) => Phase::Ending(Instant::now() + after + self.grace),
            };
        }
        if let (Phase::Ending(due), End::Signal(signal, _)) = (self.phase, self.case.end)
            && Instant::now() >= due
        {
            self.phase = Phase::Waiting;
            self.signal(signal);
        }
        Ok(())
    }

    fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0))
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, signal);
        }
    }

    fn exited(&mut self) -> bool {
        if self.output.status.is_none() {
            self.output.status = self.child.try_wait().ok().flatten();
        }
        self.output.status.is_some()
    }

    /// The program has ended: was that before its loads had worked?
    fn early_end(&mut self) -> Option<String> {
        let unused = !self.loads.is_empty() && self.phase == Phase::Attaching;
        unused.then(|| "it ended before its probes were attached".to_owned())
    }

    /// Kills what is left and takes the output.
    fn finish(mut self) -> Output {
        if self.output.status.is_none() {
            if let Some(pid) = self.pid() {
                let _ = kill_process_group(pid, Signal::KILL);
            }
            let _ = self.child.wait();
            while let Ok(message) = self.messages.recv_timeout(Duration::from_millis(100)) {
                match message {
                    Message::Line(Stream::Stdout, line) => self.output.stdout.push(line),
                    Message::Line(Stream::Stderr, line) => self.output.stderr.push(line),
                    Message::End => {}
                }
            }
        }
        self.output
    }
}
