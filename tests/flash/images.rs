//! Images to flash: content at some places, holes between; with a map or compressed.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use xenbuild::flash::image::{Image, MapChoice};

pub const MIB: u64 = 1 << 20;
pub const KIB: u64 = 1 << 10;

/// Bytes that differ from place to place.
pub fn noise(length: u64, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = vec![0; length as usize];
    bytes.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&next()[..chunk.len()]));
    bytes
}

/// An image in a folder of its own.
pub struct Sample {
    pub folder: TempDir,
    pub path: PathBuf,
    /// What the card should hold.
    pub bytes: Vec<u8>,
    pub pieces: Vec<(u64, u64)>,
}

/// Makes a sparse image with noise at these offsets, of these lengths.
pub fn sample(size_bytes: u64, pieces: &[(u64, u64)]) -> Sample {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("card.img");
    let file = File::create(&path).unwrap();
    file.set_len(size_bytes).unwrap();
    let mut bytes = vec![0; size_bytes as usize];
    for (offset, length) in pieces {
        let noise = noise(*length, *offset + 1);
        file.write_all_at(&noise, *offset).unwrap();
        bytes[*offset as usize..(offset + length) as usize].copy_from_slice(&noise);
    }
    file.sync_all().unwrap();
    Sample { folder, path, bytes, pieces: pieces.to_vec() }
}

/// The usual one: a head, something in the middle, the end; 10 MiB.
pub fn usual() -> Sample {
    sample(10 * MIB, &[(0, 40 * KIB), (2 * MIB, 3 * MIB), (10 * MIB - 4096, 4096)])
}

impl Sample {
    pub fn open(&self) -> Image {
        Image::open(&self.path, &MapChoice::Beside, false).unwrap()
    }

    /// Writes a block map beside it, which maps the pieces.
    pub fn with_map(self) -> Self {
        let text = map_of(&self.bytes, &self.pieces);
        std::fs::write(self.folder.path().join("card.img.bmap"), text).unwrap();
        self
    }

    /// Compresses it with gzip, several members one after the other; the plain one goes.
    pub fn gzip(mut self) -> Self {
        self.path = self.folder.path().join("card.img.gz");
        let mut file = File::create(&self.path).unwrap();
        for part in self.bytes.chunks(3 << 20) {
            let mut writer = imagegen::decompress::gzip_writer(Vec::new(), 1);
            writer.write_all(part).unwrap();
            file.write_all(&writer.finish().unwrap()).unwrap();
        }
        std::fs::remove_file(self.folder.path().join("card.img")).unwrap();
        self
    }

    /// Writes an MBR with one partition, of these sectors, into the head.
    pub fn with_partition(mut self, start: u32, sectors: u32) -> Self {
        let mut sector = [0; 512];
        sector[450] = 0x83;
        sector[454..458].copy_from_slice(&start.to_le_bytes());
        sector[458..462].copy_from_slice(&sectors.to_le_bytes());
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        self.bytes[..512].copy_from_slice(&sector);
        File::options().write(true).open(&self.path).unwrap().write_all_at(&sector, 0).unwrap();
        self
    }
}

/// Returns the text of a block map, in blocks of 4 KiB.
pub fn map_of(bytes: &[u8], pieces: &[(u64, u64)]) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut ranges = String::new();
    let mut count = 0;
    for (offset, length) in pieces {
        let (first, last) = (offset / 4096, (offset + length - 1) / 4096);
        count += last - first + 1;
        let end = ((last + 1) * 4096).min(bytes.len() as u64) as usize;
        let sum = hex(&Sha256::digest(&bytes[first as usize * 4096..end]));
        ranges.push_str(&format!("<Range chksum=\"{sum}\">{first}-{last}</Range>\n"));
    }
    let (size, blocks) = (bytes.len(), bytes.len().div_ceil(4096));
    let text = format!(
        "<bmap version=\"2.0\"><ImageSize>{size}</ImageSize><BlockSize>4096</BlockSize>\
         <BlocksCount>{blocks}</BlocksCount><MappedBlocksCount>{count}</MappedBlocksCount>\
         <ChecksumType>sha256</ChecksumType><BmapFileChecksum>{}</BmapFileChecksum>\
         <BlockMap>\n{ranges}</BlockMap></bmap>\n",
        "0".repeat(64)
    );
    let sum = hex(&Sha256::digest(&text));
    text.replace(&"0".repeat(64), &sum)
}

/// Reads a file that may be large.
pub fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
