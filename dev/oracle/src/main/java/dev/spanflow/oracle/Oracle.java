package dev.spanflow.oracle;

import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple4;
import org.apache.flink.runtime.state.KeyGroupRangeAssignment;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.ObjectMapper;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;

/** Reads transcripts, one a line, and writes what Flink's window operator does with each. */
public final class Oracle {
    private static final ObjectMapper JSON = new ObjectMapper();

    private Oracle() {}

    public static void main(String[] args) throws Exception {
        if (args.length != 2) {
            System.err.println("usage: Oracle TRANSCRIPTS.jsonl ANSWERS.jsonl");
            System.exit(2);
        }
        try (BufferedReader in = Files.newBufferedReader(Path.of(args[0]));
                BufferedWriter out = Files.newBufferedWriter(Path.of(args[1]))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                Answer answer = answer(Transcript.of(JSON.readTree(line)));
                out.write(JSON.writeValueAsString(answer));
                out.newLine();
            }
        }
    }

    private static Answer answer(Transcript transcript) throws Exception {
        Answer answer = new Answer(transcript.id());
        RecordingOperator operator = new RecordingOperator(transcript);
        try (var harness = new KeyedOneInputStreamOperatorTestHarness<>(
                operator,
                (Tuple2<String, Long> element) -> element.f0,
                Types.STRING,
                KeyGroupRangeAssignment.DEFAULT_LOWER_BOUND_MAX_PARALLELISM,
                1,
                0)) {
            harness.setup(RecordingOperator.FIRING.createSerializer(
                    harness.getExecutionConfig().getSerializerConfig()));
            harness.open();
            long watermark = Long.MIN_VALUE;
            for (Transcript.Step step : transcript.steps()) {
                boolean isElement = step.watermark() == null;
                if (isElement) {
                    harness.processElement(new Tuple2<>(step.key(), step.element()), step.time());
                } else if (step.watermark() > watermark) {
                    // As the operator's input does it: a watermark never falls.
                    watermark = step.watermark();
                    harness.processWatermark(inclusive(watermark));
                }
                answer.steps.add(told(harness, operator, isElement));
            }
        }
        return answer;
    }

    /** Flink's watermark says that nothing as old as itself comes any more; ours, that nothing older does. */
    private static long inclusive(long watermark) {
        return watermark == Long.MAX_VALUE || watermark == Long.MIN_VALUE ? watermark : watermark - 1;
    }

    private static Answer.Step told(
            KeyedOneInputStreamOperatorTestHarness<
                            String, Tuple2<String, Long>, Tuple4<String, Long, Long, List<Long>>>
                    harness,
            RecordingOperator operator,
            boolean isElement) {
        Answer.Step step = new Answer.Step();
        for (Tuple4<String, Long, Long, List<Long>> fired : harness.extractOutputValues()) {
            step.fired.add(new Answer.Fired(fired.f0, fired.f1, fired.f2, fired.f3));
        }
        harness.getOutput().clear();
        var late = harness.getSideOutput(RecordingOperator.LATE);
        if (late != null) {
            for (StreamRecord<Tuple2<String, Long>> element : late) {
                step.late.add(element.getValue().f1);
            }
            late.clear();
        }
        (isElement ? step.gone : step.dropped).addAll(operator.takeCleared());
        return step;
    }
}
