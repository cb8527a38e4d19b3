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

    #[test]
    fn damage_at_any_byte_and_any_length_is_an_error_and_never_a_panic() {
        let whole = written();
        for at in 0..whole.len() {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 0x40;
            let damaged = chunk(bytes.into());
            assert!(ChunkReader::open(&damaged, 3).is_err(), "byte {at}");
            assert!(ChunkReader::open(&chunk(whole.slice(..at)), 3).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn another_version_names_both() {
        let error = ChunkReader::open(&chunk(written()), 4).unwrap_err();
        assert!(error.is_config());
        assert!(error.to_string().contains("version 3") && error.to_string().contains("version 4"));
    }
}
