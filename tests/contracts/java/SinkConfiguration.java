import com.fasterxml.jackson.databind.ObjectMapper;
import io.debezium.connector.jdbc.JdbcSinkConnector;
import io.debezium.connector.jdbc.JdbcSinkConnectorConfig;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.kafka.common.config.ConfigValue;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.SchemaAndValue;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.runtime.SinkConnectorConfig;
import org.apache.kafka.connect.sink.SinkConnector;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.transforms.Transformation;

/**
 * Gives a connector's configuration to Connect's own classes: SinkConfiguration CONFIG [RECORD]
 *
 * Prints "error KEY SENTENCE" for every value that the worker or the connector refuses, and "unknown KEY" for every key
 * that neither knows. RECORD is a record with its schema as Connect's JSON; after the configuration's transforms it is
 * printed as "column NAME TYPE VALUE".
 */
public final class SinkConfiguration {
    public static void main(String[] arguments) throws Exception {
        Map<String, String> config = new LinkedHashMap<>();
        new ObjectMapper().readTree(Files.readString(Path.of(arguments[0]))).fields()
                .forEachRemaining(entry -> config.put(entry.getKey(), entry.getValue().asText()));
        config.put("name", "sink");
        Class<?> type = Class.forName(config.get("connector.class"));
        SinkConnector connector = (SinkConnector) type.getDeclaredConstructor().newInstance();
        connector.validate(config).configValues().forEach(SinkConfiguration::report);
        SinkConnectorConfig.configDef().validate(config).forEach(SinkConfiguration::report);
        if (connector instanceof JdbcSinkConnector) {
            // The connector itself checks little; its task does this when it starts.
            new JdbcSinkConnectorConfig(config).validate();
        }
        for (String key : config.keySet()) {
            boolean ofConverter = key.matches("(key|value)\\.converter\\..+");
            boolean ofTransform = key.startsWith("transforms.");
            boolean override = key.startsWith("consumer.override.");
            boolean known = SinkConnectorConfig.configDef().names().contains(key) || connector.config().names().contains(key);
            if (!ofConverter && !ofTransform && !override && !known) {
                System.out.println("unknown " + key);
            }
        }
        if (arguments.length > 1) {
            print(transformed(config, Files.readAllBytes(Path.of(arguments[1]))));
        }
    }

    private static void report(ConfigValue value) {
        value.errorMessages().forEach(message -> System.out.println("error " + value.name() + " " + message));
    }

    private static SinkRecord transformed(Map<String, String> config, byte[] raw) throws Exception {
        JsonConverter json = new JsonConverter();
        json.configure(Map.of("schemas.enable", "true"), false);
        SchemaAndValue value = json.toConnectData("topic", raw);
        SinkRecord record = new SinkRecord("topic", 0, null, "key", value.schema(), value.value(), 0);
        for (String step : config.getOrDefault("transforms", "").split(",")) {
            String prefix = "transforms." + step + ".";
            Map<String, String> own = new LinkedHashMap<>();
            config.forEach((key, text) -> {
                if (key.startsWith(prefix)) {
                    own.put(key.substring(prefix.length()), text);
                }
            });
            record = apply(own, record);
        }
        return record;
    }

    @SuppressWarnings("unchecked")
    private static SinkRecord apply(Map<String, String> own, SinkRecord record) throws Exception {
        Class<?> type = Class.forName(own.remove("type"));
        try (Transformation<SinkRecord> step = (Transformation<SinkRecord>) type.getDeclaredConstructor().newInstance()) {
            own.keySet().stream().filter(key -> !step.config().names().contains(key))
                    .forEach(key -> System.out.println("unknown " + type.getName() + " " + key));
            step.configure(own);
            return step.apply(record);
        }
    }

    private static void print(SinkRecord record) {
        Struct row = (Struct) record.value();
        for (Field field : row.schema().fields()) {
            System.out.println("column " + field.name() + " " + field.schema().type() + " " + row.get(field));
        }
    }
}
