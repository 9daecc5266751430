/*
 * One video over Kafka, from request to checked file, with kafka-clients and Jackson (JDK 17 or newer, Maven).
 *
 *     mvn -q compile exec:java -Dexec.args="<bootstrap> <job_id> <duration_s> [<prefix>]"
 */
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.math.BigDecimal;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;
import org.apache.kafka.common.serialization.StringSerializer;

import static java.nio.charset.StandardCharsets.UTF_8;

public class OneVideo {
    static final ObjectMapper JSON = new ObjectMapper();

    public static void main(String[] args) throws Exception {
        if (args.length < 3) fail("usage: OneVideo <bootstrap> <job_id> <duration_s> [<prefix>]");
        System.setProperty("org.slf4j.simpleLogger.defaultLogLevel", "warn");
        String bootstrap = args[0], jobId = args[1], prefix = args.length > 3 ? args[3] : "reelbus";
        String replies = prefix + ".replies.default.v1";
        Map<String, Object> reading = Map.of("bootstrap.servers", bootstrap, "isolation.level", "read_committed");
        Map<String, Object> writing = Map.of("bootstrap.servers", bootstrap, "acks", "all", "enable.idempotence", true);
        try (var reader = new KafkaConsumer<>(reading, new StringDeserializer(), new StringDeserializer());
             var writer = new KafkaProducer<>(writing, new StringSerializer(), new StringSerializer())) {
            List<TopicPartition> partitions = reader.partitionsFor(replies).stream()
                .map(p -> new TopicPartition(p.topic(), p.partition())).toList();
            reader.assign(partitions);
            reader.seekToEnd(partitions);
            partitions.forEach(reader::position); // seekToEnd is lazy; position() fixes it before the request goes out
            writer.send(request(prefix, jobId, new BigDecimal(args[2]), replies)).get();
            long deadline = System.nanoTime() + Duration.ofSeconds(120).toNanos();
            while (System.nanoTime() < deadline) {
                for (var record : reader.poll(Duration.ofMillis(500))) {
                    if (!jobId.equals(record.key()) || record.value() == null) continue;
                    JsonNode reply = JSON.readTree(record.value());
                    switch (reply.path("type").asText()) {
                        case "rejected" -> fail("rejected: " + reply.at("/reason/message").asText()); // it names the field at fault
                        case "finished" -> { check(jobId, reply); return; }
                        default -> { } // accepted, started, and whatever a later version adds
                    }
                }
            }
            fail("no result for " + jobId + " after 120 s");
        }
    }

    static ProducerRecord<String, String> request(String prefix, String jobId, BigDecimal durationS, String replies) throws Exception {
        var value = Map.of("job_id", jobId, "reply_topic", replies,
            "shots", List.of(Map.of("prompt", "a red circle moving left on a black background", "duration_s", durationS)),
            "output", Map.of("width_px", 320, "height_px", 180, "fps", 12));
        var record = new ProducerRecord<>(prefix + ".jobs.requested.standard.v1", jobId, JSON.writeValueAsString(value));
        byte[] ids = new byte[24];
        new SecureRandom().nextBytes(ids);
        String hex = HexFormat.of().formatHex(ids);
        Map.of("ce_specversion", "1.0", "ce_id", jobId, "ce_source", "/examples/java", "ce_type", "reelbus.jobs.requested.v1",
            "traceparent", "00-" + hex.substring(0, 32) + "-" + hex.substring(32) + "-01", "content-type", "application/json")
            .forEach((name, text) -> record.headers().add(name, text.getBytes(UTF_8)));
        return record;
    }

    static void check(String jobId, JsonNode reply) throws Exception {
        String state = reply.path("state").asText();
        if (!state.equals("completed")) fail(jobId + " ended " + state + ": " + reply.at("/reason/message").asText("no reason given"));
        JsonNode file = reply.at("/result/video/file");
        // An s3://bucket/key is fetched with GetObject of the AWS SDK.
        byte[] video = Files.readAllBytes(Path.of(URI.create(file.path("uri").asText())));
        String sha256 = HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(video));
        if (!sha256.equals(file.path("sha256").asText()) || video.length != file.path("size_bytes").asLong())
            fail(jobId + ": the file is " + sha256 + ", " + video.length + " bytes; the result says " + file);
        System.out.println("ok " + jobId + " " + sha256 + " " + video.length);
    }

    static void fail(String message) {
        System.err.println(message);
        System.exit(1);
    }
}
