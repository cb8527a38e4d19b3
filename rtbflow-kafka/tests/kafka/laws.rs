//! The laws that every source keeps.

use rdkafka::message::{Header, OwnedHeaders};
use rtbflow::codec::{DecodeWith, decode_with};
use rtbflow::epoch::{DeadLetter, Original};
use rtbflow::source::{ByDecoder, ByTopic, Decoded, RawRecord};
use rtbflow::testing::laws::{self, SourceUnderTest};
use rtbflow::{BadRecord, Origin, Partition, Topic};
use rtbflow_kafka::{Kafka, KafkaTopic};

use crate::server::{kafka, topic, write, write_one};

pub(crate) struct Written {
    pub(crate) kafka: Kafka,
    pub(crate) topic: String,
    pub(crate) records: Vec<DeadLetter>,
}

pub(crate) type Length = fn(&RawRecord<'_>) -> Result<usize, BadRecord>;

impl SourceUnderTest for Written {
    type Source = Decoded<KafkaTopic, ByDecoder<DecodeWith<Length>>>;

    fn source(&self) -> Self::Source {
        let length: Length = |record| Ok(record.value.map_or(0, <[u8]>::len));
        self.kafka.topic(&self.topic).decode(decode_with(length))
    }

    fn records(&self) -> Vec<DeadLetter> {
        self.records.clone()
    }
}

/// Two topics of different counts, each with a decoder of its own.
struct Both {
    numbers: Written,
    texts: Written,
}

type Text = fn(&RawRecord<'_>) -> Result<String, BadRecord>;

impl SourceUnderTest for Both {
    type Source =
        Decoded<KafkaTopic, ByTopic<ByDecoder<DecodeWith<Length>>, ByDecoder<DecodeWith<Text>>>>;

    fn source(&self) -> Self::Source {
        let text: Text = |record| {
            let value = record.value.unwrap_or_default().to_vec();
            String::from_utf8(value).map_err(|_| BadRecord::new("no text"))
        };
        let texts = kafka().topic(&self.texts.topic).decode(decode_with(text));
        self.numbers.source().with(texts)
    }

    fn records(&self) -> Vec<DeadLetter> {
        self.numbers.records().into_iter().chain(self.texts.records()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_topics_together_keep_the_laws_of_sources() {
    let written = async |topic: String, counts: &[u64]| {
        let mut records = Vec::new();
        for (count, number) in counts.iter().zip(0..) {
            write(&topic, number, 0..*count).await;
            records
                .extend((0..i64::try_from(*count).unwrap()).map(|at| letter(&topic, number, at)));
        }
        Written { kafka: kafka(), topic, records }
    };
    let numbers = written(topic("laws-four", 4).await, &[700, 3, 0, 1]).await;
    let texts = written(topic("laws-two", 2).await, &[5, 600]).await;
    laws::source(&Both { numbers, texts }).await;
}

pub(crate) fn letter(topic: &str, number: i32, offset: i64) -> DeadLetter {
    let origin = Origin::new(Partition::new(Topic::new(topic), number), offset);
    let (key, value) = (Some(b"k".to_vec()), Some(offset.to_string().into_bytes()));
    let original = Original::new(key, value, Vec::new());
    DeadLetter::record(origin, original, BadRecord::new(""))
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_laws_of_sources() {
    let topic = topic("laws", 1).await;
    write(&topic, 0, 0..1200).await;
    let odd: [(Option<&[u8]>, Option<&[u8]>); 4] = [
        (None, Some(b"\xff\x00not UTF-8")),
        (Some(b""), Some(b"")),
        (Some(b"\xfe"), None),
        (None, None),
    ];
    let mut records: Vec<DeadLetter> = (0..1200).map(|offset| letter(&topic, 0, offset)).collect();
    for ((key, value), offset) in odd.into_iter().zip(1200..) {
        let header = |key, value| Header::<&[u8]> { key, value };
        let headers = OwnedHeaders::new()
            .insert(header("trace", Some(b"\xff\xfe".as_slice())))
            .insert(header("none", None))
            .insert(header("trace", Some(b"".as_slice())));
        write_one(&topic, key, value, headers).await;
        let mut record = letter(&topic, 0, offset);
        record.key = key.map(<[u8]>::to_vec);
        record.value = value.map(<[u8]>::to_vec);
        record.headers = vec![
            ("trace".to_owned(), Some(b"\xff\xfe".to_vec())),
            ("none".to_owned(), None),
            ("trace".to_owned(), Some(Vec::new())),
        ];
        records.push(record);
    }
    laws::source(&Written { kafka: kafka(), topic, records }).await;
}
