//! Digests of files, also of large ones.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use ring::digest::{Context, SHA256};
use signalbeam_domain::Digest;

const BUFFER_BYTES: usize = 1 << 20;

/// A file's size and the SHA-256 of its content, while it is copied to `output`.
pub(crate) fn copy(path: &Path, output: &mut impl Write) -> io::Result<(u64, Digest)> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let (mut context, mut bytes) = (Context::new(&SHA256), 0);
    loop {
        let count = file.read(&mut buffer)?;
        let Some(read) = buffer.get(..count).filter(|read| !read.is_empty()) else { break };
        context.update(read);
        output.write_all(read)?;
        bytes += count as u64;
    }
    Ok((bytes, finish(context)))
}

/// A file's size and the SHA-256 of its content.
pub(crate) fn of_file(path: &Path) -> io::Result<(u64, Digest)> {
    copy(path, &mut io::sink())
}

fn finish(context: Context) -> Digest {
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Digest(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_digested_and_copied_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let mut copied = Vec::new();
        let (bytes, digest) = copy(&path, &mut copied).unwrap();
        // FIPS 180-2, appendix B.1.
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!((bytes, copied.as_slice()), (3, b"abc".as_slice()));
        assert_eq!(of_file(&path).unwrap(), (bytes, digest));
    }
}
