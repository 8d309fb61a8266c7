"""Parsers of files: networks, weights, images, and what stands beside them."""

import json
from pathlib import Path

import examples
import hostile
import onnx_cases
from parser import REFUSALS, Parser, a_file, bytes_of, of_file


def _metadata(rng):
    """The metadata of a file, some entries of which are hostile."""
    found = dict(examples.metadata())
    for key in rng.sample(sorted(found), hostile.times(rng)):
        kind = rng.randrange(4)
        if kind == 0:
            found[key] = str(hostile.a_value(rng))
        elif kind == 1:
            found[key] = hostile.text(rng, found[key])
        elif found[key][0] in "[{":
            found[key] = hostile.json_text(rng, json.loads(found[key]))
        else:
            del found[key]
    return found


def _read_metadata(found):
    from scarlet_zoo.data.stated import stated_counts, stated_labels
    from scarlet_zoo.graph.artifact import Artifact
    from scarlet_zoo.models.weights.stated import arguments_stated

    artifact = Artifact(path=Path("net.onnx"), sha256="0" * 64, opset=17, ir_version=8, metadata=found,
                        form=found.get("form", ""), precision=found.get("precision", ""), weights="random")  # fmt: skip
    reads = (lambda: artifact.arch, lambda: artifact.labels, lambda: artifact.preprocessing,
             lambda: stated_labels(found, "f"), lambda: stated_counts(found, "f"),
             lambda: arguments_stated(found))  # fmt: skip
    refused = None
    for read in reads:  # each of them, whatever the others say
        try:
            read()
        except REFUSALS as error:
            refused = error
    if refused is not None:
        raise refused


def _read_preprocessing(content):
    from scarlet_zoo.data.given_preprocessing import read_preprocessing
    from scarlet_zoo.data.preprocessing import Preprocessing

    own = Preprocessing((224, 224), (0.5,) * 3, (0.5,) * 3, "bilinear", 0.875)
    read_preprocessing(content).complete(own)


def _preprocessing(rng):
    if rng.random() < 0.5:
        return hostile.text(rng, "imagenet,size=192x256,mean=0.5/0.5/0.5,std=0.5,interpolation=bicubic,crop=0.9")
    changed = hostile.value(rng, rng.choice((examples.TIMM, examples.HUGGING_FACE)))
    return changed if isinstance(changed, dict) else {"pretrained_cfg": changed}


def _read_weights(path):
    from scarlet_zoo.models.weights.checkpoint import read_metadata, read_tensors

    read_metadata(path)
    read_tensors(path)


def _read_state(path):
    from scarlet_zoo.training.state import read_state

    read_state(path, {"a": "1"})


def _read_model(path):
    from scarlet_zoo.graph.artifact import read_artifact
    from scarlet_zoo.graph.load import data_files, declared_inputs, input_shapes, open_graph, read_onnx

    read_artifact(path)
    declared_inputs(read_onnx(path))
    data_files(path)
    open_graph(path)
    input_shapes(path)


def _read_idx(path):
    from scarlet_zoo.data.fashion_mnist import _read_idx as read

    read(path, 3)


def _idx(rng):
    if rng.random() < 0.7:
        return examples.packed(hostile.content(rng, examples.idx()))
    return hostile.content(rng, examples.packed(examples.idx()))


FORMS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")


def _read_image(path):
    from scarlet_zoo.data.image_io import look_at_image, prepare_image_file, strict_decoders
    from scarlet_zoo.data.preprocessing import Preprocessing

    with strict_decoders():
        prepare_image_file(path, Preprocessing((8, 8), (0.5,) * 3, (0.5,) * 3, "bilinear", 0.875))
        look_at_image(path)


def _image_name(rng):
    return hostile.text(rng, rng.choice(("picture.png", "a/b.jpg", "n01440764/x.JPEG", "ü.png")))


def _read_image_name(name):
    from scarlet_zoo.data.image_io import check_image_path, printable

    path = examples.folder() / name
    check_image_path(path)
    printable(path)


def _folder_names(rng):
    rule = rng.choice(("auto", "label", "index", "wordnet", "index-wordnet", "sorted", ""))
    names = rng.choice(
        (("0", "1", "2"), ("a", "b", "c"), ("n01440764", "n01443537", "n01484850"), ("0_n01440764", "c", "2"))
    )
    changed = [hostile.text(rng, name) if rng.random() < 0.5 else name for name in names]
    return rule, changed, rng.choice((("a", "b", "c"), ("tench, Tinca tinca", "b", "c"), None)), rng.choice((3, 1000))


def _read_folder_names(case):
    from scarlet_zoo.data.class_folders import Logits, match_folders

    rule, names, labels, classes = case
    match_folders("data", names, names, Logits("net", classes, labels if classes == 3 else None), rule)


def _labels(rng):
    kind = rng.randrange(4)
    if kind == 0:
        return hostile.text(rng, "a\nb\nc\n")
    example = (["a", "b", "c"], {"0": "a", "1": "b"}, {"id2label": {"0": "a"}, "x": 1}, {"a": 0, "b": 1},
               {"0": ["n01440764", "tench"]})[rng.randrange(5)]  # fmt: skip
    return hostile.json_text(rng, example)


def _read_labels(path):
    from scarlet_zoo.data.labels import names_in, read_labels

    names_in(list(read_labels(path)))


def _list(rng):
    rows = [{"path": "train/a.png", "label": "x", "split": "train"}, {"path": "b.png", "label": 1}]
    kind = rng.randrange(3)
    if kind == 0:
        return "list.csv", hostile.text(rng, "path,label,split\ntrain/a.png,x,train\nval/b.png,y,val\n")
    if kind == 1:
        return "list.json", hostile.json_text(rng, rows)
    return "list.jsonl", "".join(f"{hostile.json_text(rng, row)}\n" for row in rows)


def _read_list(case):
    from scarlet_zoo.data.manifests import read_manifest

    manifest = read_manifest(a_file(*case))
    manifest.whole()
    manifest.parts()


FILES = {
    "metadata": Parser(_metadata, _read_metadata),
    "preprocessing": Parser(_preprocessing, _read_preprocessing),
    "safetensors": Parser(bytes_of(examples.weights, "safetensors"), of_file("w.safetensors", _read_weights)),
    "checkpoint": Parser(bytes_of(examples.weights, "zip", "training"), of_file("w.pth", _read_weights)),
    "legacy_checkpoint": Parser(bytes_of(examples.weights, "legacy"), of_file("w.pth", _read_weights)),
    "training_state": Parser(bytes_of(examples.weights, "training"), of_file("state.pt", _read_state)),
    "onnx": Parser(lambda rng: onnx_cases.model(rng, _metadata(rng)), of_file("net.onnx", _read_model)),
    "idx": Parser(_idx, of_file("t10k-images-idx3-ubyte.gz", _read_idx)),
    "image": Parser(bytes_of(examples.image, *FORMS), of_file("picture.png", _read_image)),
    "image_name": Parser(_image_name, _read_image_name),
    "folder_names": Parser(_folder_names, _read_folder_names),
    "labels": Parser(_labels, of_file("labels.txt", _read_labels)),
    "list": Parser(_list, _read_list),
}  # fmt: skip
