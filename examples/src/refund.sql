-- Pays refunds, each once: who is paid, the ledger and the balances in one statement.
--
-- $1 .. $9 are arrays, one element a refund. Returned are the places in them, from 1, of the refunds that were
-- paid before: by an earlier commit, by another instance, or further up in the same arrays.
--
-- Everybody locks in the same order: first refunds by their identity, then balances as an upsert of the library
-- does, by the length of the key and then by its bytes. So instances wait for each other, but never in a circle.
with refund as (
    select *,
        -- A digest, since an index takes no key of any length.
        sha256(convert_to(json_build_array(device_id, ad_id, window_end at time zone 'UTC')::text, 'UTF8')) as id
    from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bigint[],
                $7::text[], $8::int[], $9::bigint[]) with ordinality
        as u(advertiser_id, campaign_id, ad_id, device_id, window_end, amount, topic, partition, "offset", number)
), first as (
    insert into rtbflow_refunds (id, topic, partition, "offset")
    select id, topic, partition, "offset" from refund order by id, topic, partition, "offset"
    on conflict do nothing
    returning topic, partition, "offset"
), paid as (
    select refund.* from refund join first using (topic, partition, "offset")
), ledger as (
    insert into balance_ledger
        (advertiser_id, campaign_id, ad_id, device_id, kind, amount, event_time, topic, partition, "offset")
    select advertiser_id, campaign_id, ad_id, device_id, 'DUPLICATE_REFUND', amount, window_end, topic, partition,
        "offset"
    from paid
), balances as (
    insert into advertiser_balances as b (advertiser_id, balance, updated_at)
    select advertiser_id, sum(amount)::bigint, now() from paid
    group by advertiser_id order by octet_length(advertiser_id), advertiser_id collate "C"
    on conflict (advertiser_id)
    do update set balance = b.balance + excluded.balance, updated_at = excluded.updated_at
)
select number from refund
where not exists (
    select from paid
    where (paid.topic, paid.partition, paid."offset") = (refund.topic, refund.partition, refund."offset")
)
order by number
