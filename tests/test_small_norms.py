"""Batch norms and hard-swishes on the smallest graphs that show them: what is rewritten, and what stays and why."""

import numpy as np
import pytest
from small_graphs import graph_of, last, random, same_after

from scarlet_zoo.graph.passes.batch_norm import fold_batch_norm, fold_batch_norm_behind
from scarlet_zoo.graph.passes.native import (
    absorb_shift,
    merge_means,
    pool_globally,
    raise_hard_sigmoid,
    raise_hard_swish,
)
from scarlet_zoo.graph.passes.rewrite import RefusedError

NORM = {"s": np.linspace(0.5, 2, 4), "b": np.linspace(-1, 1, 4), "m": np.linspace(0.3, -0.4, 4),
        "v": np.asarray([1e-4, 2e-3, 0.5, 2])}  # fmt: skip
KERNEL = random(4, 3, 2, 2)
HEAD = "(float[n,3,6,5] x) => (float[n,4,h,w] y)"


def norm_of(name="BatchNormalization", given="c", made="y", attributes="", more=""):
    return f"{made}{more} = {name} {f'<{attributes}>' if attributes else ''} ({given}, s, b, m, v)"


def with_norm(body, opset=17, head=HEAD, **constants):
    floats = {name: np.asarray(value, np.float32) for name, value in (NORM | {"k": KERNEL} | constants).items()}
    return graph_of(f"{head} {{ {body} }}", opset, **floats)


IMAGE = (2, 3, 6, 5)


@pytest.mark.parametrize("attributes", ["", "epsilon = 0.001", "epsilon = 1e-9", "training_mode = 0"])
def test_a_norm_is_folded_with_its_epsilon(attributes):
    model = with_norm(f"c = Conv (x, k) {norm_of(attributes=attributes)}")
    same_after(fold_batch_norm, model, ["Conv"], IMAGE, 1e-5)


@pytest.mark.parametrize("opset", [7, 8])
def test_statistics_of_channels_are_folded_and_those_of_pixels_are_not(opset):
    if opset == 7:
        refused = with_norm(f"c = Conv (x, k) {norm_of(attributes='spatial = 0')}", opset)
        with pytest.raises(RefusedError, match=r"^it has statistics for every pixel$"):
            fold_batch_norm(last(refused))
    kept = with_norm(f"c = Conv (x, k) {norm_of(attributes='spatial = 1')}", opset)
    same_after(fold_batch_norm, kept, ["Conv"], IMAGE, 1e-5)


def test_a_norm_in_training_stays():
    with pytest.raises(RefusedError, match=r"^it is in training mode$"):
        fold_batch_norm(last(with_norm(f"c = Conv (x, k) {norm_of(attributes='training_mode = 1', more=', rm, rv')}")))
    several = "(float[n,3,6,5] x) => (float[n,4,h,w] y, float[4] rm)"
    body = f"c = Conv (x, k) {norm_of(more=', rm, rv, sm, sv')}"
    with pytest.raises(RefusedError, match=r"^it is in training mode$"):
        fold_batch_norm(last(with_norm(body, 9, several)))
    read = body.replace("y, rm", "z, rm") + " y = Add (z, z) u = Relu (sv)"
    model = with_norm(read, 9)
    norm = next(node for node in model.graph if node.op_type == "BatchNormalization")
    with pytest.raises(RefusedError, match=r"^it is in training mode$"):
        fold_batch_norm(norm)
    assert len(fold_batch_norm(last(with_norm(body, 9)))) == 1  # what nobody reads is no training


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (f"t = Identity (s) c = Conv (x, k) {norm_of().replace('s, b', 't, b')}", "its parameters are not constants"),
        (f"t = Identity (x0) c = Conv (x, t) {norm_of()}", "its parameters are not constants"),
        (f"t = Relu (cb) c = Conv (x, k, t) {norm_of()}", "its parameters are not constants"),
        (
            f"c = Conv (x, k) {norm_of(made='z')} y = Add (z, c)",
            "the convolution's output is read by another node, too",
        ),
    ],
)
def test_what_is_computed_or_read_twice_stays(body, why):
    head = "(float[n,3,6,5] x, float[4,3,2,2] x0) => (float[n,4,h,w] y)"
    model = with_norm(body, head=head, cb=np.ones(4))
    norm = next(node for node in model.graph if node.op_type == "BatchNormalization")
    with pytest.raises(RefusedError, match=f"^{why}$"):
        fold_batch_norm(norm)


def test_a_norm_of_something_else_is_left():
    assert fold_batch_norm(last(with_norm(f"c = Conv (x, k) r = Relu (c) {norm_of(given='r')}"))) == ()
    assert fold_batch_norm(last(with_norm("y = Conv (x, k)"))) == ()
    assert fold_batch_norm_behind(last(with_norm(f"c = Conv (x, k) {norm_of()}"))) == ()
    assert fold_batch_norm_behind(last(with_norm("r = Relu (x) y = Conv (r, k)"))) == ()


BEFORE = "(float[n,4,6,5] x) => (float[n,c,h,w] y)"


@pytest.mark.parametrize("attributes", ["", "pads = [0, 0, 0, 0]", 'auto_pad = "VALID"', 'auto_pad = "NOTSET"',
                                        "group = 2, dilations = [2, 1]"])  # fmt: skip
def test_a_norm_before_a_convolution_without_padding_is_folded(attributes):
    kernel = random(6, 2 if "group" in attributes else 4, 2, 2)
    body = f"{norm_of(given='x', made='a')} y = Conv {f'<{attributes}>' if attributes else ''} (a, k, e)"
    same_after(fold_batch_norm_behind, with_norm(body, head=BEFORE, k=kernel, e=random(6, seed=1)), ["Conv"],
               (2, 4, 6, 5), 1e-5)  # fmt: skip


@pytest.mark.parametrize(
    "attributes",
    [
        "pads = [0, 0, 0, 1]",
        "pads = [1, 0, 0, 0]",
        'auto_pad = "SAME_UPPER"',
        'auto_pad = "SAME_LOWER"',
        'auto_pad = "NOTSET", pads = [0, 1, 0, 0]',
    ],
)
def test_a_norm_before_padding_stays(attributes):
    body = f"{norm_of(given='x', made='a')} y = Conv <{attributes}> (a, k)"
    with pytest.raises(RefusedError, match=r"^the batch norm before it cannot pass its padding$"):
        fold_batch_norm_behind(last(with_norm(body, head=BEFORE, k=random(6, 4, 2, 2))))


def test_a_norm_before_stays_where_others_read_it_or_the_product_turns_its_input():
    body = f"{norm_of(given='x', made='a')} q = Conv (a, k) r = ReduceMean <axes = [1,2,3]> (a) y = Add (q, r)"
    model = with_norm(body, head=BEFORE, k=random(6, 4, 1, 1))
    with pytest.raises(RefusedError, match=r"^the batch norm before it is read by another node, too$"):
        fold_batch_norm_behind(model.graph.node(1))
    head = "(float[5,4] x) => (float[4,2] y)"
    turned = with_norm(f"{norm_of(given='x', made='a')} y = Gemm <transA = 1> (a, k)", head=head, k=random(5, 2))
    with pytest.raises(RefusedError, match=r"without transA$"):
        fold_batch_norm_behind(last(turned))


@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("transposed", [0, 1])
def test_a_norm_beside_a_product_is_folded(place, transposed):
    before = place == "before"
    weight = random(4, 3) if before else random(3, 4)
    name = "(float[5,4] x) => (float[5,3] y)" if before else "(float[5,3] x) => (float[5,4] y)"
    gemm = f"Gemm <alpha = 0.5, beta = 3.0, transB = {transposed}>"
    norm = norm_of(given="x", made="a") if before else norm_of()
    bias = random(3 if before else 4, seed=2)
    body = f"{norm} y = {gemm} (a, k, e)" if before else f"c = {gemm} (x, k, e) {norm}"
    model = with_norm(body, head=name, k=weight.T if transposed else weight, e=bias)
    same_after(
        fold_batch_norm_behind if before else fold_batch_norm, model, ["Gemm"], (5, 4) if before else (5, 3), 1e-5
    )


@pytest.mark.parametrize("groups", [1, 2])
def test_a_norm_behind_a_transposed_convolution_is_folded_by_group(groups):
    head = "(float[n,6,6,5] x) => (float[n,4,h,w] y)"
    body = f"c = ConvTranspose <group = {groups}, strides = [2, 2]> (x, k, e) {norm_of()}"
    model = with_norm(body, head=head, k=random(6, 4 // groups, 2, 3), e=random(4, seed=3))
    same_after(fold_batch_norm, model, ["ConvTranspose"], (2, 6, 6, 5), 1e-5)


# Hard-swish and its parts.
ANY = "(float[n,4,6,5] x) => (float[n,4,6,5] y)"
SPELT = {
    "clip, divided": "a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) y = Div (m, six)",
    "min of relu": "a = Add (three, x) r = Relu (a) c = Min (r, six) m = Mul (c, x) y = Div (m, six)",
    "min, the other way": "a = Add (three, x) r = Relu (a) c = Min (six, r) m = Mul (x, c) y = Mul (sixth, m)",
    "a factor behind": "a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) y = Mul (m, sixth)",
    "its own gate": "g = HardSigmoid <alpha = 0.1666667, beta = 0.5> (x) y = Mul (x, g)",
    "its own gate, the other way": "g = HardSigmoid <alpha = 0.1666667> (x) y = Mul (g, x)",
}
NUMBERS = {"three": 3.0, "zero": 0.0, "six": 6.0, "sixth": 1 / 6, "two": 2.0, "seven": 7.0}


def of_numbers(body, opset=17, head=ANY):
    constants = {name: np.float32(value) for name, value in NUMBERS.items() if name in body}
    return graph_of(f"{head} {{ {body} }}", opset, **constants)


@pytest.mark.parametrize("spelling", SPELT)
def test_a_hard_swish_is_found_in_each_spelling(spelling):
    same_after(raise_hard_swish, of_numbers(SPELT[spelling]), ["HardSwish"], (2, 4, 6, 5), 1e-6)


def test_bounds_are_attributes_in_the_first_opsets():
    text = "a = Add (x, three) c = Clip <min = 0.0, max = 6.0> (a) y = Div (c, six)"
    same_after(raise_hard_sigmoid, of_numbers(text, 10), ["HardSigmoid"], (2, 4, 6, 5), 1e-6)
    for other in ("<min = 0.0, max = 7.0>", "<min = 1.0, max = 6.0>", "<max = 6.0>", "<min = 0.0>"):
        assert raise_hard_sigmoid(last(of_numbers(text.replace("<min = 0.0, max = 6.0>", other), 10))) == ()


@pytest.mark.parametrize("text", [
    "a = Add (x, two) c = Clip (a, zero, six) m = Mul (x, c) y = Div (m, six)",
    "a = Add (x, three) c = Clip (a, zero, seven) m = Mul (x, c) y = Div (m, six)",
    "a = Add (x, three) c = Clip (a, two, six) m = Mul (x, c) y = Div (m, six)",
    "a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) y = Div (m, seven)",
    "a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) y = Div (six, m)",
    "a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) y = Mul (m, two)",
    "a = Add (x, three) c = Clip (a, zero) m = Mul (x, c) y = Div (m, six)",
    "a = Mul (x, three) c = Clip (a, zero, six) m = Mul (x, c) y = Div (m, six)",
    "a = Add (x, three) c = Clip (a, zero, six) m = Add (x, c) y = Div (m, six)",
    "a = Add (x, three) r = Relu (a) c = Min (r, seven) m = Mul (x, c) y = Div (m, six)",
    "a = Add (x, three) c = Min (a, six) m = Mul (x, c) y = Div (m, six)",
    "a = Add (x, three) r = Relu (a) c = Min (r, six, seven) m = Mul (x, c) y = Div (m, six)",
    "q = Abs (x) a = Add (x, three) c = Clip (a, zero, six) m = Mul (q, c) y = Div (m, six)",
    "g = HardSigmoid (x) y = Mul (x, g)", "g = HardSigmoid <alpha = 0.1666667, beta = 0.4> (x) y = Mul (x, g)",
    "q = Abs (x) g = HardSigmoid <alpha = 0.1666667> (q) y = Mul (x, g)"])  # fmt: skip
def test_what_is_nearly_a_hard_swish_is_none(text):
    assert raise_hard_swish(last(of_numbers(text))) == ()


def test_before_opset_14_a_hard_swish_is_a_product_with_its_gate():
    same_after(raise_hard_swish, of_numbers(SPELT["clip, divided"], 13), ["HardSigmoid", "Mul"], (2, 4, 6, 5), 1e-6)
    with pytest.raises(RefusedError, match=r"^opset 13 has no HardSwish, wanted 14 or later$"):
        raise_hard_swish(last(of_numbers(SPELT["its own gate"], 13)))


def test_integers_have_no_hard_sigmoid():
    text = "(int64[4] x) => (int64[4] y) { a = Add (x, three) c = Clip (a, zero, six) y = Div (c, six) }"
    constants = {name: np.int64(NUMBERS[name]) for name in ("three", "zero", "six")}
    assert raise_hard_sigmoid(last(graph_of(text, **constants))) == ()


# Means.
@pytest.mark.parametrize(("text", "made"), [
    ("(float[n,4,6,5] x) => (float[n,4] y) { y = ReduceMean <axes = [2, 3], keepdims = 0> (x) }",
     ["GlobalAveragePool", "Flatten"]),
    ("(float[n,4,6,5] x) => (float[n,4] y) { y = ReduceMean <axes = [-1, -2], keepdims = 0> (x) }",
     ["GlobalAveragePool", "Flatten"]),
    ("(float[n,4,6,5] x) => (float[n,4,1,1] y) { y = ReduceMean <axes = [2, 3]> (x) }", ["GlobalAveragePool"]),
    ("(float[n,4,6,5] x) => (float[n,4,1,1] y) { y = ReduceMean <axes = [3, 2], keepdims = 1> (x) }",
     ["GlobalAveragePool"])])  # fmt: skip
def test_means_of_images_are_pools(text, made):
    same_after(pool_globally, graph_of(text), made, (2, 4, 6, 5), 1e-6)


@pytest.mark.parametrize("text", [
    "(float[n,4,6,5] x) => (float[n,4,5] y) { y = ReduceMean <axes = [2], keepdims = 0> (x) }",
    "(float[n,4,6,5] x) => (float[n,5] y) { y = ReduceMean <axes = [1, 2], keepdims = 0> (x) }",
    "(float[n,2,4,6,5] x) => (float[n,2,5] y) { y = ReduceMean <axes = [2, 3], keepdims = 0> (x) }",
    "(float[n,4,6,5] x) => (float[n,4] y) { y = ReduceMax <axes = [2, 3], keepdims = 0> (x) }"])  # fmt: skip
def test_other_means_stay(text):
    assert pool_globally(last(graph_of(text))) == ()


def test_axes_may_be_an_input():
    text = "(float[n,4,6,5] x) => (float[n,4] y) { y = ReduceMean <keepdims = 0> (x, axes) }"
    same_after(pool_globally, graph_of(text, 18, axes=np.asarray([2, 3])), ["GlobalAveragePool", "Flatten"],
               (2, 4, 6, 5), 1e-6)  # fmt: skip


MEANS = """(float[n,4,6,5] x) => (float[n,4] y) {
  c = ReduceMean <axes = [3], keepdims = 0> (x) y = ReduceMean <axes = [2], keepdims = 0> (c) }"""


def test_a_mean_of_means_is_a_pool():
    same_after(merge_means, graph_of(MEANS), ["GlobalAveragePool", "Flatten"], (2, 4, 6, 5), 1e-6)
    for old, new in (("axes = [3], keepdims = 0", "axes = [3], keepdims = 1"),
                     ("[2], keepdims = 0", "[2], keepdims = 1"),
                     ("axes = [3]", "axes = [2]"), ("y = ReduceMean <axes = [2]", "y = ReduceMean <axes = [1]"),
                     ("c = ReduceMean", "c = ReduceMax"), ("y = ReduceMean", "y = ReduceMax")):  # fmt: skip
        text = MEANS.replace(old, new).replace("float[n,4] y", "float[a,b] y")
        assert merge_means(last(graph_of(text))) == (), new


# Added constants.
@pytest.mark.parametrize("added", [(), (1,), (1, 1, 1), (4, 1, 1), (1, 4, 1, 1)])
@pytest.mark.parametrize("bias", [", e", ""])
@pytest.mark.parametrize("order", ["c, t", "t, c"])
def test_one_value_a_channel_goes_into_the_bias(added, bias, order):
    body = f"c = Conv (x, k{bias}) y = Add ({order})"
    same_after(absorb_shift, with_norm(body, e=random(4, seed=1), t=random(*added, seed=2)), ["Conv"], IMAGE, 1e-5)


@pytest.mark.parametrize(("added", "why"), [
    ((1, 1, 1, 1, 1), "which has more axes than the output"), ((1, 1, 4), "wanted one value, or one for each channel"),
    ((2, 4, 1, 1), "wanted one value, or one"), ((4, 1), "wanted one value, or one")])  # fmt: skip
def test_another_shape_stays(added, why):
    model = graph_of(f"{HEAD} {{ c = Conv (x, k) y = Add (c, t) }}", k=KERNEL, t=random(*added))
    with pytest.raises(RefusedError, match=why):
        absorb_shift(last(model))


def test_a_sum_is_absorbed_only_where_the_convolution_is_constant_and_read_once():
    head = "(float[n,3,6,5] x, float[4] e) => (float[n,4,h,w] y)"
    computed = graph_of(f"{head} {{ c = Conv (x, k, e) y = Add (c, t) }}", k=KERNEL, t=np.float32(1))
    with pytest.raises(RefusedError, match=r"^the convolution's parameters are not constants$"):
        absorb_shift(last(computed))
    twice = graph_of(f"{HEAD} {{ c = Conv (x, k) a = Add (c, t) y = Mul (a, c) }}", k=KERNEL, t=np.float32(1))
    with pytest.raises(RefusedError, match="read by another node"):
        absorb_shift(twice.graph.node(1))
    assert absorb_shift(last(twice)) == ()
    alone = graph_of(f"{HEAD} {{ c = Conv (x, k) r = Relu (c) y = Add (r, t) }}", k=KERNEL, t=np.float32(1))
    assert absorb_shift(last(alone)) == ()
