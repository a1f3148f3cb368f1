//! Packages of another suite, through apt, without touching the machine's own package state.
//!
//! In: a folder and a suite. Out: what apt knows of a package there, or its downloaded file.
//! Always: lists, cache and status lie in the folder; proxies, credentials and keys are the machine's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::sources;
use crate::process;

/// A private apt for one suite.
pub(super) struct Apt {
    dir: PathBuf,
}

/// A package's entry in the suite.
#[derive(Debug, PartialEq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) depends: Vec<String>,
}

/// Why a suite's lists could not be had.
pub(super) enum Refused {
    /// The mirror answers, and has no such suite.
    Gone,
    /// Anything else, in apt's words.
    Failed(String),
}

impl Apt {
    /// Sets the folder up and fetches the suite's lists.
    pub(super) fn update(dir: &Path, suite: &str) -> Result<Self, Refused> {
        let apt = Apt { dir: dir.to_path_buf() };
        apt.prepare(suite).map_err(Refused::Failed)?;
        let mut command = apt.command("apt-get");
        command.arg("update");
        match process::output(command) {
            Ok(_) => Ok(apt),
            Err(message) if is_gone(&message) => Err(Refused::Gone),
            Err(message) => Err(Refused::Failed(message)),
        }
    }

    fn prepare(&self, suite: &str) -> Result<(), String> {
        let fail = |error: std::io::Error| format!("{}: {error}", self.dir.display());
        for name in ["state/lists/partial", "cache/archives/partial", "debs"] {
            std::fs::create_dir_all(self.dir.join(name)).map_err(fail)?;
        }
        std::fs::write(self.dir.join("status"), "").map_err(fail)?;
        std::fs::write(self.dir.join("suite.sources"), sources::for_suite(suite)?).map_err(fail)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").current_dir(self.dir.join("debs"));
        let here = |name: &str| self.dir.join(name).display().to_string();
        let mut options = vec![
            format!("Dir::State={}", here("state")),
            format!("Dir::State::status={}", here("status")),
            format!("Dir::Cache={}", here("cache")),
            format!("Dir::Etc::SourceList={}", here("suite.sources")),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Dir::Etc::Preferences=/dev/null".to_owned(),
            "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "APT::Update::Error-Mode=any".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=2".to_owned(),
        ];
        if rustix::process::geteuid().is_root() {
            // The cache may lie in root's home, where apt's own user may not write.
            options.push("APT::Sandbox::User=root".to_owned());
        }
        for option in options {
            command.args(["-o", &option]);
        }
        command
    }

    /// The suite's entry of a package.
    pub(super) fn show(&self, name: &str) -> Result<Package, String> {
        let mut command = self.command("apt-cache");
        command.args(["show", "--no-all-versions", name]);
        parse_package(&process::output(command)?)
            .ok_or_else(|| format!("apt-cache show {name}: no such package"))
    }

    /// Downloads a package and returns the file.
    pub(super) fn download(&self, package: &Package) -> Result<PathBuf, String> {
        let debs = self.dir.join("debs");
        let fail = |error: std::io::Error| format!("{}: {error}", debs.display());
        let _ = std::fs::remove_dir_all(&debs);
        std::fs::create_dir_all(&debs).map_err(fail)?;
        let mut command = self.command("apt-get");
        command.args(["download", &format!("{}={}", package.name, package.version)]);
        process::output(command)?;
        let mut files = std::fs::read_dir(&debs).map_err(fail)?.flatten().map(|entry| entry.path());
        files
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .ok_or_else(|| format!("apt-get download {} left no file", package.name))
    }
}

/// Whether apt says that the mirror is there and the suite is not.
fn is_gone(message: &str) -> bool {
    message.contains("Release file") && message.contains("404")
}

/// The first entry of `apt-cache show`.
fn parse_package(text: &str) -> Option<Package> {
    let entry = text.split("\n\n").next()?;
    let field = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let names = |list: &str| -> Vec<String> {
        list.split(',').filter_map(|item| item.split_whitespace().next()).map(str::to_owned).collect()
    };
    Some(Package {
        name: field("Package")?.to_owned(),
        version: field("Version")?.to_owned(),
        depends: field("Depends").map(names).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry() {
        let text = "Package: linux-image-cloud-amd64\nVersion: 5.10.1-1\nDepends: linux-image-5.10.0-1-cloud-amd64 (= 5.10.1-1), kmod\n\nPackage: other\n";
        let package = parse_package(text).unwrap();
        assert_eq!(package.name, "linux-image-cloud-amd64");
        assert_eq!(package.version, "5.10.1-1");
        assert_eq!(package.depends, ["linux-image-5.10.0-1-cloud-amd64", "kmod"]);
        assert_eq!(parse_package(""), None);
    }

    #[test]
    fn gone_is_not_unreachable() {
        assert!(is_gone(
            "Err:1 http://mirror.invalid buzz Release\n  404  Not Found\nE: The repository 'http://mirror.invalid buzz Release' does not have a Release file."
        ));
        assert!(!is_gone(
            "W: Failed to fetch http://mirror.invalid/dists/sid/InRelease  Temporary failure resolving"
        ));
    }
}
