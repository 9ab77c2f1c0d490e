package dev.spanflow.bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import java.io.IOException;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Comparator;
import java.util.TreeMap;
import org.apache.flink.api.connector.sink2.Sink;
import org.apache.flink.api.connector.sink2.SinkWriter;
import org.apache.flink.api.connector.sink2.WriterInitContext;

/**
 * Keeps what each window was when it fired last and, at the end of the input, writes all of them to a file, one JSON object a line, with
 * the names that the stream job uses. With a parallelism of one.
 */
final class ResultFile implements Sink<StepWindow> {
    private static final long serialVersionUID = 1;

    private final String path;

    ResultFile(String path) {
        this.path = path;
    }

    @Override
    public SinkWriter<StepWindow> createWriter(WriterInitContext context) {
        return new Writer(Path.of(path));
    }

    /** Writes a file that is there only as a whole. */
    static void replace(Path path, String text) throws IOException {
        Path part = path.resolveSibling(path.getFileName() + ".part");
        Files.writeString(part, text);
        Files.move(part, path, StandardCopyOption.ATOMIC_MOVE);
    }

    private static final class Writer implements SinkWriter<StepWindow> {
        private final Path path;
        private final TreeMap<StepWindow, StepSums> windows =
                new TreeMap<>(Comparator.<StepWindow>comparingLong(window -> window.startMs)
                        .thenComparing(window -> window.key, StepKey::compare));

        Writer(Path path) {
            this.path = path;
        }

        @Override
        public void write(StepWindow window, Context context) {
            windows.put(window, window.sums);
        }

        @Override
        public void flush(boolean endOfInput) throws IOException {
            if (!endOfInput) {
                return;
            }
            StringWriter text = new StringWriter();
            try (JsonGenerator json = new JsonFactory().createGenerator(text)) {
                json.setRootValueSeparator(null);
                for (var entry : windows.entrySet()) {
                    write(json, entry.getKey(), entry.getValue());
                    json.writeRaw('\n');
                }
            }
            replace(path, text.toString());
        }

        private static void write(JsonGenerator json, StepWindow window, StepSums sums) throws IOException {
            json.writeStartObject();
            json.writeStringField("agent", window.key.agent);
            json.writeStringField("step_type", window.key.stepType);
            json.writeStringField("tool_name", window.key.toolName);
            json.writeStringField("model", window.key.model);
            json.writeNumberField("window_start", window.startMs / 1_000);
            json.writeNumberField("count", sums.count);
            json.writeNumberField("errors", sums.errors);
            json.writeNumberField("duration_sum_us", sums.durationSumUs);
            json.writeNumberField("duration_max_us", sums.durationMaxUs);
            json.writeNumberField("input_tokens", sums.inputTokens);
            json.writeNumberField("output_tokens", sums.outputTokens);
            json.writeNumberField("cost_nanousd", sums.costNanousd);
            json.writeArrayFieldStart("duration_buckets");
            for (int i = 0; i < sums.buckets.length; i++) {
                if (sums.buckets[i] != 0) {
                    json.writeStartArray();
                    json.writeNumber(sums.firstBucket + i);
                    json.writeNumber(sums.buckets[i]);
                    json.writeEndArray();
                }
            }
            json.writeEndArray();
            json.writeEndObject();
        }

        @Override
        public void close() {}
    }
}
