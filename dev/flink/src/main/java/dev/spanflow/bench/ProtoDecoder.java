package dev.spanflow.bench;

import io.opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest;
import io.opentelemetry.proto.common.v1.AnyValue;
import io.opentelemetry.proto.common.v1.KeyValue;
import io.opentelemetry.proto.trace.v1.ResourceSpans;
import io.opentelemetry.proto.trace.v1.ScopeSpans;
import io.opentelemetry.proto.trace.v1.Span;
import io.opentelemetry.proto.trace.v1.Status;
import java.io.IOException;
import java.util.List;
import org.apache.flink.api.common.serialization.DeserializationSchema.InitializationContext;
import org.apache.flink.util.Collector;

/** Decodes with OpenTelemetry's own protobuf classes. */
final class ProtoDecoder extends Decoder {
    private static final long serialVersionUID = 1;

    private transient Facts resource;
    private transient Facts facts;
    private transient Step step;

    ProtoDecoder(String firstRecordFile) {
        super(firstRecordFile);
    }

    @Override
    public void open(InitializationContext context) {
        resource = new Facts();
        facts = new Facts();
        step = new Step();
    }

    @Override
    void decode(byte[] value, Collector<Step> out) throws IOException {
        for (ResourceSpans resourceSpans : ExportTraceServiceRequest.parseFrom(value).getResourceSpansList()) {
            read(resourceSpans.getResource().getAttributesList(), resource);
            for (ScopeSpans scopeSpans : resourceSpans.getScopeSpansList()) {
                for (Span span : scopeSpans.getSpansList()) {
                    read(span.getAttributesList(), facts);
                    step.times(span.getStartTimeUnixNano(), span.getEndTimeUnixNano());
                    Mapping.apply(resource, facts, span.getParentSpanId().isEmpty(), hasFailed(span), step);
                    out.collect(step);
                }
            }
        }
    }

    private static boolean hasFailed(Span span) {
        if (span.getStatus().getCode() == Status.StatusCode.STATUS_CODE_ERROR) {
            return true;
        }
        for (Span.Event event : span.getEventsList()) {
            if (event.getName().equals("exception")) {
                return true;
            }
        }
        return false;
    }

    private static void read(List<KeyValue> attributes, Facts facts) {
        facts.clear();
        for (KeyValue attribute : attributes) {
            int key = Keys.of(attribute.getKey());
            if (key < 0) {
                continue;
            }
            AnyValue value = attribute.getValue();
            switch (value.getValueCase()) {
                case STRING_VALUE -> facts.put(key, value.getStringValue());
                case INT_VALUE -> facts.put(key, value.getIntValue());
                case DOUBLE_VALUE -> facts.put(key, value.getDoubleValue());
                default -> { }
            }
        }
    }
}
