"""Stand-ins for Android's classes and two runtimes', in Java, with the signatures that the Kotlin snippets use.

A bitmap is a Java image; the runtimes write what they are fed to a file and answer with the numbers of the classes.
"""

SOURCES = {
    "android/graphics/Bitmap.java": """package android.graphics;
import java.awt.image.BufferedImage;
public final class Bitmap {
    public enum Config { ARGB_8888 }
    private final BufferedImage image;
    public Bitmap(BufferedImage image) { this.image = image; }
    public int getWidth() { return image.getWidth(); }
    public int getHeight() { return image.getHeight(); }
    public Bitmap copy(Config config, boolean mutable) { return this; }
    public static Bitmap createScaledBitmap(Bitmap from, int width, int height, boolean filter) {
        if (width == from.getWidth() && height == from.getHeight()) return from;
        BufferedImage scaled = new BufferedImage(width, height, BufferedImage.TYPE_INT_ARGB);
        scaled.getGraphics().drawImage(from.image, 0, 0, width, height, null);
        return new Bitmap(scaled);
    }
    public void getPixels(int[] pixels, int offset, int stride, int x, int y, int width, int height) {
        image.getRGB(x, y, width, height, pixels, offset, stride);
    }
}
""",
    "android/content/res/AssetManager.java": """package android.content.res;
import java.io.*;
public final class AssetManager {
    public InputStream open(String name) throws IOException { return new FileInputStream(name); }
}
""",
    "android/content/Context.java": """package android.content;
import android.content.res.AssetManager;
public class Context { public AssetManager getAssets() { return new AssetManager(); } }
""",
    "org/json/JSONArray.java": """package org.json;
public class JSONArray {
    public JSONArray(String json) {}
    public String optString(int index) { return "label " + index; }
}
""",
    "ai/onnxruntime/OrtException.java": "package ai.onnxruntime; public class OrtException extends Exception {}",
    "ai/onnxruntime/OnnxJavaType.java": "package ai.onnxruntime; public enum OnnxJavaType { FLOAT, UINT8 }",
    "ai/onnxruntime/OnnxValue.java": """package ai.onnxruntime;
public interface OnnxValue extends AutoCloseable {
    Object getValue() throws OrtException;
    @Override void close();
}
""",
    "ai/onnxruntime/OnnxTensorLike.java": """package ai.onnxruntime;
public abstract class OnnxTensorLike implements OnnxValue {}
""",
    "ai/onnxruntime/OnnxTensor.java": """package ai.onnxruntime;
import java.nio.*;
public class OnnxTensor extends OnnxTensorLike {
    final ByteBuffer fed;
    private OnnxTensor(ByteBuffer fed) { this.fed = fed; }
    public static OnnxTensor createTensor(OrtEnvironment env, FloatBuffer data, long[] shape) throws OrtException {
        ByteBuffer bytes = ByteBuffer.allocate(4 * data.remaining()).order(ByteOrder.nativeOrder());
        bytes.asFloatBuffer().put(data.duplicate());
        return new OnnxTensor(bytes);
    }
    public static OnnxTensor createTensor(OrtEnvironment env, ByteBuffer data, long[] shape, OnnxJavaType type)
            throws OrtException {
        return new OnnxTensor(data.duplicate());
    }
    public Object getValue() { return new float[][] {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}}; }
    public void close() {}
}
""",
    "ai/onnxruntime/OnnxModelMetadata.java": """package ai.onnxruntime;
import java.util.*;
public class OnnxModelMetadata { public Map<String, String> getCustomMetadata() { return Map.of("labels", "[]"); } }
""",
    "ai/onnxruntime/OrtEnvironment.java": """package ai.onnxruntime;
public final class OrtEnvironment implements AutoCloseable {
    public static OrtEnvironment getEnvironment() { return new OrtEnvironment(); }
    public OrtSession createSession(byte[] model, OrtSession.SessionOptions options) throws OrtException {
        return new OrtSession();
    }
    public void close() {}
}
""",
    "ai/onnxruntime/OrtSession.java": """package ai.onnxruntime;
import java.util.*;
public class OrtSession implements AutoCloseable {
    public static class SessionOptions implements AutoCloseable {
        public void setIntraOpNumThreads(int threads) throws OrtException {}
        public void close() {}
    }
    public static class Result implements AutoCloseable {
        private final OnnxValue value;
        Result(OnnxValue value) { this.value = value; }
        public Optional<OnnxValue> get(String name) {
            return name.equals("logits") ? Optional.of(value) : Optional.empty();
        }
        public void close() {}
    }
    public OnnxModelMetadata getMetadata() throws OrtException { return new OnnxModelMetadata(); }
    public Result run(Map<String, ? extends OnnxTensorLike> inputs) throws OrtException {
        OnnxTensor input = (OnnxTensor) inputs.get("input");
        stub.Fed.write(input.fed);
        return new Result(input);
    }
    public void close() throws OrtException {}
}
""",
    "org/tensorflow/lite/Tensor.java": """package org.tensorflow.lite;
public interface Tensor { int[] shape(); }
""",
    "org/tensorflow/lite/Interpreter.java": """package org.tensorflow.lite;
import java.nio.*;
public final class Interpreter implements AutoCloseable {
    public static class Options {
        public Options setNumThreads(int threads) { return this; }
    }
    public Interpreter(ByteBuffer model, Options options) {
        if (!model.isDirect() || model.order() != ByteOrder.nativeOrder())
            throw new IllegalArgumentException("Model ByteBuffer should be a direct ByteBuffer in native order");
    }
    public Tensor getOutputTensor(int index) { return () -> new int[] {1, 10}; }
    public void run(Object input, Object output) {
        ByteBuffer fed = (ByteBuffer) input;
        if (fed.remaining() != fed.capacity()) throw new IllegalArgumentException("not all of the input");
        stub.Fed.write(fed);
        for (int i = 0; i < 10; i++) ((float[][]) output)[0][i] = i;
    }
    public void close() {}
}
""",
    "stub/Fed.java": """package stub;
import java.nio.ByteBuffer;
import java.nio.file.*;
public final class Fed {
    public static String path = "fed";
    public static void write(ByteBuffer fed) {
        ByteBuffer all = fed.duplicate();
        all.rewind();
        byte[] bytes = new byte[all.remaining()];
        all.get(bytes);
        try { Files.write(Path.of(path), bytes); }
        catch (java.io.IOException error) { throw new RuntimeException(error); }
    }
}
""",
}


def write_stubs(folder):
    """Write the sources into a folder; gives their paths."""
    for name, text in SOURCES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [folder / name for name in SOURCES]
