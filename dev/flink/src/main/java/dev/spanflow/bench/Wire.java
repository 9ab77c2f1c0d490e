package dev.spanflow.bench;

import java.io.IOException;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

/** A walk over the fields of a protobuf message in an array: nothing is copied, what is not asked for is stepped over. */
final class Wire {
    static final int VARINT = 0;
    static final int FIXED64 = 1;
    static final int BYTES = 2;
    static final int FIXED32 = 5;

    private static final VarHandle LITTLE_ENDIAN = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

    byte[] bytes;
    int at;
    int end;

    /** The field that was read last. */
    int field;
    /** Its wire type. */
    int type;
    /** Its value, where it is a number. */
    long number;
    /** Where its bytes start and end, where it is a string, bytes or a message. */
    int from;
    int to;

    Wire over(byte[] bytes, int from, int to) {
        this.bytes = bytes;
        at = from;
        end = to;
        return this;
    }

    /** Moves to the next field; false at the end of the message. */
    boolean next() throws IOException {
        if (at >= end) {
            return false;
        }
        int tag = (int) varint();
        field = tag >>> 3;
        type = tag & 7;
        switch (type) {
            case VARINT -> number = varint();
            case FIXED64 -> {
                number = littleEndian(bytes, require(8));
                at += 8;
            }
            case BYTES -> {
                long length = varint();
                if (length < 0 || length > end - at) {
                    throw new IOException("a field of " + length + " bytes, and " + (end - at) + " are left");
                }
                from = at;
                to = at += (int) length;
            }
            case FIXED32 -> at = require(4) + 4;
            default -> throw new IOException("wire type " + type);
        }
        return true;
    }

    private int require(int length) throws IOException {
        if (end - at < length) {
            throw new IOException("the message ends within a number");
        }
        return at;
    }

    private long varint() throws IOException {
        long value = 0;
        for (int shift = 0; shift < 64 && at < end; shift += 7) {
            byte next = bytes[at++];
            value |= (long) (next & 0x7f) << shift;
            if (next >= 0) {
                return value;
            }
        }
        throw new IOException("the message ends within a number, or the number does not end");
    }

    static long littleEndian(byte[] bytes, int at) {
        return (long) LITTLE_ENDIAN.get(bytes, at);
    }

    /** A hash that tells the short, similar names of attributes apart: of the length, the first and the last eight bytes. */
    static int hash(byte[] bytes, int from, int to) {
        int length = to - from;
        long mixed;
        if (length >= 8) {
            mixed = littleEndian(bytes, from) ^ littleEndian(bytes, to - 8) * 0x9E3779B97F4A7C15L ^ length;
        } else {
            mixed = length;
            for (int i = from; i < to; i++) {
                mixed = mixed << 8 | bytes[i] & 0xff;
            }
        }
        return (int) (mixed * 0x9E3779B97F4A7C15L >>> 40);
    }
}
