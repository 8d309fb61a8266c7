"""ONNX files with other metadata, shapes, attributes, names or types, or with broken bytes."""

import examples
import hostile
import onnx

SIDES = (0, -1, 1, 3, 7, 2**31, 2**40, 2**62, -(2**63))
NAMES = ("", "input", "logits", "w", "\0", "\u202e", "x" * 300, "Conv", "If", "Loop", "ai.onnx", "/etc/passwd")
OPERATORS = (*NAMES, "Gemm", "Relu", "Softmax", "QLinearConv", "ConstantOfShape")
TYPES = (0, 1, 2, 3, 7, 8, 9, 16, 17, 23, 99, -1)


def model(rng, metadata):
    """The bytes of a hostile network; it has these metadata if its own are changed."""
    made = onnx.ModelProto()
    made.CopyFrom(examples.model())
    if rng.random() < 0.3:
        return hostile.content(rng, made.SerializeToString())
    for _ in range(hostile.times(rng)):
        if rng.random() < 0.15:
            _set_metadata(made, metadata)
        elif made.graph.node:
            rng.choice(CHANGES)(rng, made)
    return made.SerializeToString()


def _set_metadata(made, metadata):
    del made.metadata_props[:]
    for key, text in metadata.items():
        made.metadata_props.add(key=key, value=text.encode("utf-8", "replace").decode())


def _constant_shape(rng, made):
    dims = rng.choice(made.graph.initializer).dims
    dims[rng.randrange(len(dims))] = rng.choice(SIDES)


def _end_shape(rng, made):
    end = rng.choice((*made.graph.input, *made.graph.output))
    rng.choice(end.type.tensor_type.shape.dim).dim_value = rng.choice(SIDES)


def _attribute(rng, made):
    found = [attribute for node in made.graph.node for attribute in node.attribute]
    if found:
        attribute = rng.choice(found)
        attribute.i = rng.choice(SIDES)
        if attribute.ints:
            attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(SIDES)


def _operator(rng, made):
    rng.choice(made.graph.node).op_type = rng.choice(OPERATORS)


def _input(rng, made):
    given = rng.choice(made.graph.node).input
    given[rng.randrange(len(given))] = rng.choice(NAMES)


def _output(rng, made):
    rng.choice(made.graph.node).output[0] = rng.choice(NAMES)


def _type(rng, made):
    rng.choice(made.graph.initializer).data_type = rng.choice(TYPES)


def _data(rng, made):
    constant = rng.choice(made.graph.initializer)
    constant.raw_data = hostile.content(rng, constant.raw_data)


def _versions(rng, made):
    made.opset_import[0].version = rng.choice((*SIDES, 6, 13, 21, 99))
    made.ir_version = rng.choice((0, 3, 10, 99, 2**40))


def _external(rng, made):
    constant = rng.choice(made.graph.initializer)
    constant.data_location = onnx.TensorProto.EXTERNAL
    location, offset = rng.choice((*NAMES, "../x", "net.onnx")), rng.choice(hostile.TEXTS)
    for key, text in (("location", location), ("offset", offset)):
        constant.external_data.add(key=key, value=text.encode("utf-8", "replace").decode())


def _fewer_nodes(rng, made):
    del made.graph.node[rng.randrange(len(made.graph.node))]


CHANGES = (_constant_shape, _end_shape, _attribute, _operator, _input, _output, _type, _data, _versions, _external,
           _fewer_nodes)  # fmt: skip
