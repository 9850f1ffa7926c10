import org.opensearch.common.logging.LogConfigurator;
import org.opensearch.common.settings.Settings;
import org.opensearch.common.util.io.IOUtils;
import org.opensearch.commons.alerting.aggregation.bucketselectorext.BucketSelectorExtAggregationBuilder;
import org.opensearch.commons.alerting.aggregation.bucketselectorext.BucketSelectorIndices;
import org.opensearch.core.xcontent.ContextParser;
import org.opensearch.env.Environment;
import org.opensearch.http.HttpServerTransport;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;
import org.opensearch.painless.PainlessPlugin;
import org.opensearch.plugins.Plugin;
import org.opensearch.plugins.SearchPlugin;
import org.opensearch.transport.Netty4Plugin;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/**
 * One real OpenSearch node, from Maven Central jars only, for local use: loopback HTTP, Painless, no security. It runs
 * until its standard input is closed, and then removes its home.
 * Usage: LocalOpenSearch HOME_DIR HTTP_PORT [setting=value ...]
 */
public final class LocalOpenSearch extends Node {

    private LocalOpenSearch(Environment environment) {
        super(environment, List.of(Netty4Plugin.class, PainlessPlugin.class, Conditions.class), true);
    }

    /** The aggregation that the alerting plugin adds to a monitor's query for the condition of each of its triggers. */
    public static final class Conditions extends Plugin implements SearchPlugin {
        @Override
        public List<PipelineAggregationSpec> getPipelineAggregations() {
            ContextParser<String, BucketSelectorExtAggregationBuilder> parser = (content, name) ->
                BucketSelectorExtAggregationBuilder.Companion.parse(name, content);
            return List.of(
                new PipelineAggregationSpec(
                    BucketSelectorExtAggregationBuilder.Companion.getNAME(),
                    BucketSelectorExtAggregationBuilder::new,
                    parser
                ).addResultReader(BucketSelectorIndices::new)
            );
        }
    }

    public static void main(String[] args) throws Exception {
        Path home = Path.of(args[0]).toAbsolutePath();
        for (String name : List.of("config", "data", "logs", "modules", "plugins")) Files.createDirectories(home.resolve(name));
        Settings.Builder settings = Settings.builder()
            .put("path.home", home.toString())
            .put("path.data", home.resolve("data").toString())
            .put("path.logs", home.resolve("logs").toString())
            .put("cluster.name", "local-opensearch")
            .put("node.name", "local-1")
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("http.port", args[1])
            .put("transport.port", "0")
            .put("cluster.routing.allocation.disk.threshold_enabled", false);
        for (int i = 2; i < args.length; i++) {
            int equals = args[i].indexOf('=');
            settings.put(args[i].substring(0, equals), args[i].substring(equals + 1));
        }

        System.setProperty("opensearch.logs.base_path", home.resolve("logs").toString());
        LogConfigurator.registerErrorListener();
        LogConfigurator.configureWithoutConfig(settings.build()); // console, no log4j2.properties in config needed
        LocalOpenSearch node = new LocalOpenSearch(
            InternalSettingsPreparer.prepareEnvironment(settings.build(), Map.of(), home.resolve("config"), () -> "local-1")
        );
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
                IOUtils.rm(home); // whoever started the node may be gone
            } catch (Exception error) {
                error.printStackTrace();
            }
        }, "shutdown"));
        node.start();
        int bound = node.injector().getInstance(HttpServerTransport.class).boundAddress().publishAddress().getPort();
        System.out.println("LOCAL_OPENSEARCH_STARTED http://127.0.0.1:" + bound);
        // The node ends with whoever started it, however that ended: its end of the pipe is closed then.
        while (System.in.read() >= 0) {
        }
        System.exit(0);
    }
}
