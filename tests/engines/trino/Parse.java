import io.trino.sql.parser.ParsingException;
import io.trino.sql.parser.SqlParser;

import java.nio.file.Files;
import java.nio.file.Path;

/** Parses each file that is named; prints a line for each, empty if it is a statement. */
public final class Parse {
    public static void main(String[] files) throws Exception {
        SqlParser parser = new SqlParser();
        for (String file : files) {
            try {
                parser.createStatement(Files.readString(Path.of(file)));
                System.out.println();
            } catch (ParsingException error) {
                System.out.println(error.getMessage());
            }
        }
    }
}
