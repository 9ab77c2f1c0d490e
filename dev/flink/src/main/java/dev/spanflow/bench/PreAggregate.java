package dev.spanflow.bench;

import java.util.HashMap;
import java.util.Map;
import org.apache.flink.streaming.api.operators.AbstractStreamOperator;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;

/**
 * Sums the steps of one subtask by key and window before they are shuffled, as Flink's own SQL operators do with their bundles. What is
 * summed goes on before a watermark that closes one of the windows, before a checkpoint's barrier, so that there is nothing to keep in
 * state, when there are many keys, and at the end.
 */
final class PreAggregate extends AbstractStreamOperator<StepWindow> implements OneInputStreamOperator<Step, StepWindow> {
    private static final long serialVersionUID = 1;
    private static final int MOST_KEYS = 10_000;

    private final long windowMs;
    private transient Map<WindowKey, StepSums> sums;
    private transient WindowKey probe;
    private transient long firstEndMs;
    private transient StreamRecord<StepWindow> record;

    PreAggregate(long windowMs) {
        this.windowMs = windowMs;
    }

    @Override
    public void open() throws Exception {
        super.open();
        sums = new HashMap<>();
        probe = new WindowKey();
        firstEndMs = Long.MAX_VALUE;
        record = new StreamRecord<>(null);
    }

    @Override
    public void processElement(StreamRecord<Step> element) {
        Step step = element.getValue();
        long timestamp = element.getTimestamp();
        probe.key = step.key;
        probe.startMs = timestamp - Math.floorMod(timestamp, windowMs);
        StepSums found = sums.get(probe);
        if (found == null) {
            found = new StepSums();
            sums.put(new WindowKey(probe), found);
            firstEndMs = Math.min(firstEndMs, probe.startMs + windowMs);
        }
        found.add(step);
        if (sums.size() >= MOST_KEYS) {
            flush();
        }
    }

    @Override
    public void processWatermark(Watermark mark) throws Exception {
        // A window fires at its last millisecond.
        if (mark.getTimestamp() >= firstEndMs - 1) {
            flush();
        }
        super.processWatermark(mark);
    }

    @Override
    public void prepareSnapshotPreBarrier(long checkpointId) {
        flush();
    }

    @Override
    public void finish() throws Exception {
        flush();
        super.finish();
    }

    private void flush() {
        sums.forEach((key, sum) -> output.collect(record.replace(new StepWindow(key.key, key.startMs, sum), key.startMs)));
        sums.clear();
        firstEndMs = Long.MAX_VALUE;
    }

    private static final class WindowKey {
        StepKey key;
        long startMs;

        WindowKey() {}

        WindowKey(WindowKey other) {
            key = new StepKey(other.key);
            startMs = other.startMs;
        }

        @Override
        public boolean equals(Object object) {
            return object instanceof WindowKey other && startMs == other.startMs && key.equals(other.key);
        }

        @Override
        public int hashCode() {
            return 31 * key.hashCode() + Long.hashCode(startMs);
        }
    }
}
