package dev.spanflow.bench;

import java.io.IOException;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** From a record of the topic to its steps. The one {@link Step} that is collected is the next one's too: object reuse is on. */
abstract class Decoder implements KafkaRecordDeserializationSchema<Step> {
    private static final long serialVersionUID = 1;

    private final String firstRecordFile;
    private transient boolean hasBegun;

    /** @param firstRecordFile gets the time at which the first record was decoded. */
    Decoder(String firstRecordFile) {
        this.firstRecordFile = firstRecordFile;
    }

    @Override
    public final void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Step> out) throws IOException {
        if (record.value() != null) {
            decode(record.value(), out);
        }
        if (!hasBegun) {
            hasBegun = true;
            FirstRecord.seen(firstRecordFile);
        }
    }

    abstract void decode(byte[] value, Collector<Step> out) throws IOException;

    @Override
    public final TypeInformation<Step> getProducedType() {
        return TypeInformation.of(Step.class);
    }
}
