package dev.spanflow.oracle;

import java.util.ArrayList;
import java.util.List;
import org.apache.flink.shaded.jackson2.com.fasterxml.jackson.databind.JsonNode;

/** What is done to the operator, step by step. Watermarks are exclusive: nothing older than them is expected. */
record Transcript(
        long id, Windows windows, long lateness, boolean firesEveryElement, boolean lateByEvent, List<Step> steps) {

    record Windows(String kind, long size, long hop, long offset, long gap) {}

    /** Either a watermark, or an element of a key. */
    record Step(Long watermark, String key, long time, long element) {}

    static Transcript of(JsonNode json) {
        List<Step> steps = new ArrayList<>();
        for (JsonNode step : json.required("steps")) {
            steps.add(step(step));
        }
        JsonNode windows = json.required("windows");
        return new Transcript(
                json.required("id").asLong(),
                new Windows(
                        windows.required("kind").asText(),
                        windows.path("size").asLong(),
                        windows.path("hop").asLong(),
                        windows.path("offset").asLong(),
                        windows.path("gap").asLong()),
                json.required("lateness").asLong(),
                choice(json, "trigger", "every_element", "event_time"),
                choice(json, "late", "by_event", "by_window"),
                steps);
    }

    private static Step step(JsonNode json) {
        if (json.has("watermark")) {
            return new Step(json.required("watermark").asLong(), null, 0, 0);
        }
        return new Step(
                null,
                json.required("key").asText(),
                json.required("time").asLong(),
                json.required("element").asLong());
    }

    private static boolean choice(JsonNode json, String name, String ifTrue, String ifFalse) {
        String said = json.required(name).asText();
        if (!said.equals(ifTrue) && !said.equals(ifFalse)) {
            throw new IllegalArgumentException(name + " is " + said + ", not " + ifTrue + " or " + ifFalse);
        }
        return said.equals(ifTrue);
    }
}
