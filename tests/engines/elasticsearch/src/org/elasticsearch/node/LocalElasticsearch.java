package org.elasticsearch.node;

import org.elasticsearch.Build;
import org.elasticsearch.action.admin.cluster.node.info.PluginsAndModules;
import org.elasticsearch.cluster.ClusterName;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.core.IOUtils;
import org.elasticsearch.env.Environment;
import org.elasticsearch.http.HttpServerTransport;
import org.elasticsearch.plugins.ExtensiblePlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.plugins.PluginDescriptor;
import org.elasticsearch.plugins.PluginsLoader;
import org.elasticsearch.plugins.PluginsService;

import java.lang.reflect.Constructor;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.ServiceLoader;
import java.util.Set;

/**
 * One real Elasticsearch node, from Maven Central jars only, for local use: loopback HTTP, no security module. It runs
 * until its standard input is closed, and then removes its home.
 * Usage: LocalElasticsearch HOME_DIR HTTP_PORT [setting=value ...]
 *
 * It lies in org.elasticsearch.node because NodeServiceProvider and NodeConstruction are package-private; the
 * plugins are taken from the class path instead of from modules/ folders (what Elasticsearch's own test
 * framework does with MockNode and MockPluginsService).
 */
public final class LocalElasticsearch {

    /** In load order; each is a plugin class on the class path. */
    private static final Map<String, String> PLUGINS = ordered(
        "transport-netty4", "org.elasticsearch.transport.netty4.Netty4Plugin",
        "x-pack-core", "org.elasticsearch.xpack.core.XPackPlugin",
        "kql", "org.elasticsearch.xpack.kql.KqlPlugin",
        "x-pack-esql-core", "org.elasticsearch.xpack.esql.core.plugin.EsqlCorePlugin",
        "x-pack-esql", "org.elasticsearch.xpack.esql.plugin.EsqlPlugin"
    );

    private static Map<String, String> ordered(String... kv) {
        Map<String, String> m = new LinkedHashMap<>();
        for (int i = 0; i < kv.length; i += 2) m.put(kv[i], kv[i + 1]);
        return m;
    }

    public static void main(String[] args) throws Exception {
        Path home = Path.of(args[0]).toAbsolutePath();
        String port = args[1];
        for (String d : List.of("config", "data", "logs", "modules", "plugins", "lib")) Files.createDirectories(home.resolve(d));

        Settings.Builder s = Settings.builder()
            .put("path.home", home.toString())
            .put("path.data", home.resolve("data").toString())
            .put("path.logs", home.resolve("logs").toString())
            .put("cluster.name", "local-elasticsearch")
            .put("node.name", "local-1")
            .put("discovery.type", "single-node")
            .put("network.host", "127.0.0.1")
            .put("http.port", port)
            .put("transport.port", "0")
            .put("action.destructive_requires_name", false)
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .put("xpack.security.enabled", false);
        for (int i = 2; i < args.length; i++) {
            int eq = args[i].indexOf('=');
            s.put(args[i].substring(0, eq), args[i].substring(eq + 1));
        }
        Settings settings = s.build();

        System.setProperty("es.logs.base_path", home.resolve("logs").toString());
        LogConfigurator.registerErrorListener();
        LogConfigurator.configureWithoutConfig(settings); // console at INFO, no log4j2.properties needed
        LogConfigurator.configureESLogging();              // else: NPE in org.elasticsearch.logging.LogManager

        Environment env = InternalSettingsPreparer.prepareEnvironment(settings, Map.of(), home.resolve("config"), () -> "local-1");
        PluginsLoader none = PluginsLoader.createPluginsLoader(Set.of(), Set.of(), Map.of(), false);
        NodeServiceProvider services = new NodeServiceProvider() {
            @Override
            PluginsService newPluginService(Environment e, PluginsLoader loader) {
                return new ClasspathPlugins(e.settings(), e.configDir(), loader);
            }
        };
        Node node = new Node(NodeConstruction.prepareConstruction(env, none, services, true));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            try {
                node.close();
                IOUtils.rm(home); // whoever started the node may be gone
            } catch (Exception ex) {
                ex.printStackTrace();
            }
        }, "shutdown"));
        node.start();
        int bound = node.injector().getInstance(HttpServerTransport.class).boundAddress().publishAddress().getPort();
        System.out.println("LOCAL_ELASTICSEARCH_STARTED http://127.0.0.1:" + bound);
        // The node ends with whoever started it, however that ended: its end of the pipe is closed then.
        while (System.in.read() >= 0) {
        }
        System.exit(0);
    }

    /** The stock PluginsService, with plugins that are already on the class path. */
    private static final class ClasspathPlugins extends PluginsService {
        private final List<Object> loaded = new ArrayList<>();
        private final List<PluginDescriptor> descriptors = new ArrayList<>();

        ClasspathPlugins(Settings settings, Path configDir, PluginsLoader loader) {
            super(settings, configDir, loader);
            try {
                // PluginsService.LoadedPlugin is package-private in org.elasticsearch.plugins
                Constructor<?> make = Class.forName("org.elasticsearch.plugins.PluginsService$LoadedPlugin")
                    .getDeclaredConstructor(PluginDescriptor.class, Plugin.class, ClassLoader.class);
                make.setAccessible(true);
                ClassLoader cl = getClass().getClassLoader();
                for (Map.Entry<String, String> e : PLUGINS.entrySet()) {
                    String v = Build.current().version();
                    PluginDescriptor d = new PluginDescriptor(e.getKey(), e.getKey(), v, v, "17", e.getValue(), null,
                        List.of(), false, false, false, false);
                    Plugin p = instance(Class.forName(e.getValue(), true, cl), settings, configDir);
                    if (p instanceof ExtensiblePlugin x) {
                        // x-pack-core sets up its licence state here; without the call its createComponents throws
                        x.loadExtensions(new ExtensiblePlugin.ExtensionLoader() {
                            @Override
                            public <T> List<T> loadExtensions(Class<T> type) {
                                return List.of();
                            }
                        });
                    }
                    descriptors.add(d);
                    loaded.add(make.newInstance(d, p, cl));
                }
            } catch (ReflectiveOperationException ex) {
                throw new IllegalStateException(ex);
            }
        }

        private static Plugin instance(Class<?> c, Settings settings, Path configDir) throws ReflectiveOperationException {
            for (Object[] a : new Object[][] { { settings, configDir }, { settings }, {} }) {
                Class<?>[] types = a.length == 2 ? new Class<?>[] { Settings.class, Path.class }
                    : a.length == 1 ? new Class<?>[] { Settings.class } : new Class<?>[0];
                try {
                    return (Plugin) c.getConstructor(types).newInstance(a);
                } catch (NoSuchMethodException next) {
                    // try the next signature
                }
            }
            throw new NoSuchMethodException(c.getName());
        }

        @Override
        @SuppressWarnings({ "rawtypes", "unchecked" })
        protected List plugins() {
            return loaded;
        }

        /** Once from the class path; the stock method would ask once for each plugin's class loader, here all the same. */
        @Override
        public <T> List<? extends T> loadServiceProviders(Class<T> service) {
            return ServiceLoader.load(service, getClass().getClassLoader()).stream().map(ServiceLoader.Provider::get).toList();
        }

        @Override
        public PluginsAndModules info() {
            return new PluginsAndModules(List.of(), descriptors == null ? List.of() : descriptors);
        }
    }
}
