//! The bytes of a chunk: a version, a checksum, then of which type the entries are, and the entries.

mod format;
mod header;
mod reader;
mod writer;

pub use format::Format;
pub(crate) use header::words;
pub use reader::ChunkReader;
pub use writer::ChunkWriter;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::chunk::{BucketChange, Chunk};

    fn chunk(bytes: Bytes) -> Chunk {
        Chunk { operator: "windows".into(), bucket: 7, change: BucketChange::Append(bytes) }
    }

    fn written() -> Bytes {
        let mut writer = ChunkWriter::new(3);
        writer.put(&("a".to_owned(), 1_i64));
        writer.put(&("b".to_owned(), i64::MIN));
        writer.finish().unwrap()
    }

    #[test]
    fn entries_come_back_in_order() {
        let chunk = chunk(written());
        let mut reader = ChunkReader::open(&chunk, 3).unwrap();
        assert_eq!(reader.next_entry::<(String, i64)>().unwrap(), Some(("a".into(), 1)));
        assert_eq!(reader.next_entry::<(String, i64)>().unwrap(), Some(("b".into(), i64::MIN)));
        assert_eq!(reader.next_entry::<(String, i64)>().unwrap(), None);
    }

    /// Each that has another bit, and each that was cut.
    fn damaged(whole: &Bytes) -> impl Iterator<Item = Bytes> {
        let flipped = (0..8 * whole.len()).map(|bit| {
            let mut bytes = whole.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes.into()
        });
        flipped.chain((0..whole.len()).map(|at| whole.slice(..at)))
    }

    #[test]
    fn damage_at_any_bit_and_any_length_is_an_error_that_names_the_bucket() {
        // As earlier builds wrote it, whose checksum leaves the version out.
        let entries = b"\x92\xa1a\x00\x03";
        let older = [b"\x00\x03", &crc32fast::hash(entries).to_be_bytes()[..], entries].concat();
        for whole in [written(), older.into()] {
            assert!(ChunkReader::open(&chunk(whole.clone()), 3).is_ok());
            for bytes in damaged(&whole) {
                let error = ChunkReader::open(&chunk(bytes.clone()), 3).unwrap_err().to_string();
                assert!(error.contains("\"windows\", bucket 7"), "{bytes:?}: {error}");
            }
        }
    }

    #[test]
    fn another_version_names_both() {
        let error = ChunkReader::open(&chunk(written()), 4).unwrap_err();
        assert!(error.is_config());
        assert!(error.to_string().contains("version 3") && error.to_string().contains("version 4"));
    }
}
