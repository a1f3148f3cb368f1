//! Running other programs.
//!
//! In: a command. Out: whether it succeeded, and its standard output, which is shown while it runs.
//! Always: a program that cannot be started is an error with its name.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

/// What a program left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) success: bool,
    pub(crate) stdout: Vec<String>,
}

/// The cargo that runs this task, in the workspace's folder.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::root());
    command
}

/// Runs a command to its end and shows its standard output line by line.
pub(crate) fn run(command: Command) -> Result<Finished, String> {
    watch(command, |line| println!("{line}"))
}

/// Runs a command to its end and hands on each line of its standard output.
pub(crate) fn watch(mut command: Command, mut each: impl FnMut(&str)) -> Result<Finished, String> {
    let name = name_of(&command);
    let fail = |error: std::io::Error| format!("{name}: {error}");
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().map_err(fail)?;
    let mut lines = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line = String::from_utf8_lossy(&line.map_err(fail)?).into_owned();
            each(&line);
            lines.push(line);
        }
    }
    let status = child.wait().map_err(fail)?;
    Ok(Finished { success: status.success(), stdout: lines })
}

/// Runs a command that is expected to work, and returns its output; on failure the error holds what it said.
pub(crate) fn output(mut command: Command) -> Result<String, String> {
    let name = name_of(&command);
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{name}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(format!("{name}: {}\n{}{}", output.status, text(&output.stdout), text(&output.stderr))),
    }
}

fn name_of(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// Whether a program of this name can be found.
pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_failure() {
        let mut echo = Command::new("echo");
        echo.arg("a bee");
        assert_eq!(output(echo).unwrap(), "a bee\n");
        assert!(output(Command::new("false")).unwrap_err().starts_with("false: "));
        assert!(run(Command::new("no-such-program")).unwrap_err().starts_with("no-such-program: "));
        assert!(exists("echo") && !exists("no-such-program"));
    }
}
