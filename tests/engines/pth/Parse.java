import com.teragrep.pth_03.antlr.DPLLexer;
import com.teragrep.pth_03.antlr.DPLParser;
import com.teragrep.pth_03.shaded.org.antlr.v4.runtime.BaseErrorListener;
import com.teragrep.pth_03.shaded.org.antlr.v4.runtime.CharStreams;
import com.teragrep.pth_03.shaded.org.antlr.v4.runtime.CommonTokenStream;
import com.teragrep.pth_03.shaded.org.antlr.v4.runtime.RecognitionException;
import com.teragrep.pth_03.shaded.org.antlr.v4.runtime.Recognizer;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Parses each file that is named; prints a line for each, empty if it is a search. */
public final class Parse {
    public static void main(String[] files) throws Exception {
        for (String file : files) {
            List<String> errors = new ArrayList<>();
            BaseErrorListener listener = new BaseErrorListener() {
                @Override
                public void syntaxError(Recognizer<?, ?> recognizer, Object symbol, int line, int column, String message,
                    RecognitionException cause) {
                    errors.add(column + ": " + message);
                }
            };
            DPLLexer lexer = new DPLLexer(CharStreams.fromString(Files.readString(Path.of(file)).replace('\n', ' ')));
            DPLParser parser = new DPLParser(new CommonTokenStream(lexer));
            lexer.removeErrorListeners();
            parser.removeErrorListeners();
            lexer.addErrorListener(listener);
            parser.addErrorListener(listener);
            parser.root();
            System.out.println(errors.isEmpty() ? "" : errors.get(0).replace('\n', ' '));
        }
    }
}
