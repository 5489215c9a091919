//! Writes an image to a target so that what looks whole is whole: the head is cleared first and written last, after all
//! the rest has been read back and compared.
//!
//! ```text
//!   clear the head -> write the rest -> flush -> read back, compare -> write the head -> flush -> read back, compare
//!                          ^                            | what differs is written again,
//!                          +----------------------------+ then everything is compared anew
//! ```

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::{Duration, SystemTime};

use twox_hash::XxHash3_128;

use super::chunk::{ALIGNMENT, Buffer, CHUNK_BYTES, HEAD_BYTES, Piece};
use super::image::{Image, Sink, Which, is_zero};
use super::target::{Target, failure};
use crate::error::{Error, Kind, Result};
use crate::task::{Cancel, Task};

/// How often a piece is written again: at once, when writing failed; and after it read back differently.
const RETRIES: usize = 3;
/// How long to wait before the first of these; each time twice as long.
const PAUSE: Duration = Duration::from_millis(50);
/// Pieces on their way between reading and writing.
const DEPTH: usize = 3;
/// Threads that read back: two keep a reader busy while one compares.
const READERS: usize = 2;

/// What was done.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Report {
    /// Bytes of content written.
    pub written_bytes: u64,
    /// Bytes of holes made to read as zeros, by whatever means.
    pub cleared_bytes: u64,
    /// Bytes read back and compared, in all rounds.
    pub compared_bytes: u64,
    /// Pieces that had to be written again.
    pub repeated: usize,
}

/// A piece that was written, and a digest of what was: 128 bits of XXH3, against faults and not against forgers.
#[derive(Clone, Copy, Debug)]
struct Entry {
    piece: Piece,
    digest: u128,
}

/// The two phases, each with whoever watches it.
pub struct Phases<'a> {
    /// Watches the writing.
    pub write: &'a dyn Task,
    /// Is told when the writing is done and the reading back begins.
    pub written: &'a dyn Fn(),
    /// Watches the reading back.
    pub compare: &'a dyn Task,
}

/// Writes an image and reads it back.
///
/// # Errors
/// - [`Kind::Input`]: the image cannot be read, is truncated, corrupt, or was changed meanwhile.
/// - [`Kind::Refused`]: the image turns out to be larger than the target.
/// - [`Kind::Device`]: the target failed, vanished, or is smaller than it says.
/// - [`Kind::Compare`]: what was read back differs, again and again.
/// - [`Kind::Interrupted`].
///
/// After each of them, either nothing was written, or the head of the target is zeros and the message says so.
pub fn run(image: &Image, target: &dyn Target, phases: &Phases<'_>) -> Result<Report> {
    let mut job = Job { image, target, promised: target.size_bytes(), report: Report::default(), to_compare: 0 };
    phases.write.cancel().check()?;
    let old_backup = job.look_at_end()?;
    job.clear(old_backup)
        .and_then(|()| job.look_for_repetition())
        .and_then(|()| job.run(phases))
        .map_err(|error| unusable(error, target.name()))?;
    Ok(job.report)
}

/// Adds to an error what has become of the card.
fn unusable(error: Error, name: &str) -> Error {
    let text = format!("{name} is unusable as it is: its old content is gone, and its first block is still cleared");
    match error.kind {
        Kind::Interrupted => Error::new(Kind::Interrupted, format!("interrupted: {text}")).hint("flash it again"),
        _ => error.hint(text),
    }
}

struct Job<'a> {
    image: &'a Image,
    target: &'a dyn Target,
    /// The size of the target when it was opened.
    promised: u64,
    report: Report,
    /// Bytes to read back in all rounds, as far as is known.
    to_compare: u64,
}

impl Job<'_> {
    /// Does all that follows once the target shows no old content.
    fn run(&mut self, phases: &Phases<'_>) -> Result<()> {
        let cancel = phases.write.cancel();
        let (ledger, head) = self.write_all(phases.write)?;
        self.flush()?;
        (phases.written)();
        let all = ledger.iter().chain(head.iter().map(|(entry, _)| entry));
        self.to_compare = all.map(|entry| entry.piece.length as u64).sum();
        phases.compare.total(self.to_compare);
        self.compare_and_repeat(&ledger, phases.compare)?;
        cancel.check()?;
        let mut entries = Vec::new();
        for (entry, mut buffer) in head {
            self.write_piece(entry.piece, buffer.bytes_mut(), cancel)?;
            self.report.written_bytes += entry.piece.length as u64;
            entries.push(entry);
        }
        self.flush()?;
        self.compare_and_repeat(&entries, phases.compare).inspect_err(|_| {
            // The table is there by now, and must not stay.
            let _ = self.clear(None);
        })
    }

    /// Looks whether the target ends where it says, while nothing is lost yet; returns where an old GPT has its backup.
    fn look_at_end(&self) -> Result<Option<u64>> {
        let sector = self.target.sector_bytes();
        let mut buffer = Buffer::new();
        let last = (self.promised / sector as u64).saturating_sub(1) * sector as u64;
        let tail = &mut buffer.bytes_mut()[..sector.min(self.promised as usize)];
        let length = self.read(last, tail)?;
        if length < tail.len() {
            return Err(failure(self.target, self.promised, "reading", last + length as u64, None));
        }
        Ok((last >= HEAD_BYTES && tail.starts_with(b"EFI PART")).then_some(last))
    }

    /// Clears the head, and the sector of an old backup, so that nothing looks like a disk until it is one.
    fn clear(&self, old_backup: Option<u64>) -> Result<()> {
        let (mut buffer, never) = (Buffer::new(), Cancel::default());
        let head = HEAD_BYTES.min(self.promised) as usize;
        self.write(0, &mut buffer.bytes_mut()[..head], &never)?;
        if let Some(last) = old_backup {
            self.write(last, &mut buffer.bytes_mut()[..self.target.sector_bytes()], &never)?;
        }
        self.flush()
    }

    /// Fails if a mark at the end of the head shows elsewhere: most forged cards leave upper bits of addresses out, so
    /// that memory of 2^n bytes repeats.
    fn look_for_repetition(&self) -> Result<()> {
        let sector = self.target.sector_bytes();
        let (mut buffer, mut mark) = (Buffer::new(), vec![0; sector]);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let text = format!("xenbuild looks whether this is found elsewhere, too: {}", now.as_nanos());
        mark[..text.len()].copy_from_slice(text.as_bytes());
        let place = HEAD_BYTES - sector as u64;
        let powers = std::iter::successors(Some(HEAD_BYTES), |power| power.checked_mul(2));
        let places: Vec<u64> =
            powers.map(|power| power + place).take_while(|at| at + sector as u64 <= self.promised).collect();
        if places.is_empty() {
            return Ok(());
        }
        let bytes = &mut buffer.bytes_mut()[..sector];
        bytes.copy_from_slice(&mark);
        self.write(place, bytes, &Cancel::default())?;
        self.flush()?;
        let repeats = places.into_iter().find(|at| {
            bytes.fill(0);
            // A place that cannot be read is for others to find.
            self.read_some(*at, bytes).is_ok() && *bytes == *mark
        });
        bytes.fill(0);
        self.write(place, bytes, &Cancel::default())?;
        repeats.map_or(Ok(()), |at| Err(self.lies(place, at)))
    }

    fn lies(&self, written: u64, found: u64) -> Error {
        let name = self.target.name();
        let message =
            format!("{name} lies about its size: what was written at byte {written} is found at byte {found}");
        Error::new(Kind::Compare, message).hint("such a card is a forgery: do not use it")
    }

    /// Writes everything but the head, which it returns.
    fn write_all(&mut self, task: &dyn Task) -> Result<(Vec<Entry>, Vec<(Entry, Buffer)>)> {
        if let Some((data, holes)) = self.image.amounts() {
            task.total(data + holes);
        } else {
            // What the table of a compressed image speaks of; it may hold more.
            task.total(self.image.needs().bytes);
        }
        let (mut ledger, mut head) = (Vec::new(), Vec::new());
        self.pump(Which::All, task.cancel(), &mut |job, entry, mut buffer| {
            let Entry { piece, .. } = entry;
            if piece.end() > job.promised {
                let message = format!("{} has {} bytes, and the image is larger", job.target.name(), job.promised);
                return Err(Error::new(Kind::Refused, message));
            }
            if piece.is_head() && !piece.zeros {
                head.push((entry, buffer));
                task.advance(piece.length as u64);
                return Ok(None);
            }
            job.put(piece, &mut buffer, task.cancel())?;
            ledger.push(entry);
            task.advance(piece.length as u64);
            Ok(Some(buffer))
        })?;
        Ok((ledger, head))
    }

    /// Brings one piece about: writes it, or makes it read as zeros.
    fn put(&mut self, piece: Piece, buffer: &mut Buffer, cancel: &Cancel) -> Result<()> {
        if !piece.zeros {
            self.report.written_bytes += piece.length as u64;
            return self.write_piece(piece, buffer.bytes_mut(), cancel);
        }
        self.report.cleared_bytes += piece.length as u64;
        // The head was cleared already. What the device says about the rest, reading back will show.
        if piece.is_head() || matches!(self.target.clear(piece.offset, piece.length as u64), Ok(true)) {
            return Ok(());
        }
        // Reading is faster than writing and wears nothing out: most of a new card is zeros.
        let length = self.padded(piece);
        let read = self.read(piece.offset, &mut buffer.bytes_mut()[..length]);
        if read.is_ok_and(|read| read >= piece.length) && is_zero(&buffer.bytes()[..piece.length]) {
            return Ok(());
        }
        buffer.bytes_mut()[..length].fill(0);
        self.write_piece(piece, buffer.bytes_mut(), cancel)
    }

    /// Reads the image in one thread, and hands its pieces, with digests, to `each` in this one.
    fn pump(
        &mut self,
        which: Which<'_>,
        cancel: &Cancel,
        each: &mut dyn FnMut(&mut Self, Entry, Buffer) -> Result<Option<Buffer>>,
    ) -> Result<()> {
        let image = self.image;
        std::thread::scope(|scope| {
            let (full_sender, full) = sync_channel(DEPTH);
            let (empty, empty_receiver) = channel();
            let reader = scope.spawn(move || image.read(which, cancel, &mut Pipe { full_sender, empty_receiver }));
            let mut result = Ok(());
            for (entry, buffer) in &full {
                match each(self, entry, buffer) {
                    // A reader that is done takes no more buffers.
                    Ok(Some(buffer)) => drop(empty.send(buffer)),
                    Ok(None) => {}
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                }
            }
            // The reader sees that nobody takes its pieces any more.
            drop((full, empty));
            let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result.and(read)
        })
    }

    /// Compares everything; writes again what differs, and compares anew.
    fn compare_and_repeat(&mut self, ledger: &[Entry], task: &dyn Task) -> Result<()> {
        let mut count = 0;
        loop {
            let differing = self.compare(ledger, task)?;
            let Some(first) = differing.first() else { break };
            let (name, at) = (self.target.name(), first.entry.piece.offset);
            self.check_for_lies(ledger, &differing)?;
            if count == RETRIES {
                let what = match &first.problem {
                    Some(problem) => format!("cannot be read back: {problem}"),
                    None => "reads back differently".into(),
                };
                let message = format!(
                    "{name} does not keep what is written: byte {at} {what}, after {RETRIES} more attempts ({} bytes in \
                     {} pieces are bad)",
                    differing.iter().map(|bad| bad.entry.piece.length).sum::<usize>(),
                    differing.len(),
                );
                return Err(Error::new(Kind::Compare, message).hint("the card, its reader or the cable is failing"));
            }
            count += 1;
            task.note(&format!("{name}: {} pieces from byte {at} on are not as written; again", differing.len()));
            pause(count, task.cancel());
            task.cancel().check()?;
            self.repeat(&differing, task.cancel())?;
            self.flush()?;
            self.to_compare += ledger.iter().map(|entry| entry.piece.length as u64).sum::<u64>();
            task.total(self.to_compare);
        }
        Ok(())
    }

    /// Writes pieces again, from the image.
    fn repeat(&mut self, differing: &[Differing], cancel: &Cancel) -> Result<()> {
        let pieces: Vec<Piece> = differing.iter().map(|bad| bad.entry.piece).collect();
        let mut wanted = differing.iter();
        self.report.repeated += pieces.len();
        self.pump(Which::These(&pieces), cancel, &mut |job, entry, mut buffer| {
            let before = wanted.next().expect("as many pieces come as were asked for").entry;
            if entry.digest != before.digest {
                let message = format!("{} was changed while it was written", job.image.path().display());
                return Err(Error::new(Kind::Input, message));
            }
            if entry.piece.zeros {
                buffer.bytes_mut()[..entry.piece.length].fill(0);
            }
            job.write_piece(entry.piece, buffer.bytes_mut(), cancel)?;
            Ok(Some(buffer))
        })
    }

    /// Reads everything back, and returns what is not as it was written, in ascending order.
    fn compare(&mut self, ledger: &[Entry], task: &dyn Task) -> Result<Vec<Differing>> {
        let next = AtomicUsize::new(0);
        let differing = Mutex::new(Vec::new());
        let job = &*self;
        std::thread::scope(|scope| {
            let work = || -> Result<()> {
                let mut buffer = Buffer::new();
                while let Some(entry) = ledger.get(next.fetch_add(1, Ordering::Relaxed)) {
                    task.cancel().check()?;
                    if let Some(bad) = job.compare_piece(*entry, &mut buffer)? {
                        differing.lock().expect("no reader panics").push(bad);
                    }
                    task.advance(entry.piece.length as u64);
                }
                Ok(())
            };
            let others: Vec<_> = (1..READERS.min(ledger.len())).map(|_| scope.spawn(work)).collect();
            let mine = work();
            others.into_iter().fold(mine, |result, other| {
                result.and(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            })
        })?;
        self.report.compared_bytes += ledger.iter().map(|entry| entry.piece.length as u64).sum::<u64>();
        let mut differing = differing.into_inner().expect("no reader panics");
        differing.sort_by_key(|bad| bad.entry.piece.offset);
        Ok(differing)
    }

    fn compare_piece(&self, entry: Entry, buffer: &mut Buffer) -> Result<Option<Differing>> {
        let piece = entry.piece;
        let length = self.padded(piece);
        let read = match self.read_some(piece.offset, &mut buffer.bytes_mut()[..length]) {
            Ok(read) => read,
            // A place that cannot be read may be so after it was written again; a device that has gone may not.
            Err(error) => {
                let failure = failure(self.target, self.promised, "reading", piece.offset, Some(&error));
                let at_this_place =
                    self.target.size_bytes() >= self.promised && error.raw_os_error().is_none_or(is_local);
                return if at_this_place {
                    Ok(Some(Differing { entry, found: None, problem: Some(error.to_string()) }))
                } else {
                    Err(failure)
                };
            }
        };
        if read < piece.length {
            return Err(failure(self.target, self.promised, "reading", piece.offset + read as u64, None));
        }
        let found = digest(&buffer.bytes()[..piece.length], false);
        Ok((found != entry.digest).then_some(Differing { entry, found: Some(found), problem: None }))
    }

    /// Fails if what was written at one place is found at another: a card with less memory than it says wraps around.
    fn check_for_lies(&self, ledger: &[Entry], differing: &[Differing]) -> Result<()> {
        let written: HashMap<(u128, usize), u64> = ledger
            .iter()
            .filter(|entry| !entry.piece.zeros)
            .map(|entry| ((entry.digest, entry.piece.length), entry.piece.offset))
            .collect();
        for bad in differing {
            let piece = bad.entry.piece;
            let elsewhere = bad.found.and_then(|found| written.get(&(found, piece.length)));
            if let Some(at) = elsewhere.filter(|at| **at != piece.offset) {
                return Err(self.lies(*at, piece.offset));
            }
        }
        Ok(())
    }

    /// Returns the length of a piece in whole sectors, where the target has room for that.
    fn padded(&self, piece: Piece) -> usize {
        let length = piece.length.next_multiple_of(self.target.sector_bytes());
        if piece.offset + length as u64 <= self.promised { length } else { piece.length }
    }

    /// Writes a piece, padded with zeros.
    fn write_piece(&self, piece: Piece, bytes: &mut [u8], cancel: &Cancel) -> Result<()> {
        let length = self.padded(piece);
        bytes[piece.length..length].fill(0);
        self.write(piece.offset, &mut bytes[..length], cancel)
    }

    /// Writes bytes: again where that failed, and at last block by block, so that an error names the one that is bad.
    fn write(&self, offset: u64, bytes: &mut [u8], cancel: &Cancel) -> Result<()> {
        for attempt in 1..=RETRIES {
            match self.write_once(offset, bytes) {
                Ok(()) => return Ok(()),
                Err(Stopped { error: None, at }) => {
                    return Err(failure(self.target, self.promised, "writing", at, None));
                }
                Err(Stopped { error: Some(error), at }) => {
                    let local = error.raw_os_error().is_none_or(is_local);
                    if !local || self.target.size_bytes() < self.promised {
                        return Err(failure(self.target, self.promised, "writing", at, Some(&error)));
                    }
                }
            }
            pause(attempt, cancel);
            cancel.check()?;
        }
        for (index, block) in bytes.chunks(ALIGNMENT).enumerate() {
            let at = offset + (index * ALIGNMENT) as u64;
            self.write_once(at, block).map_err(|stopped| {
                failure(self.target, self.promised, "writing", stopped.at, stopped.error.as_ref())
            })?;
        }
        Ok(())
    }

    fn write_once(&self, offset: u64, bytes: &[u8]) -> Result<(), Stopped> {
        let mut done = 0;
        while done < bytes.len() {
            match self.target.write_at(&bytes[done..], offset + done as u64) {
                Ok(0) => return Err(Stopped { at: offset + done as u64, error: None }),
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Stopped { at: offset + done as u64, error: Some(error) }),
            }
        }
        Ok(())
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> Result<usize> {
        self.read_some(offset, bytes)
            .map_err(|error| failure(self.target, self.promised, "reading", offset, Some(&error)))
    }

    /// Reads until the memory is full or the target ends.
    fn read_some(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match self.target.read_at(&mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn flush(&self) -> Result<()> {
        self.target.flush().map_err(|error| {
            let failed = failure(self.target, self.promised, "flushing", 0, Some(&error));
            if failed.message.contains("has gone") || failed.message.contains("has shrunk") {
                return failed;
            }
            Error::new(Kind::Device, format!("{} failed to keep what was written", self.target.name())).caused_by(error)
        })
    }
}

/// Where a write stopped, and why; at the end, for no reason.
struct Stopped {
    at: u64,
    error: Option<io::Error>,
}

/// A piece that is not as it was written.
struct Differing {
    entry: Entry,
    /// The digest of what is there.
    found: Option<u128>,
    /// Why nothing could be read.
    problem: Option<String>,
}

/// Says whether an error is about a place on the medium, so that trying again may help.
fn is_local(code: i32) -> bool {
    use rustix::io::Errno;
    [
        Errno::IO,
        Errno::TIMEDOUT,
        Errno::ILSEQ,
        Errno::AGAIN,
        Errno::NOMEM,
        Errno::REMOTEIO,
        Errno::NODATA,
        Errno::BADMSG,
    ]
    .iter()
    .any(|errno| errno.raw_os_error() == code)
}

/// Waits before another attempt, unless nobody wants it any more.
fn pause(attempt: usize, cancel: &Cancel) {
    if !cancel.is_set() {
        std::thread::sleep(PAUSE * (1 << (attempt - 1).min(4)));
    }
}

fn digest(bytes: &[u8], zeros: bool) -> u128 {
    if zeros { XxHash3_128::oneshot(&ZEROS[..bytes.len()]) } else { XxHash3_128::oneshot(bytes) }
}

static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

/// The way of buffers: full ones go to the writer, and empty ones come back.
struct Pipe {
    full_sender: SyncSender<(Entry, Buffer)>,
    empty_receiver: Receiver<Buffer>,
}

impl Sink for Pipe {
    fn buffer(&mut self) -> Result<Buffer> {
        if let Ok(buffer) = self.empty_receiver.try_recv() {
            return Ok(buffer);
        }
        // The channel's capacity bounds how many there are on their way; the head keeps one more.
        Ok(Buffer::new())
    }

    fn piece(&mut self, piece: Piece, buffer: Buffer) -> Result<()> {
        let digest = digest(&buffer.bytes()[..piece.length], piece.zeros);
        // Whoever stopped taking them has an error of its own to tell.
        self.full_sender
            .send((Entry { piece, digest }, buffer))
            .map_err(|_| Error::new(Kind::Interrupted, "the writer stopped"))
    }
}
