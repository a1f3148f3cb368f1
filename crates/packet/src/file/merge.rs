//! Several captures as one, by time: the packet that is shown is the earliest of those that are next in their files. A
//! file that is not in order itself stays so.

use super::{FileError, Packet, Reader};

/// Captures that are read together.
#[derive(Debug)]
pub struct Merge<'s> {
    files: Vec<File<'s>>,
    /// The file that has the current packet.
    current: usize,
    started: bool,
}

#[derive(Debug)]
struct File<'s> {
    reader: Reader<'s>,
    name: String,
    /// Whether it has a packet to show.
    alive: bool,
}

impl File<'_> {
    #[cold]
    fn failed(&self, error: FileError) -> MergeError {
        MergeError { name: self.name.clone(), error }
    }
}

/// Damage or a failure of one of the files; the others go on.
#[derive(Debug, thiserror::Error)]
#[error("{name}: {error}")]
pub struct MergeError {
    /// The file's name as it was given.
    pub name: String,
    /// What is wrong with it.
    pub error: FileError,
}

impl<'s> Merge<'s> {
    /// Reads these files, each with the name that messages call it by.
    pub fn new(files: Vec<(String, Reader<'s>)>) -> Merge<'s> {
        let files = files.into_iter().map(|(name, reader)| File { reader, name, alive: false }).collect();
        Merge { files, current: 0, started: false }
    }

    /// Goes to the next packet; `false` at the end of all files. After an error it goes on with what is left.
    #[inline]
    pub fn advance(&mut self) -> Result<bool, MergeError> {
        match self.files.as_mut_slice() {
            [file] => {
                let more = (!self.started || file.alive).then(|| file.reader.advance());
                (self.current, self.started) = (0, true);
                file.alive = matches!(more, Some(Ok(true)));
                match more {
                    Some(Err(error)) => Err(file.failed(error)),
                    _ => Ok(file.alive),
                }
            }
            _ => self.earliest(),
        }
    }

    /// The same for several files.
    fn earliest(&mut self) -> Result<bool, MergeError> {
        let mut failed = None;
        let step = |file: &mut File<'s>, failed: &mut Option<MergeError>| match file.reader.advance() {
            Ok(more) => file.alive = more,
            Err(error) => {
                file.alive = false;
                failed.get_or_insert(MergeError { name: file.name.clone(), error });
            }
        };
        if !self.started {
            self.started = true;
            self.files.iter_mut().for_each(|file| step(file, &mut failed));
        } else if let Some(file) = self.files.get_mut(self.current).filter(|file| file.alive) {
            step(file, &mut failed);
        }
        if let Some(error) = failed {
            // The file that failed has no packet: the next call steps over it and shows another's.
            self.current = usize::MAX;
            return Err(error);
        }
        let alive = self.files.iter().enumerate().filter(|(_, file)| file.alive);
        let first = alive.min_by_key(|(index, file)| (file.reader.packet().time, *index));
        self.current = first.map_or(usize::MAX, |(index, _)| index);
        Ok(first.is_some())
    }

    /// The only file, if there is no other.
    pub fn only(&mut self) -> Option<&mut Reader<'s>> {
        match self.files.as_mut_slice() {
            [file] => Some(&mut file.reader),
            _ => None,
        }
    }

    /// Goes to the next record that was noted in the only file; see [`Reader::next_wanted`].
    pub fn next_wanted(&mut self) -> bool {
        let [file] = self.files.as_mut_slice() else { return false };
        let found = file.reader.next_wanted();
        if found {
            (self.current, self.started, file.alive) = (0, true, true);
        }
        found
    }

    /// Index of the file that the current packet is of, and the packet.
    #[inline]
    pub fn packet(&self) -> Option<(usize, Packet<'_>)> {
        let file = self.files.get(self.current).filter(|file| file.alive)?;
        Some((self.current, file.reader.packet()))
    }

    /// The reader of one of the files.
    pub fn reader(&self, file: usize) -> Option<&Reader<'s>> {
        self.files.get(file).map(|file| &file.reader)
    }
}
