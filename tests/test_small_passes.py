"""Passes that change a few operators, each on the smallest graph that shows it: what they make, and what they leave."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper
from small_graphs import graph_of, ops, random, run

from scarlet_zoo.graph.passes.float16_weights import store_float16_weights
from scarlet_zoo.graph.passes.pads import merge_pad
from scarlet_zoo.graph.passes.rewrite import RefusedError, replace
from scarlet_zoo.graph.passes.sizes import data_values, fold_sizes
from scarlet_zoo.graph.passes.uint8_input import take_uint8_input

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


# Pixels as the input.
CONV = "(float[n,3,9,8] x) => (float[n,4,5,4] y) { y = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w) }"
TWICE = "(float[n,3,9,8] x) => (float[n,4,9,8] y) { a = Conv (x, w) b = Conv (x, v) y = Add (a, b) }"
GROUPED = "(float[n,3,9,8] x) => (float[n,3,9,8] y) { y = Conv <group = 3, pads = [1,1,1,1]> (x, w) }"
NO_CONV = "(float[n,3,9,8] x) => (float[n,3,9,8] y) { y = Relu (x) }"


@pytest.mark.parametrize(
    ("text", "constants", "made"),
    [
        (CONV, {"w": random(4, 3, 3, 3)}, ["Cast", "Transpose", "Sub", "Conv"]),
        (TWICE, {"w": random(4, 3, 1, 1), "v": random(4, 3, 1, 1, seed=1)},
         ["Cast", "Transpose", "Sub", "Mul", "Conv", "Conv", "Add"]),
        (GROUPED, {"w": random(3, 1, 3, 3)}, ["Cast", "Transpose", "Sub", "Mul", "Conv"]),
        (NO_CONV, {}, ["Cast", "Transpose", "Sub", "Mul", "Relu"]),
    ],
)  # fmt: skip
def test_pixels_give_what_normalised_images_gave(text, constants, made):
    model = graph_of(text, **constants)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 9, 8, 3), dtype=np.uint8)
    images = (pixels.transpose(0, 3, 1, 2) / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    (before,) = run(model, images.astype(np.float32))
    take_uint8_input(model, MEAN, STD)
    (source,) = model.graph.inputs
    assert (source.name, source.dtype, list(source.shape)) == ("x", ir.DataType.UINT8, ["n", 9, 8, 3])
    assert ops(model) == made
    assert "w" not in model.graph.initializers or made.count("Mul")
    np.testing.assert_allclose(run(model, pixels)[0], before, rtol=1e-4, atol=1e-4)


# Weights in float16.
def test_large_float32_constants_are_stored_in_half_and_used_as_float32():
    text = """(float[n,16,4,4] x) => (float[n,16,4,4] y) {
      a = Conv (x, w) b = Conv (a, w) c = Conv (b, few) d = Conv (c, huge) y = Conv <group = 16> (d, edge) }"""
    kernels = {"w": random(16, 16, 1, 1) / 8, "few": random(16, 16, 1, 1), "huge": random(16, 16, 1, 1),
               "edge": random(16, 1, 1, 1)}  # fmt: skip
    kernels["huge"][3, 2] = 65505
    model = graph_of(text, **kernels)
    halves = {name: kernels[name].astype(np.float16).astype(np.float32) for name in ("w", "few")}
    truth = graph_of(text, **(kernels | halves))
    assert store_float16_weights(model) == 2
    stored = {name: value.dtype for name, value in model.graph.initializers.items()}
    assert stored == {"w_half": ir.DataType.FLOAT16, "few_half": ir.DataType.FLOAT16,
                      "huge": ir.DataType.FLOAT, "edge": ir.DataType.FLOAT}  # fmt: skip
    casts = [node for node in model.graph if node.op_type == "Cast"]
    assert {node.outputs[0].name for node in casts} == {"w", "few"}
    assert all(node.outputs[0].dtype == ir.DataType.FLOAT for node in casts)
    assert [list(node.outputs[0].shape) for node in casts] == [[16, 16, 1, 1]] * 2
    x = random(1, 16, 4, 4)
    np.testing.assert_array_equal(run(model, x)[0], run(truth, x)[0])


@pytest.mark.parametrize(("size", "largest", "kind", "count"), [
    (256, 65504, np.float32, 1), (255, 1, np.float32, 0), (256, 65505, np.float32, 0), (256, -65536, np.float32, 0),
    (256, 1, np.float64, 0), (256, 1, np.int64, 0)])  # fmt: skip
def test_what_is_small_or_too_large_or_no_float32_stays(size, largest, kind, count):
    name = {np.float32: "float", np.float64: "double", np.int64: "int64"}[kind]
    constant = np.ones(size, kind)
    constant[7] = largest
    model = graph_of(f"({name}[{size}] x) => ({name}[{size}] y) {{ y = Add (x, w) }}", w=constant)
    assert store_float16_weights(model) == count
    assert ("w" in model.graph.initializers) == (count == 0)


# Padding.
def padded(op, pads, value="", attributes="", pad_attributes="", outputs="y", **constants):
    """``op`` of a padded tensor, and the operator itself."""
    weights = {"w": random(4, 3, 3, 3)} if op == "Conv" else {}
    weights["pads"] = np.asarray(pads, np.int64)
    given = ", w" if op == "Conv" else ""
    fill = ", value" if value != "" else ""
    if value != "":
        weights["value"] = np.asarray(value, np.float32)
    window = "" if op == "Conv" else "kernel_shape = [3, 3]"
    words = ", ".join(word for word in (window, attributes) if word)
    text = f"""(float[n,3,9,8] x) => (float[n,c,h,k] y) {{
      p = Pad {f"<{pad_attributes}>" if pad_attributes else ""} (x, pads{fill})
      {outputs} = {op} {f"<{words}>" if words else ""} (p{given}) }}"""
    model = graph_of(text, **{**weights, **constants})
    return model, next(node for node in model.graph if node.op_type == op)


SIDES = [0, 0, 1, 2, 0, 0, 3, 1]


@pytest.mark.parametrize(
    ("op", "value", "attributes", "own"),
    [
        ("Conv", "", "", (0, 0, 0, 0)),
        ("Conv", 0, "", (0, 0, 0, 0)),
        ("Conv", 0, "pads = [1, 0, 2, 1]", (1, 0, 2, 1)),
        ("Conv", 0, 'auto_pad = "NOTSET", pads = [1, 0, 2, 1]', (1, 0, 2, 1)),
        ("Conv", 0, 'auto_pad = "VALID"', (0, 0, 0, 0)),
        ("Conv", 0, "strides = [2, 3], dilations = [2, 1]", (0, 0, 0, 0)),
        ("MaxPool", -np.inf, "", (0, 0, 0, 0)),
        ("MaxPool", -3e38, "strides = [2, 2]", (0, 0, 0, 0)),
        ("MaxPool", -1e30, "pads = [0, 0, 0, 0], ceil_mode = 0", (0, 0, 0, 0)),
        ("AveragePool", 0, "count_include_pad = 1", (0, 0, 0, 0)),
        ("AveragePool", 0, "count_include_pad = 1, pads = [1, 0, 0, 1]", (1, 0, 0, 1)),
    ],
)
def test_padding_moves_into_the_operator(op, value, attributes, own):
    sides = SIDES if op == "Conv" else [0, 0, 1, 2, 0, 0, 2, 1]
    model, node = padded(op, sides, value, attributes)
    x = random(2, 3, 9, 8)
    (before,) = run(model, x)
    made = merge_pad(node)
    assert [one.op_type for one in made] == [op]
    wanted = [a + b for a, b in zip(own, [*sides[2:4], *sides[6:]], strict=True)]
    assert list(made[0].attributes["pads"].as_ints()) == wanted
    assert "auto_pad" not in made[0].attributes
    replace(node, made)
    model.graph.remove(next(one for one in model.graph if one.op_type == "Pad"), safe=True)
    assert ops(model) == [op]
    np.testing.assert_allclose(run(model, x)[0], before, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("op", "pads", "value", "attributes", "why"),
    [
        ("Conv", [1, 0, 1, 1, 0, 0, 1, 1], 0, "", r"amounts \[1, 0, 1, 1, 0, 0, 1, 1\] are not at the sides"),
        ("Conv", [0, 0, 1, 1, 0, 1, 1, 1], 0, "", "not at the sides"),
        ("Conv", [0, 0, -1, 1, 0, 0, 1, 1], 0, "", "not at the sides"),
        ("Conv", SIDES, 1, "", "Conv pads with another value than 1, or rounds"),
        ("Conv", SIDES, 0, 'auto_pad = "SAME_UPPER"', "chooses its own padding"),
        ("Conv", SIDES, 0, 'auto_pad = "SAME_LOWER"', "chooses its own padding"),
        ("MaxPool", SIDES, 0, "", "MaxPool pads with another value than 0"),
        ("MaxPool", SIDES, -9e29, "", "another value"),
        ("MaxPool", SIDES, -np.inf, "ceil_mode = 1", "rounds its sides up"),
        ("MaxPool", SIDES, -np.inf, "pads = [0, 1, 0, 0]", "another value"),
        ("AveragePool", SIDES, 0, "", "another value"),
        ("AveragePool", SIDES, 0, "count_include_pad = 0", "another value"),
        ("AveragePool", SIDES, 1, "count_include_pad = 1", "another value"),
        # ONNX Runtime does not load a pool that pads by as much as its window.
        (
            "AveragePool",
            SIDES,
            0,
            "count_include_pad = 1",
            r"cannot pad by \[1, 2, 3, 1\], as much as its window \[3, 3\]",
        ),
        ("MaxPool", SIDES, -np.inf, "", "as much as its window"),
        ("AveragePool", SIDES, 0, "count_include_pad = 1, ceil_mode = 1", "rounds its sides up"),
    ],
)
def test_padding_that_the_operator_cannot_do_stays(op, pads, value, attributes, why):
    _, node = padded(op, pads, value, attributes)
    with pytest.raises(RefusedError, match=why):
        merge_pad(node)


def test_mirrored_and_computed_padding_stays():
    _, node = padded("Conv", SIDES, "", pad_attributes='mode = "reflect"')
    with pytest.raises(RefusedError, match=r"^its padding is computed, or is of the mode 'reflect'$"):
        merge_pad(node)
    model = graph_of("""(float[n,3,9,8] x, int64[8] amounts, float value) => (float[n,4,h,k] y, float[n,4,h,k] z) {
      p = Pad (x, amounts) y = Conv (p, w) q = Pad (x, fixed, value) z = Conv (q, w) }""",
                     w=random(4, 3, 3, 3), fixed=np.asarray(SIDES))  # fmt: skip
    for node in (node for node in model.graph if node.op_type == "Conv"):
        with pytest.raises(RefusedError, match="mode 'constant'"):
            merge_pad(node)


def test_padding_of_some_axes_or_before_other_operators_stays():
    text = "(float[n,3,9,8] x) => (float[n,4,h,k] y) { p = Pad (x, pads, value, axes) y = Conv (p, w) }"
    model = graph_of(text, 18, w=random(4, 3, 3, 3), pads=np.asarray([1, 1, 1, 1]), value=np.float32(0),
                     axes=np.asarray([2, 3]))  # fmt: skip
    with pytest.raises(RefusedError, match="not at the sides"):
        merge_pad(model.graph.node(1))
    relu = graph_of(
        "(float[n,3,9,8] x) => (float[n,c,h,k] y) { p = Pad (x, pads) y = Relu (p) }", pads=np.asarray(SIDES)
    )
    assert merge_pad(relu.graph.node(1)) == ()
    alone = graph_of("(float[n,3,9,8] x) => (float[n,4,h,k] y) { y = Conv (x, w) }", w=random(4, 3, 3, 3))
    assert merge_pad(alone.graph.node(0)) == ()
    _, pool = padded("MaxPool", SIDES, -np.inf, outputs="y, where")
    assert merge_pad(pool) == ()


def test_amounts_of_the_first_opsets_are_attributes():
    text = """(float[n,3,9,8] x) => (float[n,4,h,k] y) {
      p = Pad <pads = [0,0,1,2,0,0,3,1], value = 0.0> (x) y = Conv (p, w) }"""
    model = graph_of(text, 10, w=random(4, 3, 3, 3))
    (made,) = merge_pad(model.graph.node(1))
    assert list(made.attributes["pads"].as_ints()) == [1, 2, 3, 1]
    text = text.replace("value = 0.0", "value = 0.5")
    with pytest.raises(RefusedError, match=r"than 0\.5"):
        merge_pad(graph_of(text, 10, w=random(4, 3, 3, 3)).graph.node(1))


# Sizes.
RESHAPED = """(float[{batch},3,6,4] x) => (float[a,b,c] y) {{
  s = Shape (x) h = Gather <axis = 0> (s, two) f = Mul (h, two) k = Unsqueeze (f, zero)
  t = Concat <axis = 0> (neg, k, neg2) y = Reshape (x, t) }}"""


def sizes(batch):
    return graph_of(RESHAPED.format(batch=batch), two=np.int64(2), zero=np.asarray([0]), neg=np.asarray([-1]),
                    neg2=np.asarray([6]))  # fmt: skip


@pytest.mark.parametrize("batch", ["n", 1, 5])
def test_a_size_that_every_image_has_becomes_a_constant(batch):
    model = sizes(batch)
    x = random(5 if batch == "n" else batch, 3, 6, 4)
    before = run(model, x)[0]
    assert fold_sizes(model) == 1
    assert ops(model)[-1] == "Reshape"
    assert model.graph.node(-1).inputs[1].const_value.numpy().tolist() == [-1, 12, 6]
    np.testing.assert_array_equal(run(model, x)[0], before)
    assert fold_sizes(model) == 0


def test_a_size_of_the_batch_stays_where_the_batch_is_free():
    text = """(float[{batch},3,6,4] x) => (float[a,b] y) {{
      s = Shape <end = 1> (x) t = Concat <axis = 0> (s, rest) y = Reshape (x, t) }}"""
    model = graph_of(text.format(batch="n"), rest=np.asarray([72]))
    assert fold_sizes(model) == 0
    model = graph_of(text.format(batch=4), rest=np.asarray([72]))
    assert fold_sizes(model) == 1
    assert model.graph.node(-1).inputs[1].const_value.numpy().tolist() == [4, 72]


@pytest.mark.parametrize(
    "text",
    [
        "(float[n,3,h,4] x) => (float[a] y) { s = Shape (x) p = ReduceProd <keepdims = 1> (s) y = Reshape (x, p) }",
        "(float[n,3,6,4] x, float[1] z) => (float[a] y) { s = Shape <start = 1> (x) p = ReduceProd <keepdims = 1> (s) "
        "y = Expand (z, p) }",
        "(float x) => (float[a] y) { s = Shape (x) t = Concat <axis = 0> (s, one) y = Expand (x, t) }",
        # The seed of a size is drawn, so it is another one in each run.
        "(float[n,3,6,4] x) => (float[n,3,6,4] y) { r = RandomNormal <shape = [1, 3, 6, 4]> () y = Add (x, r) }",
        "(float[n,3,6,4] x) => (float[n,3,6,4] y) { r = RandomUniformLike (x) y = Add (x, r) }",
        # It does not run: the four numbers of the shape are no row of three.
        "(float[1,3,6,4] x) => (float[a, b] y) { s = Shape (x) u = Reshape (s, three) y = Reshape (x, u) }",
    ],
)
def test_what_is_not_the_same_for_all_images_stays(text):
    model = graph_of(text, one=np.asarray([1]), three=np.asarray([3]))
    before = ops(model)
    assert fold_sizes(model) == 0
    assert ops(model) == before


def test_a_graph_within_a_graph_is_left_as_it_is():
    model = sizes(1)
    inner = helper.make_graph([helper.make_node("Constant", [], ["v"], value_float=1.0)], "i", [],
                              [helper.make_tensor_value_info("v", 1, [])])  # fmt: skip
    proto = ir.serde.serialize_model(model)
    proto.graph.node.append(helper.make_node("If", ["true"], ["unread"], then_branch=inner, else_branch=inner))
    proto.graph.initializer.append(numpy_helper.from_array(np.asarray(True), "true"))
    assert fold_sizes(ir.serde.deserialize_model(proto)) == 0


def test_shapes_are_no_data_and_random_values_are():
    model = graph_of("""(float[n,3,6,4] x) => (float[n,3,6,4] y) {
      s = Shape (x) z = Size (x) t = Add (s, z) e = Expand (one, t) r = RandomNormalLike (e)
      a = Relu (x) b = Add (a, e) c = Add (b, r) y = Relu (c) }""", one=np.float32(1))  # fmt: skip
    assert {value.name for value in data_values(model.graph)} == {"x", "r", "a", "b", "c", "y"}
