package dev.spanflow.bench;

import java.util.Arrays;

/** What a span's or resource's attributes say, by key. A key that comes twice counts with its last value. */
final class Facts {
    private final String[] texts = new String[Keys.COUNT];
    private final double[] doubles = new double[Keys.COUNT];
    private final long[] longs = new long[Keys.COUNT];
    private final byte[] kinds = new byte[Keys.COUNT];

    private static final byte NONE = 0;
    private static final byte TEXT = 1;
    private static final byte LONG = 2;
    private static final byte DOUBLE = 3;

    /** Less than 10^12 tokens and a million dollars are believed of one step. */
    private static final long MAX_TOKENS = 1_000_000_000_000L;
    private static final double MAX_NANOUSD = 1e15;

    void clear() {
        Arrays.fill(kinds, NONE);
    }

    void put(int key, String text) {
        texts[key] = text;
        kinds[key] = text.isEmpty() ? NONE : TEXT;
    }

    void put(int key, long number) {
        longs[key] = number;
        kinds[key] = LONG;
    }

    void put(int key, double number) {
        doubles[key] = number;
        kinds[key] = DOUBLE;
    }

    boolean has(int key) {
        return kinds[key] != NONE;
    }

    /** The value where it was sent as text, or {@code null}. */
    String text(int key) {
        return kinds[key] == TEXT ? texts[key] : null;
    }

    /** The first of these keys that was sent as text, or an empty string. */
    String firstText(int from, int to) {
        for (int key = from; key < to; key++) {
            if (kinds[key] == TEXT) {
                return texts[key];
            }
        }
        return "";
    }

    /** The first of these keys that holds a number of tokens, or -1. A negative number is 0. */
    long tokens(int from, int to) {
        for (int key = from; key < to; key++) {
            long tokens = switch (kinds[key]) {
                case LONG -> Math.max(0, longs[key]);
                case DOUBLE -> Double.isFinite(doubles[key]) ? (long) Math.max(0, doubles[key]) : -1;
                case TEXT -> tokens(texts[key].trim());
                default -> -1;
            };
            if (tokens >= 0 && tokens <= MAX_TOKENS) {
                return tokens;
            }
        }
        return -1;
    }

    private static long tokens(String text) {
        try {
            return Math.max(0, Long.parseLong(text));
        } catch (NumberFormatException e) {
            return -1;
        }
    }

    /** The first of these keys that holds dollars, as nano-dollars rounded half to even, or -1. */
    long nanousd(int from, int to) {
        for (int key = from; key < to; key++) {
            double usd = switch (kinds[key]) {
                case LONG -> longs[key];
                case DOUBLE -> doubles[key];
                case TEXT -> dollars(texts[key].trim());
                default -> Double.NaN;
            };
            double nano = Math.rint(Math.max(0, usd) * 1e9);
            if (nano <= MAX_NANOUSD) {
                return (long) nano;
            }
        }
        return -1;
    }

    private static double dollars(String text) {
        try {
            return Double.parseDouble(text);
        } catch (NumberFormatException e) {
            return Double.NaN;
        }
    }
}
