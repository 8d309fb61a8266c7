"""ONNX files that ask for more than there is are refused before a tensor of them is made, in one line."""

import os
import resource
import time

import numpy as np
import onnx
import pytest
from foreign_files import images
from onnx import TensorProto, helper, numpy_helper

from scarlet_zoo.deployment.file_inputs import input_groups
from scarlet_zoo.errors import ArtifactError
from scarlet_zoo.graph.budget import MOST_FILE_BYTES, check_budget
from scarlet_zoo.graph.inferred import Inferred
from scarlet_zoo.graph.load import open_graph, read_onnx
from scarlet_zoo.graph.onnx_file import OnnxFile
from scarlet_zoo.graph.session import OnnxNetwork
from scarlet_zoo.graph.strange import of_strange_file
from scarlet_zoo.latency import MOST_ELEMENTS, MeasurementError, Settings, measure, shapes_of_inputs

BILLIONS = 20_000_000_000  # elements: 80 GB in float32
node = helper.make_node


def named(value, name):
    return numpy_helper.from_array(np.array(value), name)


def floats(*values):
    return np.array(values, np.float32)


ONE, IMAGE = named(floats(1), "one"), named(floats([[[1]]]), "one")
WEIGHT = numpy_helper.from_array(np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32), "w")


def written(path, nodes, tensors=(), shape=("n", 3, 8, 8), functions=(), domains=()):
    """Write a file that need not be valid: a convolution of images x to c, and these nodes, of which one gives y."""
    graph = helper.make_graph(nodes, "g", [images("x", shape)], [images("y", None)], [WEIGHT, *tensors])
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=list(functions)), path)
    return path


def convolution(**attributes):
    return node("Conv", ["x", "w"], ["y"], name="conv", **{"pads": [1] * 4, **attributes})


@pytest.mark.parametrize(("key", "value"), [
    ("dilations", [2**31, 1]), ("dilations", [0, 0]), ("pads", [2**40] * 4), ("group", 0), ("group", -1), ("group", 3),
    ("group", 2**40), ("strides", [0, 1]), ("strides", [-1, 1]), ("kernel_shape", [0, 0]), ("kernel_shape", [2**40, 1]),
])  # fmt: skip
def test_windows_out_of_bounds_are_named(key, value, tmp_path):
    with pytest.raises(ArtifactError, match=rf"m\.onnx: Conv 'conv': {key}: got -?\d+, wanted"):
        read_onnx(written(tmp_path / "m.onnx", [convolution(**{key: value})]))


@pytest.mark.parametrize("shape", [(2**40, 3, 8, 8), (1, 3, 2**40, 2**40), (-5, 3, 8, 8), (1, 3, -8, 8),
                                   (1, 2**62, 4, 4), (2_000_000, 3, 8, 8), ("n", 3, 40_000, 40_000)])  # fmt: skip
def test_inputs_out_of_bounds_are_named(shape, tmp_path):
    with pytest.raises(ArtifactError, match=r"m\.onnx: .*'x' has the shape"):
        read_onnx(written(tmp_path / "m.onnx", [convolution()], shape=shape))


@pytest.mark.parametrize(("nodes", "tensors"), [
    ([node("ConstantOfShape", ["s"], ["y"])], [named([BILLIONS], "s")]),
    ([node("ConstantOfShape", ["s"], ["y"])], [named([2**33, 2**33], "s")]),
    ([node("Expand", ["one", "s"], ["y"])], [named([BILLIONS], "s"), ONE]),
    ([node("Tile", ["one", "s"], ["y"])], [named([BILLIONS], "s"), ONE]),
    ([node("Pad", ["one", "s"], ["y"])], [named([0, BILLIONS], "s"), ONE]),
    ([node("Resize", ["one", "", "", "s"], ["y"])], [named([1, 1, 200_000, 100_000], "s"), IMAGE]),
    ([node("Resize", ["one", "", "s"], ["y"])], [named(floats(1, 1, 200_000, 100_000), "s"), IMAGE]),
    ([node("OneHot", ["i", "s", "v"], ["y"])], [named([1], "i"), named(BILLIONS, "s"), named(floats(0, 1), "v")]),
    ([node("Range", ["a", "s", "b"], ["y"])], [named(0, "a"), named(BILLIONS, "s"), named(1, "b")]),
    ([node("Range", ["a", "s", "b"], ["y"])], [named(np.float32(v), n) for v, n in ((0, "a"), (2e10, "s"), (1, "b"))]),
    ([node("Add", ["a", "b"], ["y"])],
     [named(np.ones((1, 40_000), np.float32), "a"), named(np.ones((40_000, 1), np.float32), "b")]),
    ([node("RandomNormal", [], ["y"], shape=[200_000, 100_000])], []),
    # Sizes that the graph computes first.
    ([node("Cast", ["f"], ["s"], to=7), node("ConstantOfShape", ["s"], ["y"])], [named(floats(2e10), "f")]),
    ([node("Exp", ["f"], ["e"]), node("Cast", ["e"], ["s"], to=7), node("ConstantOfShape", ["s"], ["y"])],
     [named(floats(23), "f")]),
    ([node("Shape", ["x"], ["h"]), node("Mul", ["h", "k"], ["s"]), node("Resize", ["x", "", "", "s"], ["y"])],
     [named([1, 1, 9000, 9000], "k")]),
    # From images.
    ([node("Resize", ["x", "", "", "s"], ["y"])], [named([1, 3, 30_000, 30_000], "s")]),
    ([node("Pad", ["x", "s"], ["y"])], [named([0, 0, 30_000, 30_000, 0, 0, 0, 0], "s")]),
    ([node("ConvTranspose", ["x", "t"], ["y"], strides=[60_000, 60_000])],
     [named(np.ones((3, 4, 1, 1), np.float32), "t")]),
    ([node("MaxPool", ["x"], ["y"], kernel_shape=[60_000] * 2, pads=[59_999] * 4)], []),
    # Each value within the limit, but not all of them.
    ([*(node("ConstantOfShape", ["s"], [f"v{i}"]) for i in range(9)), node("Max", [f"v{i}" for i in range(9)], ["y"])],
     [named([2 * 10**8], "s")]),
    ([*(node("Resize", ["x", "", "", "s"], [f"v{i}"]) for i in range(9)),
      node("Sum", [f"v{i}" for i in range(9)], ["y"])],
     [named([1, 3, 8000, 8000], "s")]),
])  # fmt: skip
def test_values_out_of_bounds_are_named_before_they_are_made(nodes, tensors, tmp_path):
    path = written(tmp_path / "m.onnx", nodes, tensors)
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(ArtifactError, match=r"m\.onnx: \w+ '': .*wanted at most 1,024|2,048 MiB") as caught:
        read_onnx(path)
    assert time.perf_counter() - begun < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
    assert "\n" not in str(caught.value)


def test_a_loop_without_end_is_refused(tmp_path):
    body = helper.make_graph(
        [node("Identity", ["c"], ["go"]), node("Add", ["s", "s"], ["next"])], "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, ()),
         helper.make_tensor_value_info("c", TensorProto.BOOL, ()), images("s", ())],
        [helper.make_tensor_value_info("go", TensorProto.BOOL, ()), images("next", ())],
    )  # fmt: skip
    loop = node("Loop", ["n", "yes", "z"], ["y"], body=body)
    tensors = [named(2**60, "n"), named(True, "yes"), named(np.float32(1), "z")]
    with pytest.raises(ArtifactError, match=r"Loop '': got 1152921504606846976 steps, wanted at most 1,000,000"):
        read_onnx(written(tmp_path / "m.onnx", [loop], tensors))


def test_functions_that_unfold_without_end_are_refused(tmp_path):
    def function(name, inner, count):
        nodes = [node(inner, [f"v{i}"], [f"v{i + 1}"], domain="own" if inner[0] == "F" else "") for i in range(count)]
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
        return helper.make_function("own", name, ["v0"], [f"v{count}"], nodes, opsets)

    doubling = [function("F0", "Relu", 2), *(function(f"F{i}", f"F{i - 1}", 2) for i in range(1, 40))]
    call = [node("F39", ["x"], ["y"], domain="own")]
    with pytest.raises(ArtifactError, match="its functions stand for 1,099,511,627,776 nodes, wanted at most 200,000"):
        read_onnx(written(tmp_path / "m.onnx", call, functions=doubling, domains=["own"]))
    circle = [function("F39", "F39", 1)]
    with pytest.raises(ArtifactError, match="function 'F39' calls itself"):
        read_onnx(written(tmp_path / "n.onnx", call, functions=circle, domains=["own"]))
    growing = helper.make_function(
        "own", "F39", ["v"], ["u"], [node("Constant", [], ["s"], value_ints=[1, 3, 30_000, 30_000]),
                                     node("Resize", ["v", "", "", "s"], ["u"])], [helper.make_opsetid("", 17)],
    )  # fmt: skip
    with pytest.raises(ArtifactError, match="1x3x30000x30000"):
        read_onnx(written(tmp_path / "o.onnx", call, functions=[growing], domains=["own"]))


@pytest.mark.parametrize("verb", [
    ("verify", "{file}", "{file}"), ("bench", "{file}"), ("optimize", "{file}", "--out", "{out}"),
    ("inspect", "{file}"), ("snippet", "{file}", "--lang", "python"),
    ("optimize", "{file}", "--target", "ort-int8", "--calibration", "random", "--out", "{out}"),
    ("predict", "{file}", "{file}", "--preprocessing", "imagenet"), ("profile", "{file}"),
    ("validate", "{file}", "{out}", "--preprocessing", "imagenet"),
])  # fmt: skip
def test_every_verb_refuses_such_a_file(verb, tmp_path, scarlet):
    file = written(tmp_path / "m.onnx", [node("ConstantOfShape", ["s"], ["y"])], [named([BILLIONS], "s")])
    code, _, error = scarlet(*(word.format(file=file, out=tmp_path / "out") for word in verb))
    assert (code, error.count("\n")) == (2, 1), error
    assert f"{file}: ConstantOfShape '': 'y' has the shape {BILLIONS}, wanted at most 1,024 MiB" in error


def test_what_networks_have_is_left_alone(two_files):
    for path in two_files:
        model = onnx.load(path)
        check_budget(model, path)
        inferred = Inferred(model)
        made = {value.name: value for _, values in inferred.walk() for value in values}
        assert made[model.graph.output[0].name].bytes == 4 * 10
        assert 0 < inferred.constant_bytes + inferred.alive_bytes < 2**20


def test_files_that_are_large_only_by_name_are_not_read(tmp_path):
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        os.truncate(file.fileno(), MOST_FILE_BYTES + 1)
    with pytest.raises(ArtifactError, match=r"m\.onnx: got 2,147,483,648 bytes, wanted less than 2 GiB"):
        read_onnx(path)
    beside = [TensorProto(name=name, data_type=1, dims=[2**28], data_location=TensorProto.EXTERNAL) for name in "abc"]
    for tensor in beside:
        tensor.external_data.add(key="location", value="data")
    with (tmp_path / "data").open("wb") as file:
        os.truncate(file.fileno(), 2**30)
    written(tmp_path / "n.onnx", [convolution()], beside)
    with pytest.raises(ArtifactError, match=r"its tensors are 3,221,225,904 bytes, wanted less than 2 GiB"):
        open_graph(tmp_path / "n.onnx")


def test_inputs_that_are_made_for_a_file_have_a_budget(tmp_path):
    with pytest.raises(MeasurementError, match=r"its inputs have 90,000,000 elements, wanted at most 67,108,864"):
        shapes_of_inputs(tmp_path / "m.onnx", [("x", ["n", 3, "h", "w"])], ["10,3,3000,1000"])
    assert MOST_ELEMENTS * 8 == 2**29
    path = written(tmp_path / "m.onnx", [convolution()], shape=("n", 3, "h", "w"))
    with pytest.raises(MeasurementError, match="wanted at most 67,108,864"):
        measure([path], Settings(shapes=("100,3,3000,1000",)))
    file = OnnxFile(path)
    with pytest.raises(ArtifactError, match="27,000,000 elements, wanted at most 16,777,216 to compare"):
        next(input_groups(file, {"x": (1, 3, 3000, 3000)}, None))
    with pytest.raises(ArtifactError, match=r"its input has the shape \[0, 3, 8, 8\], wanted sides of 1 or more"):
        OnnxNetwork(written(tmp_path / "n.onnx", [convolution()], shape=(0, 3, 8, 8)))


@pytest.mark.parametrize("error", [RuntimeError("a\nb"), SystemError("x"), IndexError(),
                                   UnicodeDecodeError("u", b"", 0, 1, "?"), MemoryError()])  # fmt: skip
def test_whatever_libraries_raise_is_a_line(error, tmp_path):
    @of_strange_file("rewritten")
    def fails(source):
        raise error

    with pytest.raises(ArtifactError, match=rf"m\.onnx: cannot be rewritten: {type(error).__name__}: ") as caught:
        fails(source=tmp_path / "m.onnx")
    assert "\n" not in str(caught.value)


def test_a_kernel_of_another_shape_is_a_line_in_integers(tmp_path, scarlet):
    ends = [node("GlobalAveragePool", ["c"], ["p"]), node("Flatten", ["p"], ["y"])]
    broken = node("Conv", ["x", "w"], ["c"], pads=[1] * 4, kernel_shape=[5, 5])
    file = written(tmp_path / "m.onnx", [broken, *ends])
    code, _, error = scarlet(
        "optimize", file, "--target", "ort-int8", "--calibration", "random", "--out", tmp_path / "o"
    )
    assert code == 2
    assert error.splitlines()[-1].startswith(f"error: {file}: ")
    assert "Traceback" not in error
