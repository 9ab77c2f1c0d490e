package dev.spanflow.oracle;

import java.io.Serializable;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.serialization.SerializerConfigImpl;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeHint;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.api.common.typeutils.base.StringSerializer;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.api.java.tuple.Tuple4;
import org.apache.flink.streaming.api.windowing.assigners.EventTimeSessionWindows;
import org.apache.flink.streaming.api.windowing.assigners.SlidingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.assigners.WindowAssigner;
import org.apache.flink.streaming.api.windowing.triggers.EventTimeTrigger;
import org.apache.flink.streaming.api.windowing.triggers.Trigger;
import org.apache.flink.streaming.api.windowing.triggers.TriggerResult;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.streaming.runtime.operators.windowing.WindowOperator;
import org.apache.flink.streaming.runtime.operators.windowing.functions.InternalWindowFunction;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.util.Collector;
import org.apache.flink.util.OutputTag;

/** Flink's own operator. Its trigger listens to what is in no output: which windows it clears. */
final class RecordingOperator
        extends WindowOperator<
                String, Tuple2<String, Long>, Iterable<Tuple2<String, Long>>, Tuple4<String, Long, Long, List<Long>>, TimeWindow> {

    static final TypeInformation<Tuple2<String, Long>> ELEMENT = TypeInformation.of(new TypeHint<>() {});
    static final TypeInformation<Tuple4<String, Long, Long, List<Long>>> FIRING =
            Types.TUPLE(Types.STRING, Types.LONG, Types.LONG, Types.LIST(Types.LONG));
    static final OutputTag<Tuple2<String, Long>> LATE = new OutputTag<>("late", ELEMENT);

    private final boolean lateByEvent;
    private final Heard heard;

    RecordingOperator(Transcript transcript) {
        this(transcript, new Heard());
    }

    private RecordingOperator(Transcript transcript, Heard heard) {
        super(
                assigner(transcript.windows()),
                new TimeWindow.Serializer(),
                element -> element.f0,
                StringSerializer.INSTANCE,
                new ListStateDescriptor<>("elements", ELEMENT.createSerializer(new SerializerConfigImpl())),
                new Elements(),
                new RecordingTrigger(transcript.firesEveryElement(), heard),
                transcript.lateness(),
                LATE);
        this.lateByEvent = transcript.lateByEvent();
        this.heard = heard;
        heard.operator = this;
    }

    /** With the rule by event, what Flink calls a late element goes to the side output, whatever windows it has. */
    @Override
    public void processElement(StreamRecord<Tuple2<String, Long>> element) throws Exception {
        if (lateByEvent && isElementLate(element)) {
            sideOutput(element);
        } else {
            super.processElement(element);
        }
    }

    /** The windows cleared since the last call: merged away by an element, or dropped by a watermark. */
    List<Answer.Gone> takeCleared() {
        List<Answer.Gone> cleared = List.copyOf(heard.cleared);
        heard.cleared.clear();
        return cleared;
    }

    /** Flink calls its unit of time a millisecond. No rule of a window depends on the unit. */
    private static WindowAssigner<Object, TimeWindow> assigner(Transcript.Windows windows) {
        Duration size = Duration.ofMillis(windows.size());
        Duration offset = Duration.ofMillis(windows.offset());
        return switch (windows.kind()) {
            case "tumbling" -> TumblingEventTimeWindows.of(size, offset);
            case "hopping" -> SlidingEventTimeWindows.of(size, Duration.ofMillis(windows.hop()), offset);
            case "session" -> EventTimeSessionWindows.withGap(Duration.ofMillis(windows.gap()));
            default -> throw new IllegalArgumentException("no windows are called " + windows.kind());
        };
    }

    /** The operator clears a trigger when it merges its window away, and when it drops it. */
    private static final class RecordingTrigger extends Trigger<Object, TimeWindow> {
        private final EventTimeTrigger rule = EventTimeTrigger.create();
        private final boolean firesEveryElement;
        private final Heard heard;

        RecordingTrigger(boolean firesEveryElement, Heard heard) {
            this.firesEveryElement = firesEveryElement;
            this.heard = heard;
        }

        @Override
        public TriggerResult onElement(Object element, long time, TimeWindow window, TriggerContext context)
                throws Exception {
            TriggerResult result = rule.onElement(element, time, window, context);
            return firesEveryElement ? TriggerResult.FIRE : result;
        }

        @Override
        public TriggerResult onEventTime(long time, TimeWindow window, TriggerContext context) {
            return rule.onEventTime(time, window, context);
        }

        @Override
        public TriggerResult onProcessingTime(long time, TimeWindow window, TriggerContext context) throws Exception {
            return rule.onProcessingTime(time, window, context);
        }

        @Override
        public boolean canMerge() {
            return true;
        }

        @Override
        public void onMerge(TimeWindow window, OnMergeContext context) {
            rule.onMerge(window, context);
        }

        @Override
        public void clear(TimeWindow window, TriggerContext context) throws Exception {
            rule.clear(window, context);
            heard.cleared(window);
        }
    }

    private static final class Elements
            implements InternalWindowFunction<
                    Iterable<Tuple2<String, Long>>, Tuple4<String, Long, Long, List<Long>>, String, TimeWindow> {
        @Override
        public void process(
                String key,
                TimeWindow window,
                InternalWindowContext context,
                Iterable<Tuple2<String, Long>> elements,
                Collector<Tuple4<String, Long, Long, List<Long>>> out) {
            List<Long> ids = new ArrayList<>();
            elements.forEach(element -> ids.add(element.f1));
            ids.sort(null);
            out.collect(new Tuple4<>(key, window.getStart(), window.getEnd(), ids));
        }

        @Override
        public void clear(TimeWindow window, InternalWindowContext context) {}
    }

    /** Shared by operator and trigger. */
    private static final class Heard implements Serializable {
        private transient RecordingOperator operator;
        private final transient List<Answer.Gone> cleared = new ArrayList<>();

        void cleared(TimeWindow window) {
            String key = (String) operator.getCurrentKey();
            cleared.add(new Answer.Gone(key, window.getStart(), window.getEnd()));
        }
    }
}
