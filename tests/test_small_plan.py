"""Which operators of a small graph compute in integers, whose ranges are whose, and what stays in float."""

import numpy as np
import pytest
from small_graphs import graph_of, random

from scarlet_zoo.graph.quantization.plan import bounds_of, data_of, plan, tensors_of

HEAD = "(float[n,4,6,6] x) => (float[n,a,b,c] y)"
WEIGHTS = {"w": random(4, 4, 1, 1), "u": random(4, 4, 1, 1, seed=1)}
NUMBERS = {"three": 3.0, "zero": 0.0, "six": 6.0, "two": 2.0, "below": -1.0, "half": 0.5, "minus": -0.5}


def graph(body, head=HEAD, opset=17, **more):
    """The graph of this body with the constants that it names."""
    words = body.replace(",", " ").replace("(", " ").replace(")", " ").split()
    constants = {name: np.float32(value) for name, value in NUMBERS.items() if name in words}
    constants |= {name: value for name, value in WEIGHTS.items() if name in words}
    return graph_of(f"{head} {{ {body} }}", opset, **(constants | more)).graph


def names(nodes):
    return [node.outputs[0].name for node in nodes]


def planned(body, skipped=frozenset(), **how):
    return plan(graph(body, **how), frozenset(skipped))


def integers(body, **how):
    """The outputs of what computes in integers, and of what stays in float."""
    found = planned(body, **how)
    return names(found.operators), names(found.left)


def test_a_relu_behind_a_convolution_is_the_range_of_its_output():
    found = planned("a = Conv (x, w) r = Relu (a) y = Conv (r, u)")
    assert names(found.operators) == ["a", "y"]
    assert {key: node.outputs[0].name for key, node in found.bounded.items()} == {"a": "r"}
    assert {key: node.op_type for key, node in found.clips_by_output.items()} == {"r": "Relu"}
    assert (found.left, found.clipped, found.aliases) == ([], [], {})
    assert tensors_of(found) == ["x", "r", "y"]


def test_a_relu_beside_another_reader_is_computed_on_integers():
    found = planned("a = Conv (x, w) r = Relu (a) s = Add (r, a) y = Conv (s, u)")
    assert names(found.operators) == ["a", "r", "s", "y"]
    assert (names(found.clipped), found.aliases, found.bounded) == (["r"], {"r": "a"}, {})
    assert tensors_of(found) == ["x", "a", "s", "y"]


def test_a_hard_swish_is_one_operator_that_reads_its_x():
    body = "a = Conv (x, w) s = Add (a, three) c = Clip (s, zero, six) m = Mul (a, c) y = Conv (m, u)"
    found = planned(body)
    assert names(found.operators) == ["a", "m", "y"]
    assert list(found.swishes) == ["a"]
    assert [value.name for value in found.reads(found.operators[1])] == ["a"]
    assert [value.name for value in found.reads(found.operators[2])] == ["m"]
    assert found.left == []
    assert tensors_of(found) == ["x", "a", "m", "y"]
    turned = planned(body.replace("Add (a, three)", "Add (three, a)").replace("Mul (a, c)", "Mul (c, a)"))
    assert list(turned.swishes) == ["a"]


@pytest.mark.parametrize(("old", "new"), [
    ("three", "two"), ("zero, six", "zero, three"), ("zero, six", "below, six"), ("Mul (a, c)", "Mul (x, c)"),
    ("a = Conv (x, w)", "a = Sigmoid (x)"), ("y = Conv (m, u)", "q = Conv (m, u) y = Add (q, a)"),
    ("y = Conv (m, u)", "q = Conv (m, u) y = Add (q, c)"), ("y = Conv (m, u)", "q = Conv (m, u) y = Add (q, s)"),
    ("m = Mul (a, c)", "m = Div (a, c)")])  # fmt: skip
def test_what_is_nearly_a_hard_swish_is_none(old, new):
    body = "a = Conv (x, w) s = Add (a, three) c = Clip (s, zero, six) m = Mul (a, c) y = Conv (m, u)"
    assert planned(body.replace(old, new)).swishes == {}


def test_the_parts_of_a_hard_swish_that_stays_in_float_are_told():
    body = "a = Conv (x, w) s = Add (a, three) c = Clip (s, zero, six) m = Mul (a, c) y = Div (m, six)"
    found = planned(body)
    assert names(found.operators) == ["a"]
    assert names(found.left) == ["m", "y"]


@pytest.mark.parametrize(("body", "wanted", "left"), [
    ("y = Conv (x, w)", ["y"], []),
    ("a = Conv (x, w) e = Exp (a) y = Conv (e, u)", ["a", "y"], ["e"]),
    # Nothing that has no neighbour in integers is one.
    ("e = Exp (x) s = Sigmoid (e) y = Exp (s)", [], ["e", "s", "y"]),
    ("e = Exp (x) s = Sigmoid (e) y = Conv (s, u)", ["y"], ["e", "s"]),
    ("a = Conv (x, w) s = Sigmoid (a) y = Exp (s)", ["a"], ["s", "y"]),
    ("a = Conv (x, w) s = Sigmoid (a) t = LeakyRelu (s) y = Exp (t)", ["a"], ["s", "t", "y"]),
    ("a = Conv (x, w) s = Sigmoid (a) y = Mul (s, a)", ["a", "s", "y"], []),
    ("a = Conv (x, w) g = GlobalAveragePool (a) y = Mul (a, g)", ["a", "g", "y"], []),
    ("a = Conv (x, w) g = AveragePool <kernel_shape = [2, 2]> (a) y = Conv (g, u)", ["a", "g", "y"], []),
    ("a = Conv (x, w) y = Concat <axis = 1> (a, x)", ["a", "y"], []),
    ("a = Conv (x, w) y = Add (a, few)", ["a"], ["y"]),
    ("a = Conv (x, w) y = Concat <axis = 1> (a, many)", ["a"], ["y"])])  # fmt: skip
def test_integers_are_what_stands_between_integers(body, wanted, left):
    more = {"few": random(1, 4, 1, 1)} if "few" in body else {"many": random(1, 4, 6, 6)} if "many" in body else {}
    assert integers(body, **more) == (wanted, left)


MOVES = {
    "Transpose": "t = Transpose <perm = [0, 1, 3, 2]> (a)",
    "MaxPool": "t = MaxPool <kernel_shape = [2, 2]> (a)",
    "Identity": "t = Identity (a)",
    "SpaceToDepth": "t = SpaceToDepth <blocksize = 1> (a)",
    "DepthToSpace": "t = DepthToSpace <blocksize = 1> (a)",
    "Resize": 't = Resize <mode = "nearest"> (a, , scales)',
    "Resize of the usual mode": "t = Resize (a, , scales)",
    "Pad": "t = Pad (a, pads)",
    "Pad of the mode": 't = Pad <mode = "constant"> (a, pads)',
    "Slice": "t = Slice (a, from, to)",
    "Expand": "t = Expand (a, shape)",
    "Tile": "t = Tile (a, ones)",
    "Reshape": "t = Reshape (a, same)",
}
AMOUNTS = {"scales": np.asarray([1, 1, 2, 2], np.float32), "pads": np.asarray([0, 0, 1, 1, 0, 0, 1, 1]),
           "from": np.asarray([1]), "to": np.asarray([3]), "shape": np.asarray([1, 4, 6, 6]),
           "ones": np.asarray([1, 1, 1, 1]), "same": np.asarray([0, 4, 6, 6])}  # fmt: skip


def needed(body):
    return {name: value for name, value in AMOUNTS.items() if f"{name})" in body or f"{name}," in body}


@pytest.mark.parametrize("move", MOVES)
def test_what_only_moves_values_keeps_their_range(move):
    body = f"a = Conv (x, w) {MOVES[move]} y = Conv (t, u)"
    found = planned(body, **needed(body))
    assert names(found.operators) == ["a", "t", "y"]
    assert (found.aliases, found.factors, found.left) == ({"t": "a"}, {}, [])
    assert tensors_of(found) == ["x", "a", "y"]


@pytest.mark.parametrize("move", [
    "t = Resize <mode = \"linear\"> (a, , scales)", "t = Pad <mode = \"reflect\"> (a, pads)", "t = Pad (a, pads, one)",
    "t = Softmax (a)", "t = Pow (a, two)"])  # fmt: skip
def test_what_changes_values_in_other_ways_stays_in_float(move):
    body = f"a = Conv (x, w) {move} y = Conv (t, u)"
    more = needed(body) | ({"one": np.float32(1)} if "one)" in body else {})
    assert integers(body, **more) == (["a", "y"], ["t"])


def test_every_part_of_a_split_has_the_range_of_the_whole():
    found = planned("a = Conv (x, w) s, t = Split <axis = 1> (a) y = Add (s, t)", opset=11)
    assert found.aliases == {"s": "a", "t": "a"}


@pytest.mark.parametrize(("factor", "order", "wanted"), [
    ("half", "a, half", {"m": 0.5}), ("half", "half, a", {"m": 0.5}), ("six", "a, six", {"m": 6.0}),
    ("minus", "a, minus", {}), ("zero", "a, zero", {})])  # fmt: skip
def test_a_positive_factor_changes_the_scale_alone(factor, order, wanted):
    found = planned(f"a = Conv (x, w) m = Mul ({order}) y = Conv (m, u)")
    assert found.factors == wanted
    assert found.aliases == ({"m": "a"} if wanted else {})
    assert ("m" in names(found.left)) == (not wanted)


@pytest.mark.parametrize(("bounds", "wanted"), [
    ("Relu (a)", (0, np.inf)), ("Clip (a, zero, six)", (0, 6)), ("Clip (a, below, six)", (-1, 6)),
    ("Clip (a, zero)", (0, np.inf)), ("Clip (a)", None), ("Clip (a, half, six)", None), ("Clip (a, below, zero)", None),
    ("Clip (a, below, minus)", None), ("Clip (a, , six)", None)])  # fmt: skip
def test_bounds_are_constant_and_hold_zero(bounds, wanted):
    made = graph(f"a = Conv (x, w) y = {bounds}")
    assert bounds_of(made.node(1)) == wanted
    assert names(plan(made).left) == ([] if wanted else ["y"])


def test_bounds_of_the_first_opsets_are_attributes_and_stay():
    for attributes in ("min = 0.0", "max = 6.0", "min = 0.0, max = 6.0"):
        assert bounds_of(graph(f"a = Conv (x, w) y = Clip <{attributes}> (a)", opset=10).node(1)) is None


def test_a_bound_behind_what_has_no_grid_of_its_own_is_computed():
    for before in ("a = MaxPool <kernel_shape = [1, 1]> (c)", "a = Mul (c, half)"):
        found = planned(f"c = Conv (x, w) {before} r = Relu (a) y = Conv (r, u)")
        assert (names(found.clipped), found.bounded) == (["r"], {})
    first = planned("r = Relu (x) y = Conv (r, u)")
    assert (names(first.clipped), first.aliases) == (["r"], {"r": "x"})


VECTOR = "(float[n,4] x) => (float[n,3] y)"


@pytest.mark.parametrize(("gemm", "fits"), [
    ("Gemm (x, k)", True), ("Gemm (x, k, e)", True), ("Gemm <alpha = 1.0, beta = 1.0> (x, k, e)", True),
    ("Gemm <transB = 0> (x, k, e)", True), ("Gemm <transA = 0> (x, k, e)", True), ("Gemm <alpha = 2.0> (x, k)", False),
    ("Gemm <beta = 0.5> (x, k, e)", False), ("Gemm (x, k, row)", False), ("Gemm (x, k, t)", False)])  # fmt: skip
def test_a_product_has_factors_of_one_and_a_constant_bias(gemm, fits):
    more = {"k": random(4, 3), "e": random(3), "row": random(1, 3)}
    more = {name: value for name, value in more.items() if f"{name})" in gemm or f"{name}," in gemm}
    head = "(float[n,4] x, float[3] t) => (float[n,3] y)" if "t)" in gemm else VECTOR
    assert integers(f"y = {gemm}", head=head, **more) == ((["y"], []) if fits else ([], ["y"]))


def test_a_turned_product_stays():
    assert integers("y = Gemm <transA = 1> (x, k)", head="(float[4,5] x) => (float[5,3] y)", k=random(4, 3)) == (
        [],
        ["y"],
    )


def test_weights_that_are_computed_or_no_float32_stay():
    head = "(float[n,4,6,6] x, float[4,4,1,1] t, float[4] e) => (float[n,4,6,6] y)"
    assert integers("y = Conv (x, t)", head=head)[0] == []
    assert integers("y = Conv (x, w, e)", head=head)[0] == []
    double = "(double[n,4,6,6] x) => (double[n,4,6,6] y)"
    assert integers("y = Conv (x, k)", head=double, k=WEIGHTS["w"].astype(np.float64))[0] == []


def test_operators_of_others_and_of_integers_stay():
    made = graph("a = Conv (x, w) y = Relu (a)")
    made.node(1).domain = "com.others"
    assert names(plan(made).left) == ["y"]
    counts = "(int64[n,4,6,6] x) => (int64[n,4,6,6] y)"
    assert integers("a = Identity (x) y = Identity (a)", head=counts)[0] == []


def test_a_node_may_be_left_in_float_by_name():
    made = graph("a = Conv (x, w) r = Relu (a) y = Conv (r, u)")
    for node in made:
        node.name = f"of {node.outputs[0].name}"
    found = plan(made, frozenset({"of a"}))
    assert (names(found.operators), names(found.left), found.bounded) == (["y"], ["a", "r"], {})
    without = plan(made, frozenset({"of y", "of a"}))
    assert without.operators == []


def test_data_are_inputs_that_are_no_constants_and_no_sizes():
    made = graph("a = Add (x, half) t = Tile (a, ones) y = Add (t, a)", ones=AMOUNTS["ones"])
    assert [[value.name for value in data_of(node)] for node in made] == [["x"], ["a"], ["t", "a"]]
    assert data_of(graph("y = Clip (x, , six)").node(0))[0].name == "x"
