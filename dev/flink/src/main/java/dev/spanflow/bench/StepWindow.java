package dev.spanflow.bench;

/** The sums of one key and window: partial before the shuffle, whole after it. A Flink POJO. */
public final class StepWindow {
    public StepKey key = new StepKey();
    /** Start of the window, ms since 1970. */
    public long startMs;
    public StepSums sums = new StepSums();

    public StepWindow() {}

    StepWindow(StepKey key, long startMs, StepSums sums) {
        this.key = key;
        this.startMs = startMs;
        this.sums = sums;
    }
}
