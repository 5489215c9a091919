//! Writes the .axf: an ELF executable with one segment and one section per blob, and symbols at their ends.
//!
//! Loaders differ in what they read (QEMU and Arm's models: segments; U-Boot's `bootelf`: sections; debuggers: either), so both
//! tables say the same, with physical equal to virtual addresses. Nothing in the file depends on when or where it was written.

use std::io::{self, Write};

use object::Endianness;
use object::elf;
use object::write::StreamingBuffer;
use object::write::elf::{FileHeader, ProgramHeader, SectionHeader, Sym, Writer};

use crate::error::Error;
use crate::payload::Payload;

/// Segments start on such a boundary in the file, and their addresses are equal modulo it.
const PAGE: u64 = 0x1000;

/// One blob of an executable.
pub struct Segment<'a> {
    /// Section name, as in `.kernel`; without the dot it begins the names of the symbols `kernel__start` and `kernel__end`.
    pub name: &'a str,
    /// Physical address.
    pub address: u64,
    /// Its bytes.
    pub payload: &'a dyn Payload,
    /// Memory it needs, at least its length; the loader clears the rest.
    pub memory_bytes: u64,
    /// Whether it is run rather than read.
    pub executable: bool,
}

/// Writes an executable that begins at `entry`.
pub fn write(out: &mut dyn Write, entry: u64, segments: &[Segment<'_>]) -> Result<(), Error> {
    let failed = |error: io::Error| Error::Io("ELF file".into(), error);
    let refused = |error: object::write::Error| failed(io::Error::other(error.to_string()));
    let names: Vec<[String; 2]> = segments
        .iter()
        .map(|segment| ["start", "end"].map(|end| format!("{}__{end}", segment.name.trim_start_matches('.'))))
        .collect();
    let mut buffer = StreamingBuffer::new(out);
    let mut writer = Writer::new(Endianness::Little, true, &mut buffer);

    // Everything is reserved first, then written in the same order.
    writer.reserve_file_header();
    writer.reserve_program_headers(segments.len() as u32);
    let mut offsets = Vec::new();
    for segment in segments {
        // Congruent to the address, as loaders that map files expect.
        let start = writer.reserve(0, PAGE) + segment.address % PAGE;
        writer.reserve_until(start);
        writer.reserve(segment.payload.size_bytes(), 1);
        offsets.push(start);
    }
    writer.reserve_null_section_index();
    let mut sections = Vec::new();
    for segment in segments {
        sections.push((writer.add_section_name(segment.name.as_bytes()), writer.reserve_section_index()));
    }
    writer.reserve_symtab_section_index();
    writer.reserve_strtab_section_index();
    writer.reserve_shstrtab_section_index();
    writer.reserve_null_symbol_index();
    let mut symbols = Vec::new();
    for (names, &(_, section)) in names.iter().zip(&sections) {
        for name in names {
            symbols.push(writer.add_string(name.as_bytes()));
            writer.reserve_symbol_index(Some(section));
        }
    }
    writer.reserve_symtab();
    writer.reserve_strtab().map_err(refused)?;
    writer.reserve_shstrtab().map_err(refused)?;
    writer.reserve_section_headers();

    writer.write_file_header(&file_header(entry)).map_err(refused)?;
    writer.write_align_program_headers();
    for (segment, &offset) in segments.iter().zip(&offsets) {
        writer.write_program_header(&program_header(segment, offset));
    }
    for (segment, &offset) in segments.iter().zip(&offsets) {
        writer.pad_until(offset);
        let mut sink = Sink { writer: &mut writer, left: segment.payload.size_bytes() };
        let copied = segment.payload.copy_to(&mut sink);
        let left = sink.left;
        copied.map_err(|error| Error::Io(segment.name.into(), error))?;
        if left > 0 {
            return Err(Error::Io(segment.name.into(), io::ErrorKind::UnexpectedEof.into()));
        }
    }
    writer.write_null_symbol();
    for (index, (segment, &(_, section))) in segments.iter().zip(&sections).enumerate() {
        for (end, value) in [segment.address, segment.address + segment.memory_bytes].into_iter().enumerate() {
            let st_name = writer.string_offset(Some(symbols[2 * index + end]));
            writer.write_symbol(&symbol(st_name, section.0, value));
        }
    }
    writer.write_strtab();
    writer.write_shstrtab();
    writer.write_null_section_header();
    for ((segment, &offset), &(name, _)) in segments.iter().zip(&offsets).zip(&sections) {
        let sh_name = writer.section_name_offset(Some(name));
        writer.write_section_header(&section_header(segment, offset, sh_name));
    }
    // All symbols but the null one are global.
    writer.write_symtab_section_header(1);
    writer.write_strtab_section_header();
    writer.write_shstrtab_section_header();
    buffer.result().map_err(failed)
}

fn file_header(e_entry: u64) -> FileHeader {
    FileHeader {
        os_abi: elf::ELFOSABI_NONE,
        abi_version: 0,
        e_type: elf::ET_EXEC,
        e_machine: elf::EM_AARCH64,
        e_entry,
        e_flags: elf::FileFlags(0),
    }
}

fn program_header(segment: &Segment<'_>, p_offset: u64) -> ProgramHeader {
    ProgramHeader {
        p_type: elf::PT_LOAD,
        p_flags: elf::PF_R | elf::PF_W | if segment.executable { elf::PF_X } else { elf::ProgramFlags(0) },
        p_offset,
        p_vaddr: segment.address,
        p_paddr: segment.address,
        p_filesz: segment.payload.size_bytes(),
        p_memsz: segment.memory_bytes,
        p_align: PAGE,
    }
}

/// A section holds what is in the file; a segment's cleared tail is left to the program headers, and the stub and the kernels clear
/// their own.
fn section_header(segment: &Segment<'_>, sh_offset: u64, sh_name: u32) -> SectionHeader {
    SectionHeader {
        sh_name,
        sh_type: elf::SHT_PROGBITS,
        sh_flags: elf::SHF_ALLOC
            | elf::SHF_WRITE
            | if segment.executable { elf::SHF_EXECINSTR } else { elf::SectionFlags(0) },
        sh_addr: segment.address,
        sh_offset,
        sh_size: segment.payload.size_bytes(),
        sh_link: 0,
        sh_info: 0,
        sh_addralign: 1 << segment.address.trailing_zeros().min(12),
        sh_entsize: 0,
    }
}

fn symbol(st_name: u32, section: u32, st_value: u64) -> Sym {
    Sym {
        section: Some(section),
        st_name,
        st_info: elf::SymbolInfo::new(elf::STB_GLOBAL, elf::STT_NOTYPE),
        st_other: elf::SymbolOther(0),
        st_shndx: elf::SymbolSection(0),
        st_value,
        st_size: 0,
    }
}

/// Passes a payload on to the file, but not more of it than was reserved.
struct Sink<'w, 'a> {
    writer: &'w mut Writer<'a>,
    left: u64,
}

impl Write for Sink<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left =
            self.left.checked_sub(bytes.len() as u64).ok_or_else(|| io::Error::other("grew while it was read"))?;
        self.writer.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
