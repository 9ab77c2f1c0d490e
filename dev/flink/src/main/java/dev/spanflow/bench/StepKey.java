package dev.spanflow.bench;

/** What a step is counted by; a string is empty where nothing is known. A Flink POJO. */
public final class StepKey {
    public String agent = "";
    public String stepType = "";
    public String toolName = "";
    public String model = "";

    public StepKey() {}

    StepKey(StepKey other) {
        agent = other.agent;
        stepType = other.stepType;
        toolName = other.toolName;
        model = other.model;
    }

    @Override
    public boolean equals(Object object) {
        return object instanceof StepKey other
                && agent.equals(other.agent)
                && stepType.equals(other.stepType)
                && toolName.equals(other.toolName)
                && model.equals(other.model);
    }

    /** Strings remember their hash, so a key of strings that are seen again and again costs four loads. */
    @Override
    public int hashCode() {
        int hash = agent.hashCode();
        hash = 31 * hash + stepType.hashCode();
        hash = 31 * hash + toolName.hashCode();
        return 31 * hash + model.hashCode();
    }

    @Override
    public String toString() {
        return String.join("/", agent, stepType, toolName, model);
    }

    static int compare(StepKey a, StepKey b) {
        int order = a.agent.compareTo(b.agent);
        order = order != 0 ? order : a.stepType.compareTo(b.stepType);
        order = order != 0 ? order : a.toolName.compareTo(b.toolName);
        return order != 0 ? order : a.model.compareTo(b.model);
    }
}
