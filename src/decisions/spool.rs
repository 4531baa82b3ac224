//! The bytes of a large body while they are received: few in memory, more in an unnamed file.
//!
//! A large body must not stay in memory while it is received, since the client decides how long
//! that takes.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use tempfile::SpooledTempFile;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Most plugins are smaller than this. They can be received even if the disk is full.
const IN_MEMORY_MAX_BYTES: usize = 256 << 10;
/// How much is received before it is written to the spool.
const PART_BYTES: usize = 64 << 10;

#[derive(Debug, Error)]
pub enum SpoolError {
    #[error("the upload was cut off: {0}")]
    Receive(io::Error),
    #[error("the upload cannot be written to disk: {0}")]
    Keep(io::Error),
}

#[derive(Debug)]
pub struct Spool {
    file: SpooledTempFile,
    size_bytes: u64,
}

impl Spool {
    /// Reads `from` to its end. The caller bounds how much that is.
    pub async fn receive(folder: &Path, mut from: impl AsyncRead + Unpin) -> Result<Self, SpoolError> {
        let mut spool = Self { file: SpooledTempFile::new_in(IN_MEMORY_MAX_BYTES, folder), size_bytes: 0 };
        let mut part = Vec::with_capacity(PART_BYTES);
        loop {
            let mut rest = (&mut from).take((PART_BYTES - part.len()) as u64);
            let ended = rest.read_buf(&mut part).await.map_err(SpoolError::Receive)? == 0;
            if ended || part.len() == PART_BYTES {
                (spool, part) = spool.keep(part).await.map_err(SpoolError::Keep)?;
            }
            if ended {
                return Ok(spool);
            }
        }
    }

    /// Writes on a blocking thread.
    async fn keep(mut self, mut part: Vec<u8>) -> io::Result<(Self, Vec<u8>)> {
        let keeping = tokio::task::spawn_blocking(move || {
            self.file.write_all(&part)?;
            self.size_bytes += part.len() as u64;
            part.clear();
            Ok((self, part))
        });
        keeping.await.map_err(io::Error::other)?
    }

    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// What was received, from its beginning. Reading it blocks.
    pub fn into_reader(mut self) -> io::Result<impl Read + Send + 'static> {
        self.file.seek(SeekFrom::Start(0))?;
        Ok(self.file)
    }

    /// Reads everything into memory. Blocks.
    pub fn read(self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.size_bytes).unwrap_or_default());
        self.into_reader()?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_received_is_read_again_whether_it_is_in_memory_or_on_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        for size_bytes in [0, 1, PART_BYTES, PART_BYTES + 1, IN_MEMORY_MAX_BYTES, IN_MEMORY_MAX_BYTES * 3 + 7]
        {
            let bytes: Vec<u8> = (0..size_bytes).map(|place| (place % 251) as u8).collect();
            let spool = Spool::receive(folder.path(), bytes.as_slice()).await.expect("it is received");
            assert_eq!(spool.size_bytes(), size_bytes as u64);
            assert_eq!(spool.file.is_rolled(), size_bytes > IN_MEMORY_MAX_BYTES, "{size_bytes}");
            assert!(spool.read().expect("it is read") == bytes, "{size_bytes}");
        }
    }

    #[tokio::test]
    async fn few_bytes_need_no_disk_and_many_say_that_there_is_none() {
        let nowhere = Path::new("/nowhere");
        assert!(Spool::receive(nowhere, &[7; 1_000][..]).await.is_ok());
        let many = vec![7; IN_MEMORY_MAX_BYTES + 1];
        assert!(matches!(Spool::receive(nowhere, many.as_slice()).await, Err(SpoolError::Keep(_))));
    }
}
