package dev.spanflow.bench;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Strings by their bytes, so that one that comes again and again (an agent, a model, a tool) is made and hashed once. Holds a bounded
 * number; what comes beyond that is made each time.
 */
final class Words {
    private static final int SLOTS = 1 << 12;
    private static final int MOST = SLOTS / 2;

    private final byte[][] bytes = new byte[SLOTS][];
    private final String[] strings = new String[SLOTS];
    private final int[] numbers = new int[SLOTS];
    private int count;

    /** The string of these bytes. */
    String of(byte[] source, int from, int to) {
        int slot = slot(source, from, to);
        if (bytes[slot] != null) {
            return strings[slot];
        }
        String string = new String(source, from, to - from, StandardCharsets.UTF_8);
        if (count < MOST) {
            put(slot, Arrays.copyOfRange(source, from, to), string, -1);
        }
        return string;
    }

    /** Adds a string with a number to find it by. */
    void add(String string, int number) {
        byte[] source = string.getBytes(StandardCharsets.UTF_8);
        put(slot(source, 0, source.length), source, string, number);
    }

    /** The number that these bytes were added with, or -1. */
    int number(byte[] source, int from, int to) {
        int slot = slot(source, from, to);
        return bytes[slot] == null ? -1 : numbers[slot];
    }

    private void put(int slot, byte[] source, String string, int number) {
        bytes[slot] = source;
        strings[slot] = string;
        numbers[slot] = number;
        count++;
    }

    /** Where these bytes are, or would go. There is always a free slot, as at most half of them are taken. */
    private int slot(byte[] source, int from, int to) {
        int slot = Wire.hash(source, from, to) & (SLOTS - 1);
        while (bytes[slot] != null && !Arrays.equals(bytes[slot], 0, bytes[slot].length, source, from, to)) {
            slot = (slot + 1) & (SLOTS - 1);
        }
        return slot;
    }
}
