"""Files with each kind of preprocessing, pictures, and what this package says of them."""

import onnx
import pytest
from conftest import TINY, randomized
from onnx import TensorProto, compose, helper
from snippet_parts import FEEDS, HOSTILE, LABELS

from scarlet_zoo import export_onnx, fold
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.image_io import open_image
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.deployment.trace import Recipe
from scarlet_zoo.graph.artifact import read_artifact
from scarlet_zoo.graph.session import OnnxClassifier


def as_uint8(artifact, path):
    """The same network with its normalisation inside, as a file with ``input_layout`` has it."""
    feed, model = artifact.preprocessing, onnx.load(artifact.path)
    nodes = [
        helper.make_node("Cast", ["input"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["cast", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    constants = [
        helper.make_tensor(name, TensorProto.FLOAT, [3], [255 * value for value in values])
        for name, values in (("mean", feed.mean), ("std", feed.std))
    ]
    given, taken = (
        [helper.make_tensor_value_info(name, kind, ["batch", *shape])]
        for name, kind, shape in (
            ("input", TensorProto.UINT8, (*feed.size, 3)),
            ("planes", TensorProto.FLOAT, (3, *feed.size)),
        )
    )
    front = helper.make_model(
        helper.make_graph(nodes, "front", given, taken, constants),
        ir_version=model.ir_version,
        opset_imports=model.opset_import,
    )
    body = compose.add_prefix(model, "body_", rename_outputs=False)
    whole = compose.merge_models(front, body, [("planes", "body_input")])
    del whole.metadata_props[:]
    helper.set_model_props(whole, {**artifact.metadata, "input_layout": "NHWC uint8"})
    onnx.save(whole, path)
    return read_artifact(path)


@pytest.fixture(scope="session")
def folded():
    arch = Arch.of(TINY, ["e3k3se", "e6k5", "id", "e3k5se", "e3k3", "e6k3se", "id", "e3k3"])
    return fold(randomized(arch))


@pytest.fixture(scope="session")
def files(folded, tmp_path_factory):
    """One exported file a kind of preprocessing, and one with it inside its graph; all names are hostile."""
    folder = tmp_path_factory.mktemp("files")
    made = {}
    for kind, feed in FEEDS.items():
        (folder / kind).mkdir()
        made[kind] = export_onnx(
            folded, folder / kind / HOSTILE, Recipe(input_size=feed.size),
            weights="made for\n*/ a test", labels=LABELS, preprocessing=feed,
        )  # fmt: skip
    (folder / "uint8").mkdir()
    made["uint8"] = as_uint8(made["bilinear"], folder / "uint8" / HOSTILE)
    return made


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """Photographs as PNG files, which every decoder reads alike: wide, high, square, grey, with holes."""
    folder = tmp_path_factory.mktemp("pictures")
    wide, square, high = photos(2)[1], photos(1)[0], photos(2)[1].rotate(90, expand=True).crop((0, 0, 301, 444))
    for name, picture in {"wide": wide, "square": square, "high": high, "grey": wide.convert("L")}.items():
        picture.save(folder / f"{name}.png", compress_level=1)
    holes = wide.copy()
    holes.putalpha(square.convert("L").resize(wide.size).point(lambda value: 255 if value > 99 else 0))
    holes.save(folder / "holes.png", compress_level=1)
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def expected(files, pictures):
    """What this package's own pipeline says of the pictures."""
    images = [open_image(path) for path in pictures]
    made = {}
    for kind, artifact in files.items():
        source = files["bilinear"] if kind == "uint8" else artifact
        made[kind] = OnnxClassifier(source.path).logits(source.preprocessing.batch(images), 1)
    return made
