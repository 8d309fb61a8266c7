"""Small ONNX files as exporters that are not ours write them."""

import warnings
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

FLOAT = TensorProto.FLOAT


class Swish(nn.Module):
    """Hard-swish in basic operators."""

    def forward(self, x):
        return x * nn.functional.relu6(x + 3) / 6


def network(channels=3, classes=5):
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), Swish(), nn.Conv2d(8, 8, 3, 1, 1), Swish(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),
    )  # fmt: skip


def torch_file(model, path, *inputs, seed=0, **how):
    """Export with torch, without folding norms, with norms that have seen data, and a dynamic batch."""
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
    names = [f"x{place}" if place else "x" for place in range(len(inputs))]
    axes: dict[str, Any] = {name: {0: "n"} for name in names}
    usual: dict[str, Any] = {"dynamo": False, "opset_version": 17, "input_names": names, "dynamic_axes": axes}
    usual["training"] = torch.onnx.TrainingMode.PRESERVE  # which leaves batch norms as they are
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), inputs, str(path), **(usual | how))
    return path


def with_data_beside(source, folder, model="model.onnx", data="model.onnx_data"):
    """Write a model with all its tensors in a data file."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save_model(onnx.load(source), folder / model, save_as_external_data=True, location=data, size_threshold=0)
    return folder / model


def faulty(path, out, name_of=lambda name, array: array.ndim > 1, factor=1.01):
    """Yield for each float weight a copy of a file in which its largest element is off by a factor."""
    model = onnx.load(path)
    for place, tensor in enumerate(model.graph.initializer):
        array = numpy_helper.to_array(tensor).copy()
        if array.dtype.kind == "f" and array.size > 1 and name_of(tensor.name, array):
            largest = np.unravel_index(np.abs(array).argmax(), array.shape)
            array[largest] *= factor
            copy = onnx.ModelProto()
            copy.CopyFrom(model)
            copy.graph.initializer[place].CopyFrom(numpy_helper.from_array(array, tensor.name))
            onnx.save(copy, out)
            yield f"{tensor.name} {array.shape}"


def images(name, shape=(1, 4, 8, 8)):
    return helper.make_tensor_value_info(name, FLOAT, shape)


def convolution(source, output):
    return helper.make_node("Conv", [source, "w"], [output], pads=[1] * 4)


def swish(source, output, opset=17):
    """The four nodes of a hard-swish, with a clip as the opset spells it."""
    bounds: tuple[list[str], dict[str, Any]] = (["low", "six"], {}) if opset >= 11 else ([], {"min": 0.0, "max": 6.0})
    return [helper.make_node("Add", [source, "three"], [f"{output}_a"]),
            helper.make_node("Clip", [f"{output}_a", *bounds[0]], [f"{output}_c"], **bounds[1]),
            helper.make_node("Mul", [source, f"{output}_c"], [f"{output}_m"]),
            helper.make_node("Div", [f"{output}_m", "six"], [output])]  # fmt: skip


def model_of(nodes, path, opset=17, ir_version=8, tensors=(), functions=(), inputs=None, outputs=None):
    """Write a graph of these nodes, from x to y, with the constants w, three, low and six."""
    weight = np.random.default_rng(0).standard_normal((4, 4, 3, 3)).astype(np.float32)
    scalars = [numpy_helper.from_array(np.array(value, np.float32), name) for name, value in
               (("three", 3), ("low", 0), ("six", 6))]  # fmt: skip
    constants = [numpy_helper.from_array(weight, "w"), *scalars, *tensors]
    given = list(inputs or [images("x")])
    if ir_version < 4:
        given += [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in constants]
    graph = helper.make_graph(nodes, "g", given, list(outputs or [images("y")]), constants)
    domains = [helper.make_opsetid("", opset), *([helper.make_opsetid("own", 1)] if functions else [])]
    model = helper.make_model(graph, opset_imports=domains, ir_version=ir_version, functions=list(functions))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def branching(path):
    """A file with a hard-swish inside one branch, behind the other, and a convolution in each."""
    branches = {
        name: helper.make_graph(
            [convolution("x", f"{name}_c"), *last(f"{name}_c", f"{name}_y")], name, [], [images(f"{name}_y")])
        for name, last in (("then_branch", swish), ("else_branch", lambda x, y: [helper.make_node("Relu", [x], [y])]))
    }  # fmt: skip
    nodes = [helper.make_node("ReduceMean", ["x"], ["m"], keepdims=0), helper.make_node("Greater", ["m", "low"], ["c"]),
             helper.make_node("If", ["c"], ["i"], **branches), *swish("i", "y")]  # fmt: skip
    return model_of(nodes, path)


def looping(path):
    body = helper.make_graph(
        [convolution("state", "k"), *swish("k", "next"), helper.make_node("Identity", ["go"], ["go_on"])], "body",
        [helper.make_tensor_value_info("step", TensorProto.INT64, ()),
         helper.make_tensor_value_info("go", TensorProto.BOOL, ()), images("state")],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, ()), images("next")],
    )  # fmt: skip
    tensors = [numpy_helper.from_array(np.array(2), "times"), numpy_helper.from_array(np.array(True), "yes")]
    return model_of([helper.make_node("Loop", ["times", "yes", "x"], ["y"], body=body)], path, tensors=tensors)


def scanning(path):
    body = helper.make_graph(
        [helper.make_node("Add", ["state", "item"], ["s"]), convolution("s", "k"), *swish("k", "next"),
         helper.make_node("Identity", ["next"], ["out"])], "body",
        [images("state"), images("item")], [images("next"), images("out")],
    )  # fmt: skip
    start = numpy_helper.from_array(np.zeros((1, 4, 8, 8), np.float32), "start")
    scan = helper.make_node("Scan", ["start", "x"], ["last", "y"], body=body, num_scan_inputs=1)
    long = (2, 1, 4, 8, 8)
    return model_of([scan], path, tensors=[start], inputs=[images("x", long)], outputs=[images("y", long)])


def with_functions(path):
    inside = [helper.make_node("Constant", [], [name], value_float=value)
              for name, value in (("three", 3.0), ("low", 0.0), ("six", 6.0))]  # fmt: skip
    block = helper.make_function("own", "Block", ["a", "w"], ["b"],
                                 [helper.make_node("Conv", ["a", "w"], ["k"], pads=[1] * 4), *inside,
                                  *swish("k", "b")], [helper.make_opsetid("", 17)])  # fmt: skip
    return model_of([helper.make_node("Block", ["x", "w"], ["y"], domain="own")], path, functions=[block])
