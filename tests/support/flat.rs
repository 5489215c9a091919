//! ELF files as loaders of flat images want them.

/// Returns the bytes of an ELF file's segments where they are to be loaded, one after the other.
pub fn flat(file: &[u8]) -> Vec<u8> {
    use object::read::elf::{FileHeader, ProgramHeader};
    let header = object::elf::FileHeader64::<object::Endianness>::parse(file).expect("an ELF file");
    let endian = header.endian().expect("a byte order");
    let (mut bytes, mut base) = (Vec::new(), None);
    for segment in header.program_headers(endian, file).expect("program headers") {
        let data = segment.data(endian, file).expect("its bytes");
        if segment.p_type(endian) == object::elf::PT_LOAD && !data.is_empty() {
            let base = *base.get_or_insert(segment.p_vaddr(endian));
            bytes.resize((segment.p_vaddr(endian) - base) as usize, 0);
            bytes.extend_from_slice(data);
        }
    }
    bytes
}
