package dev.spanflow.bench;

import java.util.Arrays;

/**
 * Which logarithmic bucket a duration is in: the scheme of stream-job/src/dataflow/buckets.rs, to the bit. A bucket's bound is 1.02 to
 * the power of its number, by repeated multiplication of doubles, rounded down; -1 is the bucket of zero.
 */
final class Buckets {
    private static final double GAMMA = 1.02;
    /** Guesses per power of two, as a power of two: a step of 1/32 is at most two buckets wide. */
    private static final int GUESS_BITS = 5;

    /** Largest number of every bucket. */
    private static final long[] BOUNDS = bounds();
    /** First bucket that can hold a number, by its highest bits. */
    private static final short[] GUESSES = guesses();

    private Buckets() {}

    static int of(long us) {
        if (us <= 0) {
            return -1;
        }
        int exponent = 63 - Long.numberOfLeadingZeros(us);
        int mantissa = (int) (us << (63 - exponent) << 1 >>> (64 - GUESS_BITS));
        int bucket = GUESSES[exponent << GUESS_BITS | mantissa];
        while (BOUNDS[bucket] < us) {
            bucket++;
        }
        return bucket;
    }

    private static long[] bounds() {
        long[] bounds = new long[4096];
        int length = 0;
        double growth = 1.0;
        do {
            // A double too large for a long saturates: the last bucket ends there.
            bounds[length++] = (long) Math.floor(growth);
            growth *= GAMMA;
        } while (bounds[length - 1] != Long.MAX_VALUE);
        return Arrays.copyOf(bounds, length);
    }

    private static short[] guesses() {
        short[] guesses = new short[63 << GUESS_BITS];
        int bucket = 0;
        for (int slot = 0; slot < guesses.length; slot++) {
            int exponent = slot >> GUESS_BITS;
            long mantissa = slot & ((1 << GUESS_BITS) - 1);
            // Below 2^5 the step is less than one; rounding it down only makes the guess lower.
            long step = exponent >= GUESS_BITS ? mantissa << (exponent - GUESS_BITS) : mantissa >> (GUESS_BITS - exponent);
            long least = (1L << exponent) + step;
            while (BOUNDS[bucket] < least) {
                bucket++;
            }
            guesses[slot] = (short) bucket;
        }
        return guesses;
    }
}
