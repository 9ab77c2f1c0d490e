package dev.spanflow.bench;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;

/**
 * Kafka to one-minute windows of steps, from the topic's beginning to the end that it has at the start, on a MiniCluster in this JVM.
 *
 * <p>Arguments, all needed: {@code proto|selective BOOTSTRAP TOPIC PARALLELISM CHECKPOINT_SECONDS FOLDER}. The folder gets {@code windows.jsonl}, the
 * results; {@code first-record}, the time at which the first record was decoded; and {@code checkpoints/}.
 */
public final class WindowJob {
    private static final Duration WINDOW = Duration.ofMinutes(1);
    /** As the stream job's settings max_out_of_orderness and allowed_lateness. */
    private static final Duration MAX_OUT_OF_ORDERNESS = Duration.ofSeconds(10);
    private static final Duration ALLOWED_LATENESS = Duration.ofHours(1);

    private WindowJob() {}

    public static void main(String[] args) throws Exception {
        if (args.length != 6) {
            throw new IllegalArgumentException("arguments: proto|selective BOOTSTRAP TOPIC PARALLELISM CHECKPOINT_SECONDS FOLDER");
        }
        boolean isSelective = switch (args[0]) {
            case "proto" -> false;
            case "selective" -> true;
            default -> throw new IllegalArgumentException("no such variant: " + args[0]);
        };
        String folder = Files.createDirectories(Path.of(args[5])).toAbsolutePath().toString();
        String firstRecord = folder + "/first-record";
        Decoder decoder = isSelective ? new SelectiveDecoder(firstRecord) : new ProtoDecoder(firstRecord);
        Configuration configuration = configuration(folder, Duration.ofSeconds(Long.parseLong(args[4])));
        try (StreamExecutionEnvironment env =
                StreamExecutionEnvironment.createLocalEnvironment(Integer.parseInt(args[3]), configuration)) {
            WatermarkStrategy<Step> watermarks = WatermarkStrategy.<Step>forBoundedOutOfOrderness(MAX_OUT_OF_ORDERNESS)
                    .withTimestampAssigner((step, kafkaTime) -> step.endUs / 1_000);
            DataStream<Step> steps = env.fromSource(source(args[1], args[2], decoder), watermarks, "spans");
            DataStream<StepWindow> windows = isSelective ? preAggregated(steps) : direct(steps);
            windows.sinkTo(new ResultFile(folder + "/windows.jsonl")).setParallelism(1);
            env.execute("windows, " + args[0]);
        }
    }

    private static Configuration configuration(String folder, Duration checkpointInterval) {
        Configuration configuration = new Configuration();
        configuration.set(PipelineOptions.OBJECT_REUSE, true);
        // A type that Flink would leave to Kryo is an error.
        configuration.set(PipelineOptions.GENERIC_TYPES, false);
        configuration.set(StateBackendOptions.STATE_BACKEND, "hashmap");
        configuration.set(CheckpointingOptions.CHECKPOINTING_INTERVAL, checkpointInterval);
        configuration.set(CheckpointingOptions.CHECKPOINTING_CONSISTENCY_MODE, CheckpointingMode.EXACTLY_ONCE);
        configuration.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        configuration.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, "file://" + folder + "/checkpoints");
        return configuration;
    }

    private static KafkaSource<Step> source(String bootstrap, String topic, Decoder decoder) {
        Properties properties = new Properties();
        // For a backlog: large fetches, and as librdkafka, which the stream job reads with, no checksums over what TCP has checked.
        properties.putAll(Map.of(
                "max.poll.records", "5000",
                "max.partition.fetch.bytes", "4194304",
                "fetch.max.bytes", "16777216",
                "receive.buffer.bytes", "1048576",
                "check.crcs", "false",
                // Nobody looks at them here.
                "register.consumer.metrics", "false"));
        return KafkaSource.<Step>builder()
                .setBootstrapServers(bootstrap)
                .setTopics(topic)
                .setGroupId("bench-flink")
                .setStartingOffsets(OffsetsInitializer.earliest())
                .setBounded(OffsetsInitializer.latest())
                .setProperties(properties)
                .setDeserializer(decoder)
                .build();
    }

    private static DataStream<StepWindow> direct(DataStream<Step> steps) {
        return steps.keyBy(step -> step.key, TypeInformation.of(StepKey.class))
                .window(TumblingEventTimeWindows.of(WINDOW))
                .allowedLateness(ALLOWED_LATENESS)
                .aggregate(new Sums.OfSteps(), new Named());
    }

    private static DataStream<StepWindow> preAggregated(DataStream<Step> steps) {
        SingleOutputStreamOperator<StepWindow> partials = steps.transform(
                "pre-aggregate", TypeInformation.of(StepWindow.class), new PreAggregate(WINDOW.toMillis()));
        return partials.keyBy(partial -> partial.key, TypeInformation.of(StepKey.class))
                .window(TumblingEventTimeWindows.of(WINDOW))
                .allowedLateness(ALLOWED_LATENESS)
                .aggregate(new Sums.OfPartials(), new Named());
    }

    /** Puts key and window to the sums. */
    private static final class Named extends ProcessWindowFunction<StepSums, StepWindow, StepKey, TimeWindow> {
        private static final long serialVersionUID = 1;

        @Override
        public void process(StepKey key, Context context, Iterable<StepSums> sums, Collector<StepWindow> out) {
            out.collect(new StepWindow(key, context.window().getStart(), sums.iterator().next()));
        }
    }
}
