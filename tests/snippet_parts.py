"""What the tests of snippets share: kinds of preprocessing, hostile words, how far answers may be apart."""

import numpy as np

from scarlet_zoo.data.preprocessing import Preprocessing

HOSTILE = """it's "my" @FILE@ net \\ ${x} %s \U0001f431 */ """.replace("/", "") + "\n#.onnx"
LABELS = ["cat", 'the "dog"', '"""', "*/ //", "two\nlines", "`${1}`", "\\", "Käfer \U0001f431", "@MEAN@", "?" * 3]
FEEDS = {
    "bilinear": Preprocessing((32, 32), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", 0.875),
    "bicubic": Preprocessing((32, 32), (0.5, 0.4, 0.3), (0.1, 0.2, 0.3), "bicubic", 0.95),
    "lanczos": Preprocessing((31, 31), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "lanczos", 1.0),
    "oblong": Preprocessing((33, 47), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bilinear", 0.9),
}
KINDS = [*FEEDS, "uint8"]
# Of the spread of the logits between pictures, which is small here. Other builds of the runtime, and a mean
# that the graph subtracts in another order, were measured to make 8e-5.
TOLERANCE = 3e-4


def gap(got, wanted):
    """Largest difference over the spread of the logits between pictures."""
    return np.abs(np.asarray(got) - wanted).max() / np.mean(np.var(wanted, axis=0)) ** 0.5


def top_labels(logits):
    return [LABELS[i] for i in np.argsort(-logits)[:5]]
