//! Cards that fail: a target in memory, with faults at places and times.

use std::io;
use std::sync::Mutex;

use rustix::io::Errno;
use xenbuild::flash::target::Target;
use xenbuild::task::Cancel;

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Writing at this byte fails so often.
    Write { at: u64, times: usize },
    /// Reading at this byte fails so often.
    Read { at: u64, times: usize },
    /// A bit at this byte is stored wrongly, so often.
    Corrupt { at: u64, times: usize },
    /// After so many writes the card is that large.
    Shrink { after: usize, to: u64 },
    /// After so many writes the card is no more.
    Vanish { after: usize },
    /// There is less memory than the card says: addresses wrap around.
    Wrap { real: u64 },
    /// There is less memory than the card says: nothing is written beyond.
    Short { real: u64 },
    /// There is less memory than the card says: beyond, there is no room.
    NoRoom { real: u64 },
    /// What is written beyond is lost, and zeros are read.
    Hollow { real: u64 },
    /// Flushing fails.
    Flush,
    /// The user loses patience after so many writes.
    Cancel { after: usize },
    /// Only so many bytes are taken at a time.
    Slow { bytes: usize },
}

/// What was done to a card.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    Write { offset: u64, length: u64, zeros: bool },
    Clear { offset: u64, length: u64 },
    Read { offset: u64, length: u64 },
    Flush,
}

/// A card in memory.
pub struct Card {
    state: Mutex<State>,
    sector_bytes: usize,
    clears: bool,
    pub cancel: Cancel,
}

struct State {
    bytes: Vec<u8>,
    faults: Vec<Fault>,
    writes: usize,
    acts: Vec<Act>,
}

/// What a card was full of before.
pub const OLD: u8 = 0xaa;

impl Card {
    /// Makes a card of this size that was in use before.
    pub fn new(size_bytes: u64, faults: &[Fault]) -> Self {
        let bytes = vec![OLD; size_bytes as usize];
        let state = State { bytes, faults: faults.to_vec(), writes: 0, acts: Vec::new() };
        Card { state: Mutex::new(state), sector_bytes: 512, clears: true, cancel: Cancel::default() }
    }

    /// Makes it a card that cannot clear ranges by itself.
    pub fn that_cannot_clear(mut self) -> Self {
        self.clears = false;
        self
    }

    pub fn with_sectors(mut self, sector_bytes: usize) -> Self {
        self.sector_bytes = sector_bytes;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.state.lock().unwrap().bytes.clone()
    }

    pub fn acts(&self) -> Vec<Act> {
        self.state.lock().unwrap().acts.clone()
    }

    /// Says whether the first sector is all zeros, so that nobody takes the card for a whole one.
    pub fn has_no_head(&self) -> bool {
        self.state.lock().unwrap().bytes[..4096].iter().all(|byte| *byte == 0)
    }
}

/// Counts a fault down that lies in a range.
fn strikes(at: u64, times: &mut usize, offset: u64, length: usize) -> bool {
    let hit = (offset..offset + length as u64).contains(&at) && *times > 0;
    *times -= usize::from(hit);
    hit
}

impl State {
    /// Returns the size that the card has now, and says it has.
    fn size(&self) -> u64 {
        let mut size = self.bytes.len() as u64;
        for fault in &self.faults {
            match fault {
                Fault::Shrink { after, to } if self.writes > *after => size = size.min(*to),
                Fault::Vanish { after } if self.writes > *after => size = 0,
                _ => {}
            }
        }
        size
    }
}

impl Target for Card {
    fn name(&self) -> &str {
        "card"
    }

    fn size_bytes(&self) -> u64 {
        self.state.lock().unwrap().size()
    }

    fn sector_bytes(&self) -> usize {
        self.sector_bytes
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap();
        let state = &mut *state;
        assert_eq!(offset % self.sector_bytes as u64, 0);
        assert_eq!(bytes.as_ptr() as usize % 512, 0);
        state.writes += 1;
        let zeros = bytes == vec![0; bytes.len()];
        state.acts.push(Act::Write { offset, length: bytes.len() as u64, zeros });
        let size = state.size();
        if size == 0 {
            return Err(Errno::IO.into());
        }
        let mut room = size.saturating_sub(offset);
        let (mut place, mut flips, mut length) = (offset, Vec::new(), bytes.len());
        let mut keeps = true;
        for fault in &mut state.faults {
            if let Fault::Write { at, times } = fault
                && strikes(*at, times, offset, bytes.len())
            {
                return Err(Errno::IO.into());
            }
            if let Fault::Corrupt { at, times } = fault
                && strikes(*at, times, offset, bytes.len())
            {
                flips.push(*at);
            }
            match fault {
                Fault::Wrap { real } => place %= *real,
                Fault::Short { real } => room = room.min(real.saturating_sub(offset)),
                Fault::NoRoom { real } if offset >= *real => return Err(Errno::NOSPC.into()),
                Fault::Hollow { real } => keeps = offset < *real,
                Fault::Cancel { after } if state.writes > *after => self.cancel.set(),
                Fault::Slow { bytes } => length = length.min(*bytes),
                _ => {}
            }
        }
        let length = length.min(room as usize);
        if keeps {
            state.bytes[place as usize..place as usize + length].copy_from_slice(&bytes[..length]);
        }
        flips.into_iter().for_each(|at| state.bytes[at as usize] ^= 0x10);
        Ok(length)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.state.lock().unwrap();
        let state = &mut *state;
        state.acts.push(Act::Read { offset, length: bytes.len() as u64 });
        let size = state.size();
        if size == 0 {
            return Err(Errno::NODEV.into());
        }
        let mut room = size.saturating_sub(offset);
        let mut place = offset;
        let mut keeps = true;
        for fault in &mut state.faults {
            if let Fault::Read { at, times } = fault
                && strikes(*at, times, offset, bytes.len())
            {
                return Err(Errno::IO.into());
            }
            match fault {
                Fault::Wrap { real } => place %= *real,
                Fault::Short { real } => room = room.min(real.saturating_sub(offset)),
                Fault::Hollow { real } => keeps = offset < *real,
                _ => {}
            }
        }
        let length = bytes.len().min(room as usize);
        if keeps {
            bytes[..length].copy_from_slice(&state.bytes[place as usize..place as usize + length]);
        } else {
            bytes[..length].fill(0);
        }
        Ok(length)
    }

    fn clear(&self, offset: u64, length: u64) -> io::Result<bool> {
        let mut state = self.state.lock().unwrap();
        if self.clears {
            state.acts.push(Act::Clear { offset, length });
            state.bytes[offset as usize..(offset + length) as usize].fill(0);
        }
        Ok(self.clears)
    }

    fn flush(&self) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        state.acts.push(Act::Flush);
        if state.faults.iter().any(|fault| matches!(fault, Fault::Flush)) { Err(Errno::IO.into()) } else { Ok(()) }
    }
}
