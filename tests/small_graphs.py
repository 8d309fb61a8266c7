"""Graphs of a few operators, written in ONNX's text, for tests of one pass."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import numpy_helper

from scarlet_zoo.graph.passes.rewrite import apply


def graph_of(text, opset=17, **constants):
    """A model from ONNX's text, ``x`` first among its inputs, with these arrays as constants."""
    model = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": {opset}]> g {text}')
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    return ir.serde.deserialize_model(onnx.shape_inference.infer_shapes(model))


def ops(model):
    return [node.op_type for node in model.graph]


def run(model, x):
    proto = ir.serde.serialize_model(model)
    onnx.checker.check_model(proto)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def last(model):
    return model.graph.node(-1)


def same_after(rewrite, model, wanted, shape, tolerance=1e-6):
    """Apply a rewrite once; the operators that it leaves, and that it changes no value."""
    x, refused = random(*shape), []
    before = run(model, x)[0]
    assert apply(rewrite, model.graph, refused) == 1
    assert (ops(model), refused) == (wanted, [])
    after = run(model, x)[0]
    assert after.shape == before.shape
    assert np.abs(after - before).max() <= tolerance * np.abs(before).max()
