import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.types.Row;
import org.apache.flink.util.CloseableIterator;

/**
 * Gives CREATE TABLE files to Flink's own planner: FlinkTables plan|read FILE...
 *
 * plan: creates each table, and plans a query of all its columns, which makes connector and formats check their options.
 * read: also runs the query and prints every row with the table's name in front; the tables must be bounded.
 */
public final class FlinkTables {
    public static void main(String[] arguments) throws Exception {
        TableEnvironment flink = TableEnvironment.create(EnvironmentSettings.inStreamingMode());
        flink.getConfig().set("parallelism.default", "1");
        flink.getConfig().set("table.local-time-zone", "UTC");
        List<String> names = new ArrayList<>();
        for (int i = 1; i < arguments.length; i++) {
            Path file = Path.of(arguments[i]);
            flink.executeSql(Files.readString(file).strip().replaceAll(";$", ""));
            names.add(file.getFileName().toString().replaceAll("\\.sql$", ""));
        }
        for (String name : names) {
            String query = "SELECT * FROM `" + name + "`";
            if (flink.explainSql(query).isEmpty()) {
                throw new IllegalStateException("no plan for " + name);
            }
            System.out.println("planned " + name + " " + flink.from(name).getResolvedSchema().getColumnCount());
            if (arguments[0].equals("read")) {
                try (CloseableIterator<Row> rows = flink.executeSql(query).collect()) {
                    rows.forEachRemaining(row -> System.out.println("row " + name + " " + row));
                }
            }
        }
    }
}
