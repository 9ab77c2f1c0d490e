package dev.spanflow.bench;

import java.io.IOException;
import java.nio.file.Path;
import java.util.concurrent.atomic.AtomicBoolean;

/** Tells the benchmark when this process has decoded its first record. */
final class FirstRecord {
    private static final AtomicBoolean TOLD = new AtomicBoolean();

    private FirstRecord() {}

    /** Writes the time, ms since 1970, into the file; only the first call of the process does. */
    static void seen(String file) throws IOException {
        if (TOLD.compareAndSet(false, true)) {
            ResultFile.replace(Path.of(file), Long.toString(System.currentTimeMillis()));
        }
    }
}
