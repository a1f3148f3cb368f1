//! What stays of an object when the program that loaded it ends: pins of its programs, maps and links.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::{Failure, Loaded, failure};
use crate::error::Error;
use crate::pin::{Pins, file_name};

impl Loaded {
    /// Pins below `folder` of a BPF file system: programs as `NAME`, maps as `maps/NAME`, links, where there are any, as
    /// `links/NAME`. Gives the paths; when one cannot be made, none stays.
    pub fn pin(&mut self, folder: &Path) -> Result<Vec<PathBuf>, Vec<Failure>> {
        let of = |e: Error| failure(&folder.display().to_string(), e);
        let mut pins = Pins::default();
        pins.folder(folder).map_err(of)?;
        for placed in &self.programs {
            let path = folder.join(file_name(&placed.symbol));
            pins.pin(&placed.prog, &path).map_err(|e| failure(&placed.symbol, e))?;
        }
        let maps = folder.join("maps");
        for map in &self.maps {
            pins.folder(&maps).map_err(of)?;
            let path = maps.join(file_name(map.name()));
            pins.pin(map, &path).map_err(|e| failure(map.name(), e))?;
        }
        let links = folder.join("links");
        for (link, name) in self.links.iter().zip(&self.link_names) {
            pins.folder(&links).map_err(of)?;
            let fds = link.pinnable().ok_or_else(|| {
                let why =
                    "it has no BPF link that could stay (perf links are 5.15, tcx links 6.6)".to_owned();
                failure(name, Error::Unavailable { what: format!("pin the link of {name}"), why })
            })?;
            for (index, fd) in fds.iter().enumerate() {
                let file = file_name(name);
                let file = if index == 0 { file } else { format!("{file}_{index}") };
                pins.pin(fd.as_fd(), &links.join(file)).map_err(|e| failure(name, e))?;
            }
        }
        pins.join(std::mem::take(&mut self.pins));
        Ok(pins.keep())
    }

    /// Leaves the pins of maps that are pinned by name.
    pub fn keep_pins(&mut self) {
        std::mem::take(&mut self.pins).keep();
    }

    /// Output of iterators, each once it has been read to its end.
    pub fn iterator_outputs(&mut self) -> Result<Vec<Vec<u8>>, Error> {
        let threads = std::mem::take(&mut self.iterations);
        threads
            .into_iter()
            .map(|thread| {
                let ended = thread.join();
                ended.unwrap_or_else(|_| {
                    Err(Error::Damaged { what: "iterator".into(), why: "its reader has ended early".into() })
                })
            })
            .collect()
    }
}
