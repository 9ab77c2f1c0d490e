package dev.spanflow.bench;

/** One span, as much of it as the windows need. A Flink POJO; the decoders reuse one for all spans. */
public final class Step {
    public StepKey key = new StepKey();
    /** End of the span, µs since 1970: its event time. */
    public long endUs;
    public long durationUs;
    public boolean failed;
    public long inputTokens;
    public long outputTokens;
    public long costNanousd;

    /** Times as sent, ns since 1970. Where there is no start, or it is after the end, the duration is 0. */
    void times(long startNs, long endNs) {
        endUs = Long.divideUnsigned(endNs, 1_000);
        boolean sound = startNs != 0 && Long.compareUnsigned(startNs, endNs) <= 0;
        durationUs = sound ? Long.divideUnsigned(endNs - startNs, 1_000) : 0;
    }
}
