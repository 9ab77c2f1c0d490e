package dev.spanflow.bench;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.flink.api.common.serialization.DeserializationSchema.InitializationContext;
import org.apache.flink.util.Collector;

/** Reads the few fields that the windows need straight from the wire format; field numbers are those of OTLP's trace.proto. */
final class SelectiveDecoder extends Decoder {
    private static final long serialVersionUID = 1;
    private static final byte[] EXCEPTION = "exception".getBytes(StandardCharsets.US_ASCII);
    private static final int STATUS_ERROR = 2;

    private transient Facts resource;
    private transient Facts facts;
    private transient Words keys;
    private transient Words words;
    private transient Step step;
    /** One walk a level: a message is walked while the one around it is. */
    private transient Wire[] levels;

    SelectiveDecoder(String firstRecordFile) {
        super(firstRecordFile);
    }

    @Override
    public void open(InitializationContext context) {
        resource = new Facts();
        facts = new Facts();
        words = new Words();
        keys = new Words();
        for (int number = 0; number < Keys.COUNT; number++) {
            keys.add(Keys.NAMES[number], number);
        }
        step = new Step();
        levels = new Wire[6];
        Arrays.setAll(levels, level -> new Wire());
    }

    @Override
    void decode(byte[] value, Collector<Step> out) throws IOException {
        Wire request = levels[0].over(value, 0, value.length);
        while (request.next()) {
            if (request.field == 1 && request.type == Wire.BYTES) {
                resourceSpans(value, request.from, request.to, out);
            }
        }
    }

    private void resourceSpans(byte[] value, int from, int to, Collector<Step> out) throws IOException {
        // The resource may stand behind its spans: first it, then them.
        resource.clear();
        Wire fields = levels[1].over(value, from, to);
        while (fields.next()) {
            if (fields.field == 1 && fields.type == Wire.BYTES) {
                Wire attributes = levels[2].over(value, fields.from, fields.to);
                while (attributes.next()) {
                    if (attributes.field == 1 && attributes.type == Wire.BYTES) {
                        attribute(value, attributes.from, attributes.to, resource);
                    }
                }
            }
        }
        fields.over(value, from, to);
        while (fields.next()) {
            if (fields.field == 2 && fields.type == Wire.BYTES) {
                Wire scope = levels[2].over(value, fields.from, fields.to);
                while (scope.next()) {
                    if (scope.field == 2 && scope.type == Wire.BYTES) {
                        span(value, scope.from, scope.to);
                        out.collect(step);
                    }
                }
            }
        }
    }

    private void span(byte[] value, int from, int to) throws IOException {
        facts.clear();
        long start = 0;
        long end = 0;
        boolean isRoot = true;
        boolean failed = false;
        Wire span = levels[3].over(value, from, to);
        while (span.next()) {
            switch (span.field) {
                case 4 -> isRoot = span.from == span.to;
                case 7 -> start = span.number;
                case 8 -> end = span.number;
                case 9 -> attribute(value, span.from, span.to, facts);
                case 11 -> failed |= isException(value, span.from, span.to);
                case 15 -> failed |= isError(value, span.from, span.to);
                default -> { }
            }
        }
        step.times(start, end);
        Mapping.apply(resource, facts, isRoot, failed, step);
    }

    private void attribute(byte[] value, int from, int to, Facts into) throws IOException {
        int key = -1;
        Wire pair = levels[4].over(value, from, to);
        while (pair.next()) {
            if (pair.field == 1) {
                key = keys.number(value, pair.from, pair.to);
                // Most attributes are long texts under keys that mean nothing here.
                if (key < 0) {
                    return;
                }
            } else if (pair.field == 2 && key >= 0) {
                any(value, pair.from, pair.to, key, into);
            }
        }
    }

    private void any(byte[] value, int from, int to, int key, Facts into) throws IOException {
        Wire any = levels[5].over(value, from, to);
        while (any.next()) {
            switch (any.field) {
                case 1 -> into.put(key, words.of(value, any.from, any.to));
                case 3 -> into.put(key, any.number);
                case 4 -> into.put(key, Double.longBitsToDouble(any.number));
                default -> { }
            }
        }
    }

    private boolean isException(byte[] value, int from, int to) throws IOException {
        Wire event = levels[4].over(value, from, to);
        while (event.next()) {
            if (event.field == 2) {
                return Arrays.equals(value, event.from, event.to, EXCEPTION, 0, EXCEPTION.length);
            }
        }
        return false;
    }

    private boolean isError(byte[] value, int from, int to) throws IOException {
        Wire status = levels[4].over(value, from, to);
        while (status.next()) {
            if (status.field == 3) {
                return status.number == STATUS_ERROR;
            }
        }
        return false;
    }
}
