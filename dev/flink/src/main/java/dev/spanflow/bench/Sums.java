package dev.spanflow.bench;

import org.apache.flink.api.common.functions.AggregateFunction;

/** What the windows keep: one {@link StepSums} a key and window, which is added to in place. */
final class Sums {
    private Sums() {}

    /** Of steps. */
    static final class OfSteps extends Base<Step> {
        private static final long serialVersionUID = 1;

        @Override
        public StepSums add(Step step, StepSums sums) {
            sums.add(step);
            return sums;
        }
    }

    /** Of sums from before the shuffle. */
    static final class OfPartials extends Base<StepWindow> {
        private static final long serialVersionUID = 1;

        @Override
        public StepSums add(StepWindow partial, StepSums sums) {
            sums.add(partial.sums);
            return sums;
        }
    }

    private abstract static class Base<T> implements AggregateFunction<T, StepSums, StepSums> {
        private static final long serialVersionUID = 1;

        @Override
        public StepSums createAccumulator() {
            return new StepSums();
        }

        @Override
        public StepSums getResult(StepSums sums) {
            return sums;
        }

        @Override
        public StepSums merge(StepSums a, StepSums b) {
            a.add(b);
            return a;
        }
    }
}
