//! Holes in what comes from a file of the host: where its content is zeros, whatever the host's file system says.
//!
//! What a file system calls a hole differs from one host to the next, and after `cp`; it would show in the bytes of
//! what is made. So the content alone decides: in a file of at least one block, each block of zeros, counted from the
//! start of the file, is a hole; the last block may be short. A smaller file has none.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::slice::{Segment, SparseSlice};
use crate::tree::{Extent, Source};

/// The grain of holes: the block size of the images that are made.
pub const BLOCK_BYTES: usize = 4096;
/// How much is read at once.
const CHUNK_BYTES: usize = 256 * BLOCK_BYTES;

/// Returns the ranges of a file of this size that are not holes: ascending, not overlapping, not touching.
///
/// All of it is read that the host does not know to be zeros; `proceed` is asked now and then.
///
/// # Errors
/// Those of reading, of a file that is shorter than its size, and of `proceed`.
pub fn data_extents(
    file: &File,
    size_bytes: u64,
    proceed: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<Vec<Extent>> {
    if size_bytes < BLOCK_BYTES as u64 {
        return Ok(if size_bytes == 0 { Vec::new() } else { vec![Extent { offset: 0, length: size_bytes }] });
    }
    let mut extents: Vec<Extent> = Vec::new();
    let mut buffer = vec![0; CHUNK_BYTES.min(usize::try_from(size_bytes).unwrap_or(CHUNK_BYTES))];
    let mut at = 0;
    while at < size_bytes {
        proceed()?;
        // Only faster than reading zeros; where holes are unknown, the answer is `at` itself.
        at = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data.max(at) / BLOCK_BYTES as u64 * BLOCK_BYTES as u64,
            Err(Errno::NXIO) => break,
            Err(_) => at,
        };
        let length = usize::try_from(size_bytes.saturating_sub(at)).unwrap_or(usize::MAX).min(buffer.len());
        file.read_exact_at(&mut buffer[..length], at)?;
        for block in buffer[..length].chunks(BLOCK_BYTES) {
            let length = block.len() as u64;
            if block.iter().any(|&byte| byte != 0) {
                match extents.last_mut() {
                    Some(last) if last.offset + last.length == at => last.length += length,
                    _ => extents.push(Extent { offset: at, length }),
                }
            }
            at += length;
        }
    }
    Ok(extents)
}

/// Returns how many bytes of a source are data and how many are in holes.
pub fn measure(source: &dyn Source) -> (u64, u64) {
    let data = source.extents().iter().map(|extent| extent.length).sum();
    (data, source.size_bytes().saturating_sub(data))
}

/// Returns an open file as content without its blocks of zeros.
///
/// # Errors
/// As [`data_extents`].
pub fn sparse(file: Arc<File>, proceed: &mut dyn FnMut() -> io::Result<()>) -> io::Result<SparseSlice> {
    let size_bytes = file.metadata()?.len();
    let extents = data_extents(&file, size_bytes, proceed)?;
    let segment = |Extent { offset, length }| Segment { offset, length, position: offset };
    Ok(SparseSlice::new(file, size_bytes, extents.into_iter().map(segment).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the same content twice: as it is, and with a hole of the host wherever nothing else was written.
    fn dense_and_sparse(size_bytes: usize, pieces: &[(u64, &[u8])]) -> [Arc<File>; 2] {
        let files = [(); 2].map(|()| tempfile::tempfile().unwrap());
        files[0].write_all_at(&vec![0; size_bytes], 0).unwrap();
        files[1].set_len(size_bytes as u64).unwrap();
        for file in &files {
            pieces.iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
        }
        files.map(Arc::new)
    }

    #[test]
    fn zeros_are_holes_wherever_the_host_keeps_them() {
        let pieces: &[(u64, &[u8])] = &[(5000, b"a"), (9000, b"b"), (2 << 20, b"c"), (3 << 20, b"tail")];
        let cases: &[(usize, &[(u64, &[u8])], &[(u64, u64)])] = &[
            (0, &[], &[]),
            (1, &[], &[(0, 1)]),
            (4095, &[], &[(0, 4095)]),
            (4096, &[], &[]),
            (4097, &[], &[]),
            (4097, &[(4096, b"x")], &[(4096, 1)]),
            (4097, &[(0, b"x")], &[(0, 4096)]),
            ((3 << 20) + 4, pieces, &[(4096, 8192), (2 << 20, 4096), (3 << 20, 4)]),
            ((3 << 20) + 8192, pieces, &[(4096, 8192), (2 << 20, 4096), (3 << 20, 4096)]),
        ];
        for (size_bytes, pieces, wanted) in cases {
            for file in dense_and_sparse(*size_bytes, pieces) {
                let source = sparse(file.clone(), &mut || Ok(())).unwrap();
                let extents: Vec<_> = source.extents().iter().map(|extent| (extent.offset, extent.length)).collect();
                assert_eq!((source.size_bytes(), &*extents), (*size_bytes as u64, *wanted));
                let mut content = vec![1; *size_bytes];
                source.read_at(0, &mut content).unwrap();
                let mut plain = vec![1; *size_bytes];
                file.read_exact_at(&mut plain, 0).unwrap();
                assert!(content == plain, "{size_bytes}");
            }
        }
    }

    #[test]
    fn a_file_that_shrinks_and_a_caller_that_stops_are_errors() {
        let [file, _] = dense_and_sparse(10_000, &[]);
        let error = data_extents(&file, 20_000, &mut || Ok(())).err();
        // A file system that knows its holes says that nothing follows; the caller sees that the size has changed.
        assert!(error.is_none_or(|error| error.kind() == io::ErrorKind::UnexpectedEof));
        let error = data_extents(&file, 10_000, &mut || Err(io::Error::other("stop"))).unwrap_err();
        assert_eq!(error.to_string(), "stop");
    }
}
