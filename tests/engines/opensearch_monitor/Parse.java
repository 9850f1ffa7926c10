import org.opensearch.common.settings.Settings;
import org.opensearch.common.xcontent.LoggingDeprecationHandler;
import org.opensearch.common.xcontent.XContentHelper;
import org.opensearch.common.xcontent.json.JsonXContent;
import org.opensearch.commons.alerting.model.BucketLevelTrigger;
import org.opensearch.commons.alerting.model.DocLevelMonitorInput;
import org.opensearch.commons.alerting.model.DocumentLevelTrigger;
import org.opensearch.commons.alerting.model.Input;
import org.opensearch.commons.alerting.model.Monitor;
import org.opensearch.commons.alerting.model.QueryLevelTrigger;
import org.opensearch.commons.alerting.model.SearchInput;
import org.opensearch.core.xcontent.NamedXContentRegistry;
import org.opensearch.core.xcontent.ToXContent;
import org.opensearch.core.xcontent.XContentParser;
import org.opensearch.search.SearchModule;

import java.math.BigDecimal;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Parses each file that is named as an alerting monitor; prints a line for each, empty if nothing is wrong. The plugin
 * skips keys that it doesn't know, so what the parsed monitor no longer says is wrong too.
 */
public final class Parse {
    /** How the plugin writes what may be written in other ways. */
    private static final Map<String, String> OTHER_NAMES = Map.of(
        "aggs", "aggregations", "gte", "from", "gt", "from", "lte", "to", "lt", "to", "value", "wildcard"
    );
    /** What a text alone stands for where the plugin writes an object: of a term, of a match, of a script. */
    private static final List<String> SHORT_FORMS = List.of("value", "wildcard", "query", "source", "field", "fields");

    private static final Pattern TAG = Pattern.compile("\\{\\{(?!period_(start|end)}}).{0,20}");

    public static void main(String[] files) throws Exception {
        List<NamedXContentRegistry.Entry> entries = new ArrayList<>(new SearchModule(Settings.EMPTY, List.of()).getNamedXContents());
        entries.addAll(List.of(
            SearchInput.Companion.getXCONTENT_REGISTRY(), DocLevelMonitorInput.Companion.getXCONTENT_REGISTRY(),
            QueryLevelTrigger.Companion.getXCONTENT_REGISTRY(), BucketLevelTrigger.Companion.getXCONTENT_REGISTRY(),
            DocumentLevelTrigger.Companion.getXCONTENT_REGISTRY()
        ));
        NamedXContentRegistry registry = new NamedXContentRegistry(entries);
        for (String file : files) {
            String problem;
            try {
                problem = String.join("; ", parse(registry, Files.readString(Path.of(file))));
            } catch (Exception error) {
                problem = error.getMessage() == null ? error.toString() : error.getMessage();
                for (Throwable cause = error.getCause(); cause != null; cause = cause.getCause()) {
                    problem += ": " + cause.getMessage();
                }
            }
            System.out.println(problem.replaceAll("\\s*\\R\\s*", " "));
        }
    }

    private static List<String> parse(NamedXContentRegistry registry, String json) throws Exception {
        Map<?, ?> given = XContentHelper.convertToMap(JsonXContent.jsonXContent, json, true);
        Monitor monitor;
        try (XContentParser parser = JsonXContent.jsonXContent.createParser(registry, LoggingDeprecationHandler.INSTANCE, json)) {
            parser.nextToken();
            monitor = Monitor.parse(parser);
        }
        String written = monitor.toXContent(JsonXContent.contentBuilder(), ToXContent.EMPTY_PARAMS).toString();
        List<String> problems = new ArrayList<>();
        // The plugin takes any other text for the type of another plugin's monitors.
        if (Arrays.stream(Monitor.MonitorType.values()).noneMatch(type -> type.getValue().equals(monitor.getMonitorType()))) {
            problems.add("monitor_type " + monitor.getMonitorType() + " is not known");
        }
        // Before each run the query's JSON is a Mustache template that is given these two.
        for (Input input : monitor.getInputs()) {
            Matcher tags = TAG.matcher(input instanceof SearchInput search ? search.getQuery().toString() : "");
            while (tags.find()) problems.add("inputs hold " + tags.group() + ", which Mustache replaces");
        }
        if (monitor.getInputs().isEmpty()) problems.add("inputs are missing");
        if (monitor.getTriggers().isEmpty()) problems.add("triggers are missing");
        compare("", given, XContentHelper.convertToMap(JsonXContent.jsonXContent, written, true), problems);
        return problems;
    }

    /** Tells what of the given the written lacks. */
    private static void compare(String path, Object given, Object written, List<String> problems) {
        if (written instanceof List<?> many && !(given instanceof List<?>) && many.size() == 1) {
            compare(path, given, many.get(0), problems);
        } else if (given instanceof Map<?, ?> map && written instanceof Map<?, ?> other) {
            map.forEach((key, value) -> {
                String place = path.isEmpty() ? key.toString() : path + "." + key;
                String name = other.containsKey(key) ? key.toString() : OTHER_NAMES.getOrDefault(key, "");
                if (other.containsKey(name)) compare(place, value, other.get(name), problems);
                else if (value != null) problems.add(place + " is not used");
            });
        } else if (given instanceof List<?> list && written instanceof List<?> other && list.size() == other.size()) {
            for (int i = 0; i < list.size(); i++) compare(path + "[" + i + "]", list.get(i), other.get(i), problems);
        } else if (written instanceof Map<?, ?> other && !(given instanceof Map<?, ?>)) {
            String name = SHORT_FORMS.stream().filter(other::containsKey).findFirst().orElse(null);
            if (name == null) problems.add(path + " is not used");
            else compare(path, given, other.get(name), problems);
        } else if (!same(given, written)) {
            problems.add(path + " is " + given + ", taken as " + written);
        }
    }

    private static boolean same(Object given, Object written) {
        if (given == null || written == null) return given == written;
        if (given instanceof Number && written instanceof Number) {
            return new BigDecimal(given.toString()).compareTo(new BigDecimal(written.toString())) == 0;
        }
        return given.toString().equals(written.toString());
    }
}
