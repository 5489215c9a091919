//! Names of addresses: what an ELF file's symbols say of the raw addresses in a log.

use object::read::elf::{ElfFile64, FileHeader};
use object::{Object, ObjectSymbol, SymbolKind};

use crate::error::{Error, Kind, Result};

/// The functions of an ELF file.
#[derive(Debug)]
pub struct Symbols {
    /// Where each begins and ends, and its name; ascending.
    functions: Vec<(u64, u64, String)>,
}

impl Symbols {
    /// Reads the symbol table of an ELF file; `title` names it in errors.
    ///
    /// # Errors
    /// [`Kind::Input`]: it is no 64-bit little-endian ELF file, or names no functions.
    pub fn read(bytes: &[u8], title: &str) -> Result<Self> {
        let wrong = |what: &dyn std::fmt::Display| Error::new(Kind::Input, format!("{title}: {what}"));
        let file = ElfFile64::<object::LittleEndian>::parse(bytes).map_err(|error| wrong(&error))?;
        let machine = file.elf_header().e_machine(object::LittleEndian);
        if machine != object::elf::EM_AARCH64 {
            return Err(wrong(&"it is for another machine, not for AArch64"));
        }
        let text = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.address() != 0);
        let mut functions: Vec<(u64, u64, String)> = text
            .filter_map(|symbol| {
                // What marks code or data for a disassembler is nobody's name.
                let name = symbol.name().ok().filter(|name| !name.is_empty() && !name.starts_with('$'))?;
                // Two hundred characters tell any function from its neighbours.
                let name: String = format!("{:#}", rustc_demangle::demangle(name)).chars().take(200).collect();
                Some((symbol.address(), symbol.address().saturating_add(symbol.size()), name))
            })
            .collect();
        if functions.is_empty() {
            return Err(wrong(&"it has no symbols of functions"));
        }
        functions.sort();
        Ok(Symbols { functions })
    }

    /// Returns the function that an address is in, and how far from its beginning.
    pub fn find(&self, address: u64) -> Option<(&str, u64)> {
        let after = self.functions.partition_point(|(start, ..)| *start <= address);
        // Of what begins at one place, the longest.
        let (start, _, name) = self.functions[..after].last().filter(|(_, end, _)| address < *end)?;
        Some((name, address - start))
    }

    /// Puts a name behind every address of a function in a line: `0x3f8000001234 (schedule::next+0x14)`.
    pub fn annotate(&self, line: &str) -> String {
        let mut out = String::with_capacity(line.len());
        let mut rest = line;
        while let Some(at) = rest.find("0x") {
            let digits = &rest[at + 2..];
            let length = digits.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(digits.len());
            let (number, after) = (&digits[..length], &digits[length..]);
            out += &rest[..at + 2 + length];
            if let Some((name, offset)) = u64::from_str_radix(number, 16).ok().and_then(|number| self.find(number)) {
                out += &format!(" ({name}+{offset:#x})");
            }
            rest = after;
        }
        out + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_functions_get_names_and_nothing_else_does() {
        let symbols = Symbols::read(crate::carried::HYPERVISOR, "hypervisor").unwrap();
        let (start, end, name) = symbols.functions.iter().max_by_key(|(start, end, _)| end - start).unwrap();
        let line = format!("  from {:#x}, x0 0x0, {end:#x}, 0xffffffffffffffffff, 0x", start + 4);
        let expected = format!("  from {:#x} ({name}+0x4), x0 0x0, ", start + 4);
        assert!(symbols.annotate(&line).starts_with(&expected), "{}", symbols.annotate(&line));
        assert!(symbols.annotate(&line).ends_with(", 0xffffffffffffffffff, 0x"));
        assert_eq!(symbols.find(symbols.functions[0].0 - 1), None);
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        assert!(Symbols::read(b"\x7fELF", "x").unwrap_err().message.starts_with("x: "));
        let without = crate::carried::HYPERVISOR[..64].to_vec();
        assert!(Symbols::read(&without, "x").is_err());
    }

    #[test]
    fn damaged_files_are_refused_or_read_but_never_run_over() {
        let mut bytes = crate::carried::HYPERVISOR.to_vec();
        let mut state = 7_u64;
        for _ in 0..200 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % bytes.len();
            let old = std::mem::replace(&mut bytes[at], (state >> 24) as u8);
            drop(Symbols::read(&bytes, "x"));
            bytes[at] = old;
            drop(Symbols::read(&bytes[..at], "x"));
        }
    }
}
