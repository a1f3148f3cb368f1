//! Programs that stay when their loader ends: interfaces hold XDP and TC programs, pins hold links.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use skep_bpf::kinds::{AttachType, ProgType};
use skep_bpf::object::Attach;

use super::{Loaded, attach};
use crate::error::Error;
use crate::link::Attached;
use crate::pin::{Pins, file_name};
use crate::prog::Prog;

impl Loaded {
    /// The first program of a kind that an interface can hold.
    pub fn program_of(&self, kind: ProgType) -> Option<&Prog> {
        let programs = self.programs.iter().map(|placed| &placed.prog);
        programs.into_iter().find(|prog| prog.kind() == kind && prog.attach_type() != AttachType::XdpCpumap)
    }

    /// The first program for entries of a map of CPUs.
    pub fn program_on_cpu(&self) -> Option<&Prog> {
        self.programs
            .iter()
            .map(|placed| &placed.prog)
            .find(|prog| prog.attach_type() == AttachType::XdpCpumap)
    }

    /// The program of a kind that is made for an interface.
    pub fn program_at(&self, kind: ProgType, interface: &str) -> Option<&Prog> {
        let here = |at: &Attach| match at {
            Attach::Xdp { interface: name, .. } | Attach::Tc { interface: name, .. } => name == interface,
            _ => false,
        };
        let found = self.programs.iter().filter(|p| p.prog.kind() == kind);
        found.into_iter().find(|p| p.points.iter().any(|point| here(&point.at))).map(|p| &p.prog)
    }

    /// Attaches the programs that are not of interfaces and pins their links below `folder` of a BPF file system. Gives the
    /// paths; when one cannot be attached or pinned, none stays.
    pub fn pin_tracing(&self, folder: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut pins = Pins::default();
        pins.folder(folder)?;
        let others =
            self.programs.iter().filter(|p| !matches!(p.prog.kind(), ProgType::Xdp | ProgType::SchedCls));
        for placed in others {
            for (index, point) in placed.points.iter().enumerate() {
                let Attached::Link(link) = attach(&placed.prog, point, &self.target)? else { continue };
                for fd in link.pinnable().unwrap_or(&[]) {
                    let name = format!("{}_{index}", file_name(&placed.symbol));
                    pins.pin(fd.as_fd(), &folder.join(name))?;
                }
            }
        }
        Ok(pins.keep())
    }
}
