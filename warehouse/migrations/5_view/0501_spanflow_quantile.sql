CREATE OR REPLACE FUNCTION spanflow_bucket_value AS
    /* spanflow_bucket_value(bucket): the value, in µs, that stands for a logarithmic bucket (base 1.02): 0 for bucket -1,
       else the middle of the bucket, 2 * 1.02^bucket / 2.02, rounded; at most 1 % from any value of the bucket */
    (bucket) -> if(bucket < 0, 0, toUInt64(round(2 * pow(1.02, bucket) / 2.02)));

CREATE OR REPLACE FUNCTION spanflow_quantile AS
    /* spanflow_quantile(q, buckets): the q-quantile (0 to 1), in µs, of values counted in logarithmic buckets: the value of
       the smallest bucket whose cumulative count reaches max(1, ceil(q * n)); 0 when there are none. Buckets of several
       rows are added with sumMap(buckets) */
    (q, buckets) -> if(
        empty(buckets),
        toUInt64(0),
        spanflow_bucket_value(
            arraySort(mapKeys(buckets))[
                arrayFirstIndex(
                    reached -> reached >= greatest(1, ceil(q * arraySum(mapValues(buckets)))),
                    arrayCumSum(arraySort((count, bucket) -> bucket, mapValues(buckets), mapKeys(buckets)))
                )
            ]
        )
    );
