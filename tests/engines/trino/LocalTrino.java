import io.trino.plugin.memory.MemoryPlugin;
import io.trino.testing.DistributedQueryRunner;
import io.trino.testing.TestingSession;

import java.io.PrintStream;
import java.util.Map;

/**
 * One real Trino server, from Maven Central jars only, for local use: loopback HTTP, the memory connector. It runs until
 * its standard input is closed, and removes what it wrote.
 */
public final class LocalTrino {
    public static void main(String[] args) throws Exception {
        PrintStream out = System.out; // the server's log takes its place
        var session = TestingSession.testSessionBuilder().setCatalog("memory").setSchema("default").build();
        var server = DistributedQueryRunner.builder(session)
            .setWorkerCount(0)
            .setExtraProperties(Map.of("query.max-length", "100000000"))
            .build();
        Runtime.getRuntime().addShutdownHook(new Thread(server::close, "shutdown"));
        server.installPlugin(new MemoryPlugin());
        server.createCatalog("memory", "memory", Map.of());
        out.println("LOCAL_TRINO_STARTED " + server.getCoordinator().getBaseUrl());
        // The server ends with whoever started it, however that ended: its end of the pipe is closed then.
        while (System.in.read() >= 0) {
        }
        System.exit(0);
    }
}
