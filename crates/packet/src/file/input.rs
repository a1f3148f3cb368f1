//! Bytes of a capture, as a window that slides over them: a reader or a file in memory enters, slices of what lies ahead
//! leave. Compressed files (gzip) are unpacked on the way.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

/// Bytes that are read at once: they stay in the processor's cache until they are looked at.
const CHUNK: usize = 1 << 18;

/// First bytes of a gzip file (RFC 1952), with its only compression method.
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];

/// What lies ahead in a file.
pub struct Input<'s> {
    source: Source<'s>,
    /// First byte that is not consumed.
    start: usize,
    /// Behind the last byte that was read.
    end: usize,
    /// Offset in the file of `start`.
    offset: u64,
}

enum Source<'s> {
    Stream { source: Box<dyn Read + 's>, buffer: Vec<u8> },
    Memory(Memory<'s>),
}

/// All of a file in memory.
pub struct Memory<'s> {
    /// Its bytes.
    pub bytes: &'s [u8],
    /// How many of them are there at the moment: it is asked before others are looked at.
    pub present: Box<dyn Fn() -> usize + 's>,
    /// Brings bytes that will be needed soon nearer to the processor.
    pub fetch: fn(&[u8]),
}

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl<'s> Input<'s> {
    /// Starts to read; a gzip file is unpacked.
    pub fn new(source: impl Read + 's) -> io::Result<Input<'s>> {
        let mut plain = Input::stream(Box::new(source));
        if plain.ahead(GZIP.len())? && plain.bytes().starts_with(&GZIP) {
            let packed = plain.bytes().to_vec();
            if let Source::Stream { source, .. } = plain.source {
                let packed = io::Cursor::new(packed).chain(source);
                return Ok(Input::stream(Box::new(MultiGzDecoder::new(packed))));
            }
        }
        Ok(plain)
    }

    /// A file whose bytes lie in memory.
    pub fn memory(file: Memory<'s>) -> Input<'s> {
        if file.bytes.starts_with(&GZIP) {
            return Input::stream(Box::new(MultiGzDecoder::new(file.bytes)));
        }
        Input::over(Source::Memory(file))
    }

    fn stream(source: Box<dyn Read + 's>) -> Input<'s> {
        Input::over(Source::Stream { source, buffer: Vec::new() })
    }

    fn over(source: Source<'s>) -> Input<'s> {
        Input { source, start: 0, end: 0, offset: 0 }
    }

    /// Makes at least `wanted` bytes lie ahead; whether the file has so many.
    #[inline]
    pub(super) fn ahead(&mut self, wanted: usize) -> io::Result<bool> {
        if self.end - self.start >= wanted {
            return Ok(true);
        }
        self.fill(wanted)
    }

    #[cold]
    fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        let (source, buffer) = match &mut self.source {
            Source::Stream { source, buffer } => (source, buffer),
            Source::Memory(file) => {
                let there = (file.present)().min(file.bytes.len());
                self.end = there.min(self.start.saturating_add(wanted).saturating_add(CHUNK)).max(self.start);
                return Ok(self.end - self.start >= wanted);
            }
        };
        buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        while self.end < wanted {
            // Room grows with what is there, not with what a damaged length claims.
            let room = (self.end + CHUNK).next_multiple_of(CHUNK);
            if buffer.len() < room {
                buffer.resize(room, 0);
            }
            let space = buffer.get_mut(self.end..).unwrap_or_default();
            match source.read(space) {
                Ok(0) => return Ok(false),
                Ok(n) => self.end += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// All bytes that lie ahead just now.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8] {
        let all = match &self.source {
            Source::Stream { buffer, .. } => buffer.as_slice(),
            Source::Memory(file) => file.bytes,
        };
        all.get(self.start..self.end).unwrap_or_default()
    }

    /// Brings bytes of a file in memory nearer; those of a stream have just been written.
    #[inline]
    pub(super) fn fetcher(&self) -> Option<fn(&[u8])> {
        match &self.source {
            Source::Stream { .. } => None,
            Source::Memory(file) => Some(file.fetch),
        }
    }

    /// Goes on by `count` bytes, which must lie ahead.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.offset += count as u64;
    }

    /// Offset in the (unpacked) file of the next byte.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }
}
