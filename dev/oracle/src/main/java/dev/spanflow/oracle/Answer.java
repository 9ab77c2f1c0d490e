package dev.spanflow.oracle;

import java.util.ArrayList;
import java.util.List;

/** What the operator did in each step. Fields are public for the JSON writer. */
final class Answer {
    public final long id;
    public final List<Step> steps = new ArrayList<>();

    Answer(long id) {
        this.id = id;
    }

    static final class Step {
        public final List<Fired> fired = new ArrayList<>();
        /** Windows that were merged away. */
        public final List<Gone> gone = new ArrayList<>();
        /** Windows whose state was dropped after the allowed lateness. */
        public final List<Gone> dropped = new ArrayList<>();
        /** Elements of the side output. */
        public final List<Long> late = new ArrayList<>();
    }

    record Fired(String key, long start, long end, List<Long> elements) {}

    record Gone(String key, long start, long end) {}
}
