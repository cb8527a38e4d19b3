//! scratch
#![allow(warnings)]
use bytes::{BufMut, Bytes, BytesMut};
use futures::SinkExt;
use std::time::Instant;
use tokio_postgres::types::{ToSql, Type};
#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url = std::env::var("RTBFLOW_TEST_POSTGRES").unwrap();
    let (c, conn) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(conn);
    c.batch_execute("create schema if not exists scratch_pg; set search_path=scratch_pg; drop table if exists l; create table l(id bigserial primary key, advertiser_id text, campaign_id text, ad_id text, device_id text, kind text check (kind in ('CLICK_CHARGE','DUPLICATE_REFUND')), amount bigint not null, event_time timestamptz not null, topic text, partition int, \"offset\" bigint, unique (topic, partition, \"offset\"))").await.unwrap();
    let n = 10_000usize;
    let mut off = 0i64;
    for round in 0..3 {
        for mode in ["unnest", "copy"] {
            c.batch_execute("truncate l").await.unwrap();
            let t = Instant::now();
            let mut rows = 0;
            for _ in 0..20 {
                c.batch_execute("begin").await.unwrap();
                let adv: Vec<String> = (0..n).map(|i| format!("advertiser_{}", i % 1000)).collect();
                let camp: Vec<String> = (0..n).map(|i| format!("campaign_{}", i % 3000)).collect();
                let ad: Vec<String> = (0..n).map(|i| format!("ad_{}", i % 9000)).collect();
                let dev: Vec<String> =
                    (0..n).map(|i| format!("device-{:08x}-{}", i * 7919, i)).collect();
                let kind: Vec<&str> = vec!["CLICK_CHARGE"; n];
                let topic: Vec<&str> = vec!["ad-events"; n];
                let amount: Vec<i64> = (0..n as i64).map(|i| -(i % 2000)).collect();
                let offs: Vec<i64> = (0..n as i64).map(|i| off + i).collect();
                off += n as i64;
                let part: Vec<i32> = (0..n).map(|i| (i % 8) as i32).collect();
                let tim: Vec<i64> = (0..n as i64).map(|i| i).collect();
                if mode == "unnest" {
                    let p: Vec<(&(dyn ToSql + Sync), Type)> = vec![
                        (&adv, Type::TEXT_ARRAY),
                        (&camp, Type::TEXT_ARRAY),
                        (&ad, Type::TEXT_ARRAY),
                        (&dev, Type::TEXT_ARRAY),
                        (&kind, Type::TEXT_ARRAY),
                        (&amount, Type::INT8_ARRAY),
                        (&tim, Type::INT8_ARRAY),
                        (&topic, Type::TEXT_ARRAY),
                        (&part, Type::INT4_ARRAY),
                        (&offs, Type::INT8_ARRAY),
                    ];
                    rows += c.execute_typed("insert into l (advertiser_id,campaign_id,ad_id,device_id,kind,amount,event_time,topic,partition,\"offset\") select a,b,c,d,e,f,to_timestamp(g),h,i,j from unnest($1::text[],$2::text[],$3::text[],$4::text[],$5::text[],$6::int8[],$7::int8[],$8::text[],$9::int4[],$10::int8[]) u(a,b,c,d,e,f,g,h,i,j)", &p).await.unwrap();
                } else {
                    let mut b = BytesMut::new();
                    b.put_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
                    for i in 0..n {
                        b.put_i16(10);
                        for s in [&adv[i][..], &camp[i], &ad[i], &dev[i], kind[i]] {
                            b.put_i32(s.len() as i32);
                            b.put_slice(s.as_bytes());
                        }
                        b.put_i32(8);
                        b.put_i64(amount[i]);
                        b.put_i32(8);
                        b.put_i64(tim[i]);
                        b.put_i32(9);
                        b.put_slice(b"ad-events");
                        b.put_i32(4);
                        b.put_i32(part[i]);
                        b.put_i32(8);
                        b.put_i64(offs[i]);
                    }
                    b.put_i16(-1);
                    let s = c.copy_in("copy l (advertiser_id,campaign_id,ad_id,device_id,kind,amount,event_time,topic,partition,\"offset\") from stdin (format binary)").await.unwrap();
                    futures::pin_mut!(s);
                    s.send(b.freeze()).await.unwrap();
                    rows += s.finish().await.unwrap();
                }
                c.batch_execute("commit").await.unwrap();
            }
            println!("{mode} {rows} {:.0} rows/s", rows as f64 / t.elapsed().as_secs_f64());
        }
    }
    c.batch_execute("drop schema scratch_pg cascade").await.unwrap();
}
