//! Capture files that follow each other: packets and limits enter; files leave, each whole for itself. A packet is in exactly
//! one of them, and none is lost at the seam: the next file is open before the packet that no longer fits is written.

use std::collections::VecDeque;
use std::path::PathBuf;

use skep_kernel::packet::Spool;

use super::live::{Batch, Next, Taken};
use super::{Form, Matched, Sink, local_zone};
use crate::Error;

/// When the next file begins, and how many there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rotation {
    /// Bytes of a file, from which on the next packet goes to another.
    pub bytes: Option<u64>,
    /// Seconds that a file covers, by the packets' times.
    pub seconds: Option<u64>,
    /// Packets of a file.
    pub packets: Option<u64>,
    /// Most files; then the oldest is written over, or, where only time makes new files, the capture ends.
    pub files: Option<u32>,
    /// Most bytes of all files together: the oldest go.
    pub disk: Option<u64>,
}

impl Rotation {
    /// Whether there will be more than one file.
    pub fn is_any(&self) -> bool {
        self.bytes.is_some() || self.seconds.is_some() || self.packets.is_some()
    }

    /// Files end only by their time.
    fn by_time_only(&self) -> bool {
        self.seconds.is_some() && self.bytes.is_none() && self.packets.is_none()
    }
}

/// Files that are written one after another.
#[derive(Debug)]
pub struct Files {
    /// The name as it was given, perhaps with conversions of time.
    pattern: String,
    rotation: Rotation,
    /// The old format; with nanoseconds.
    old: Option<bool>,
    link: u16,
    current: Option<Current>,
    /// Files before the current one that are still there, with their bytes.
    before: VecDeque<(PathBuf, u64)>,
    /// Files that were begun.
    begun: u32,
    /// The last file's name, but for a number behind it.
    base: String,
    /// Packets that are in files.
    kept: u64,
    lost: u64,
}

#[derive(Debug)]
struct Current {
    sink: Sink<Spool>,
    path: PathBuf,
    /// Seconds since 1970 of its first packet.
    since: u64,
    packets: u64,
}

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kept {
    /// It is in a file.
    Yes,
    /// The last file is full.
    Full,
}

impl Files {
    /// Files of this name (with conversions of strftime(3) where time rotates them); `old`: in the old format, with
    /// nanoseconds. `link`: what a file without packets says.
    pub fn new(pattern: &str, rotation: Rotation, old: Option<bool>, link: u16) -> Result<Files, Error> {
        let (before, current) = (VecDeque::new(), None);
        let pattern = pattern.to_owned();
        let base = String::new();
        let (begun, kept, lost) = (0, 0, 0);
        let mut files = Files { pattern, rotation, old, link, current, before, begun, base, kept, lost };
        if !rotation.by_time_only() && rotation.seconds.is_none() {
            files.begin(0)?;
        }
        Ok(files)
    }

    /// Takes a packet.
    #[inline]
    pub fn take(&mut self, matched: &Matched<'_>) -> Result<Kept, Error> {
        let second = matched.packet.time / 1_000_000_000;
        if self.is_over(second) {
            if self.rotation.by_time_only() && self.rotation.files.is_some_and(|most| self.begun >= most) {
                return Ok(Kept::Full);
            }
            self.begin(second)?;
        }
        if let Some(most) = self.rotation.disk {
            self.make_room(most, matched.packet.data.len() as u64, second)?;
        }
        let Some(current) = &mut self.current else { return Ok(Kept::Full) };
        if current.packets == 0 {
            current.since = second;
        }
        if let (Some(block), Some(spool)) = (matched.block, current.sink.stream()) {
            spool.lend(block);
        }
        if let Err(error) = current.sink.keep(matched) {
            return Err(named(&current.path, error));
        }
        current.packets += 1;
        self.kept += 1;
        Ok(Kept::Yes)
    }

    /// Takes all packets that wait; how many they were.
    pub fn take_all(&mut self, batch: &mut Batch<'_>) -> Result<u64, Error> {
        let mut packets = 0;
        loop {
            match batch.advance() {
                Next::Packet(matched) => match self.take(&matched)? {
                    Kept::Yes => packets += 1,
                    Kept::Full => batch.judge(Taken::Full),
                },
                Next::Unwanted => {}
                Next::End => return Ok(packets),
            }
        }
    }

    /// Whether the next packet goes to another file.
    #[inline]
    fn is_over(&mut self, second: u64) -> bool {
        let rotation = self.rotation;
        let Some(current) = &mut self.current else { return true };
        if current.packets == 0 {
            return false;
        }
        let size = current.sink.stream().map_or(0, |spool| spool.size());
        rotation.bytes.is_some_and(|most| size >= most)
            || rotation.packets.is_some_and(|most| current.packets >= most)
            || rotation.seconds.is_some_and(|most| second.saturating_sub(current.since) >= most.max(1))
    }

    /// Takes the oldest files away until another packet fits below the limit of all.
    #[inline(never)]
    fn make_room(&mut self, most: u64, packet: u64, second: u64) -> Result<(), Error> {
        /// What a packet and a file take beside the packet's bytes, at most.
        const AROUND: u64 = 512;
        loop {
            let own = self.current.as_mut().and_then(|c| c.sink.stream()).map_or(0, |spool| spool.size());
            let others: u64 = self.before.iter().map(|(_, size)| size).sum();
            if own + others + packet + AROUND <= most {
                return Ok(());
            }
            if self.before.is_empty() {
                let fresh = self.current.as_ref().is_none_or(|current| current.packets == 0);
                if fresh {
                    return Err(Error::Capture(format!(
                        "a packet alone needs more than {most} bytes on disk"
                    )));
                }
                self.begin(second)?;
            }
            if let Some((path, _)) = self.before.pop_front() {
                Spool::remove(&path).map_err(|error| failed(&path, &error))?;
            }
        }
    }

    /// Ends the current file and begins the next.
    #[cold]
    fn begin(&mut self, second: u64) -> Result<(), Error> {
        let path = PathBuf::from(self.name(second));
        if self.current.as_ref().is_some_and(|current| current.path == path) {
            self.end()?;
        }
        let mut spool = Spool::create(&path).map_err(|error| failed(&path, &error))?;
        // Where room on disk is limited, all of it is for packets.
        if self.rotation.disk.is_none() {
            spool = spool.reserve();
        }
        let form = self.old.map_or(Form::Pcapng, |nano| Form::Pcap { nano });
        let sink = Sink::new(form, spool, false)?;
        self.end()?;
        self.before.retain(|(old, _)| *old != path);
        self.begun += 1;
        self.current = Some(Current { sink, path, since: second, packets: 0 });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        let Some(mut current) = self.current.take() else { return Ok(()) };
        let done = current.sink.finish(self.link);
        let (size, lost) = current.sink.stream().map_or((0, 0), |spool| (spool.size(), spool.lost()));
        // The file's own head may be among what is lost.
        let lost = lost.min(current.packets);
        self.lost += lost;
        self.kept = self.kept.saturating_sub(lost);
        let done = done.map_err(|error| named(&current.path, error));
        self.before.push_back((current.path, size));
        done
    }

    /// The next file's name.
    fn name(&mut self, second: u64) -> String {
        let number = self.begun;
        let timed = self.rotation.seconds.is_some();
        let base = if timed { date(&self.pattern, second) } else { self.pattern.clone() };
        let ring = self.rotation.files.filter(|_| !self.rotation.by_time_only());
        let fresh = timed && base != self.base;
        self.base.clone_from(&base);
        match ring {
            Some(most) if self.rotation.is_any() => {
                let digits = most.saturating_sub(1).max(1).ilog10() as usize + 1;
                format!("{base}{:0digits$}", number % most.max(1))
            }
            _ if number == 0 || fresh => base,
            _ => format!("{base}{number}"),
        }
    }

    /// For when no packets wait: writes what has waited long enough.
    pub fn settle(&mut self) -> Result<(), Error> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let path = &current.path;
        current
            .sink
            .stream()
            .map_or(Ok(()), |spool| spool.settle().map_err(|error| named(path, error.into())))
    }

    /// Ends the last file. Packets that are in files (of all that were ever written), and those that were to be and are
    /// not.
    pub fn finish(&mut self) -> (u64, u64, Result<(), Error>) {
        if self.begun == 0
            && let Err(error) = self.begin(0)
        {
            return (self.kept, self.lost, Err(error));
        }
        let done = self.end();
        (self.kept, self.lost, done)
    }
}

/// An error of the stream below with the file's name; that a reader is gone stays what it is.
#[cold]
fn named(path: &std::path::Path, error: Error) -> Error {
    match error {
        Error::Output(error) if error.kind() != std::io::ErrorKind::BrokenPipe => failed(path, &error),
        other => other,
    }
}

fn failed(path: &std::path::Path, error: &std::io::Error) -> Error {
    Error::Capture(format!("{}: {error}", path.display()))
}

/// The name with the conversions of strftime(3) that dates in names need; others stay as they are.
fn date(pattern: &str, second: u64) -> String {
    let local = i64::try_from(second).unwrap_or(0);
    let local = local + i64::from((local_zone().0)(local));
    let (year, month, day) = skep_packet::print::civil(local.div_euclid(86_400));
    let clock = local.rem_euclid(86_400);
    let mut out = String::new();
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('Y') => out += &format!("{year:04}"),
            Some('m') => out += &format!("{month:02}"),
            Some('d') => out += &format!("{day:02}"),
            Some('H') => out += &format!("{:02}", clock / 3600),
            Some('M') => out += &format!("{:02}", clock / 60 % 60),
            Some('S') => out += &format!("{:02}", clock % 60),
            Some('F') => out += &format!("{year:04}-{month:02}-{day:02}"),
            Some('T') => out += &format!("{:02}:{:02}:{:02}", clock / 3600, clock / 60 % 60, clock % 60),
            Some('s') => out += &second.to_string(),
            Some('%') => out.push('%'),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_packet::file::{Interface, Packet, Reader};

    /// Writes `count` packets of 100 bytes, one each second, and gives the times that each file has, by name.
    fn write(folder: &str, pattern: &str, rotation: Rotation, count: u64) -> (Vec<(String, Vec<u64>)>, u64) {
        let folder = std::env::temp_dir().join(format!("skep-rotate-{folder}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let interface = Interface { link: 1, snaplen: 0, name: "x".to_owned() };
        let name = folder.join(pattern).display().to_string();
        let mut files = Files::new(&name, rotation, None, 1).unwrap();
        let mut taken = 0;
        for second in 0..count {
            let time = (second + 1_000_000) * 1_000_000_000;
            let packet =
                Packet { interface: 0, time, data: &[7; 100], len: 100, direction: None, comment: None };
            match files
                .take(&Matched { packet, file: 0, interface: &interface, process: "", block: None })
                .unwrap()
            {
                Kept::Yes => taken += 1,
                Kept::Full => break,
            }
        }
        let (kept, lost, done) = files.finish();
        done.unwrap();
        assert_eq!((kept, lost), (taken, 0));
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let mut reader = Reader::new(std::fs::File::open(&path).unwrap()).unwrap();
            let mut times = Vec::new();
            while reader.advance().unwrap() {
                times.push(reader.packet().time / 1_000_000_000 - 1_000_000);
            }
            found.push((path.file_name().unwrap().to_string_lossy().into_owned(), times));
        }
        std::fs::remove_dir_all(&folder).unwrap();
        found.sort();
        (found, taken)
    }

    fn named(list: &[(&str, &[u64])]) -> Vec<(String, Vec<u64>)> {
        list.iter().map(|(name, times)| ((*name).to_owned(), times.to_vec())).collect()
    }

    #[test]
    fn packets_are_counted_into_files() {
        let rotation = Rotation { packets: Some(2), ..Rotation::default() };
        let (files, _) = write("count", "f", rotation, 5);
        assert_eq!(files, named(&[("f", &[0, 1]), ("f1", &[2, 3]), ("f2", &[4])]));
    }

    #[test]
    fn a_ring_of_files_keeps_the_newest() {
        let rotation = Rotation { packets: Some(2), files: Some(2), ..Rotation::default() };
        let (files, _) = write("ring", "f", rotation, 7);
        assert_eq!(files, named(&[("f0", &[4, 5]), ("f1", &[6])]));
        let one = Rotation { packets: Some(2), files: Some(1), ..Rotation::default() };
        assert_eq!(write("one", "f", one, 3).0, named(&[("f0", &[2])]));
    }

    #[test]
    fn time_ends_files_and_then_the_capture() {
        let rotation = Rotation { seconds: Some(3), files: Some(2), ..Rotation::default() };
        let (files, taken) = write("time", "f%s", rotation, 9);
        assert_eq!(files, named(&[("f1000000", &[0, 1, 2]), ("f1000003", &[3, 4, 5])]));
        assert_eq!(taken, 6);
        let endless = Rotation { seconds: Some(2), ..Rotation::default() };
        let (files, _) = write("same", "f", endless, 5);
        assert_eq!(files, named(&[("f", &[0, 1]), ("f1", &[2, 3]), ("f2", &[4])]));
    }

    #[test]
    fn sizes_and_the_limit_of_all_hold() {
        let size = Rotation { bytes: Some(400), ..Rotation::default() };
        let (files, _) = write("size", "f", size, 9);
        let all: Vec<u64> = files.iter().flat_map(|(_, times)| times).copied().collect();
        assert_eq!(all, (0..9).collect::<Vec<_>>(), "{files:?}");
        assert!(files.len() > 2, "{files:?}");
        let disk = Rotation { bytes: Some(600), disk: Some(2000), ..Rotation::default() };
        let (files, _) = write("disk", "f", disk, 60);
        let last = files.iter().flat_map(|(_, times)| times).max();
        assert_eq!(last, Some(&59));
        // 60 packets of 132 bytes and their files' heads would be more than 8,000 bytes.
        let kept: usize = files.iter().map(|(_, times)| times.len()).sum();
        assert!((4..15).contains(&kept), "{files:?}");
    }

    #[test]
    fn names_have_dates() {
        // Seconds of the epoch do not depend on the zone.
        assert_eq!(date("a%s%%b%q%", 12), "a12%b%q%");
        assert_eq!(date("%Y", 86_400 * 200), "1970");
    }
}
