//! The EL3 stub as this crate sees it: bytes with a block of parameters to fill in.

use bootwrap_el3::parameters::{MAGIC, OFFSET, Parameters, SIZE_BYTES, VERSION};
use object::Endianness;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

use crate::error::Error;

/// The stub, without the ELF file around it.
#[derive(Clone, Debug)]
pub struct Stub {
    bytes: Vec<u8>,
    /// Memory it needs: code, data, stacks.
    pub memory_bytes: u64,
}

impl Stub {
    /// Takes the stub out of its ELF file, and checks that it is one, of this version.
    pub fn parse(file: &[u8]) -> Result<Stub, Error> {
        let damaged = |error: object::read::Error| Error::Stub(error.to_string());
        let header = FileHeader64::<Endianness>::parse(file).map_err(damaged)?;
        let endian = header.endian().map_err(damaged)?;
        let loads: Vec<_> = header
            .program_headers(endian, file)
            .map_err(damaged)?
            .iter()
            .filter(|header| header.p_type(endian) == PT_LOAD)
            .collect();
        let [load] = loads[..] else { return Err(Error::Stub(format!("{} segments instead of one", loads.len()))) };
        if load.p_vaddr(endian) != 0 || header.e_entry(endian) != 0 {
            return Err(Error::Stub("not linked at 0, or not entered at its first byte".into()));
        }
        let bytes = load.data(endian, file).map_err(|()| Error::Stub("the segment is cut off".into()))?.to_vec();
        let memory_bytes = load.p_memsz(endian);
        if memory_bytes < bytes.len() as u64 || memory_bytes > 1 << 20 {
            return Err(Error::Stub(format!("needs {memory_bytes} bytes of memory")));
        }
        let block = bytes.get(OFFSET..OFFSET + SIZE_BYTES).ok_or(Error::Stub("too short for its parameters".into()))?;
        let mut wanted = Vec::from(MAGIC.to_le_bytes());
        wanted.extend(VERSION.to_le_bytes());
        wanted.extend((SIZE_BYTES as u32).to_le_bytes());
        if block[..wanted.len()] != wanted {
            return Err(Error::Stub(format!(
                "no parameter block of version {VERSION} at {OFFSET:#x}: built by another version?"
            )));
        }
        Ok(Stub { bytes, memory_bytes })
    }

    /// Returns how many bytes the file brings.
    pub fn file_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Returns the bytes with the parameters in them.
    pub fn with(&self, parameters: &Parameters) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[OFFSET..OFFSET + SIZE_BYTES].copy_from_slice(&parameters.to_bytes());
        bytes
    }
}
