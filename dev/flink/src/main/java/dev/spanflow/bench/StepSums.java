package dev.spanflow.bench;

/** Sums over the steps of one key and window. A Flink POJO. */
public final class StepSums {
    public long count;
    public long errors;
    public long durationSumUs;
    public long durationMaxUs;
    public long inputTokens;
    public long outputTokens;
    public long costNanousd;
    /** The bucket that the first of the counts is of. */
    public int firstBucket;
    /** Durations by logarithmic bucket, from {@link #firstBucket} on. */
    public long[] buckets = new long[0];

    void add(Step step) {
        count++;
        errors += step.failed ? 1 : 0;
        durationSumUs += step.durationUs;
        durationMaxUs = Math.max(durationMaxUs, step.durationUs);
        inputTokens += step.inputTokens;
        outputTokens += step.outputTokens;
        costNanousd += step.costNanousd;
        int bucket = Buckets.of(step.durationUs);
        reach(bucket, bucket + 1);
        buckets[bucket - firstBucket]++;
    }

    void add(StepSums other) {
        count += other.count;
        errors += other.errors;
        durationSumUs += other.durationSumUs;
        durationMaxUs = Math.max(durationMaxUs, other.durationMaxUs);
        inputTokens += other.inputTokens;
        outputTokens += other.outputTokens;
        costNanousd += other.costNanousd;
        if (other.buckets.length > 0) {
            reach(other.firstBucket, other.firstBucket + other.buckets.length);
            int shift = other.firstBucket - firstBucket;
            for (int i = 0; i < other.buckets.length; i++) {
                buckets[i + shift] += other.buckets[i];
            }
        }
    }

    /** Makes room for the buckets from {@code from} to before {@code to}, with some to spare on both sides. */
    private void reach(int from, int to) {
        int end = firstBucket + buckets.length;
        if (buckets.length > 0 && from >= firstBucket && to <= end) {
            return;
        }
        boolean fresh = buckets.length == 0;
        int newFirst = fresh ? from - 16 : from < firstBucket ? from - 16 : firstBucket;
        int newEnd = fresh ? to + 16 : to > end ? to + 16 : end;
        long[] grown = new long[newEnd - newFirst];
        System.arraycopy(buckets, 0, grown, fresh ? 0 : firstBucket - newFirst, buckets.length);
        firstBucket = newFirst;
        buckets = grown;
    }
}
