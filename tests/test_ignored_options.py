"""No option is ignored in silence: it does what it says, or one line says why it would do nothing."""

import json
from dataclasses import asdict

import pytest
from conftest import FASHION, ROOT
from typer.testing import CliRunner

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.spaces import get_space
from scarlet_zoo.cli import main, train
from scarlet_zoo.cli.shared import ExportOptions
from scarlet_zoo.data.augment import Augment
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.training.usual_length import Length

MINI = get_space("scarlet-mini-7")
FRONT = ROOT / "weights" / "search" / "accuracy-latency" / "front.json"
ARCH = str(Arch.of(MINI, (layer.tokens[0] for layer in MINI.layers)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Pictures of ten classes: a folder a class, and the same with train and val in it."""
    root = tmp_path_factory.mktemp("folders")
    for position, photo in enumerate(photos(40)):
        for place in ("plain", "parts/train" if position < 30 else "parts/val"):
            folder = root / place / f"class{position % 10}"
            folder.mkdir(parents=True, exist_ok=True)
            photo.resize((32, 32)).save(folder / f"{position:02}.png")
    return root


def validated(scarlet, *arguments):
    code, out, err = scarlet("validate", "scarlet_mini_s", *arguments, "--class-folders", "sorted", "--json")
    assert code == 0, err
    report = json.loads(out)
    return report["part"], report["images"]


@pytest.mark.slow
def test_validate_counts_the_part_of_a_folder_that_it_is_asked_for(scarlet, folders):
    plain, parts = folders / "plain", folders / "parts"
    assert validated(scarlet, plain) == (None, 40)
    assert validated(scarlet, plain, "--split", "validation") == ("validation", 10)
    assert validated(scarlet, plain, "--validation", 7) == ("validation", 7)
    assert validated(scarlet, plain, "--split", "validation", "--validation", 7, "--max-images", 5) == ("validation", 5)
    assert validated(scarlet, parts) == ("validation", 10)
    assert validated(scarlet, parts, "--split", "test") == ("test", 10)
    assert validated(scarlet, parts, "--validation", 6) == ("validation", 6)
    code, _, err = scarlet("validate", "scarlet_mini_s", plain, "--split", "test")
    assert (code, err.count("\n")) == (2, 1)
    assert "no test part" in err


SEARCH = ("search", "--space", "scarlet-mini", "--objectives", "macs", "--out", "{out}")
IN_VAIN = {
    "--data-dir": [
        ("validate", "scarlet_mini_s", "{plain}", "--data-dir", FASHION),
        ("train", ARCH, "--data", "{plain}", "--data-dir", FASHION, "--out", "{out}"),
        ("pictures", "{plain}", "--data-dir", FASHION, "--out", "{out}"),
        ("search", "--space", "scarlet-mini", "--objectives", "macs,params", "--data-dir", FASHION, "--out", "{out}"),
        (
            "derive",
            FRONT,
            "--data-dir",
            FASHION,
            "--out",
            "{out}",
        ),
    ],
    "--validation": [
        ("validate", "scarlet_mini_s", "fashion-mnist", "--split", "test", "--validation", 50),
        ("validate", "scarlet_mini_s", "{parts}", "--split", "test", "--validation", 5),
        ("search", "--space", "scarlet-mini", "--objectives", "macs,params", "--validation", 50, "--out", "{out}"),
    ],
    "--provider": [
        ("predict", "scarlet_mini_s", ROOT / "README.md", "--provider", "CPU"),
        ("validate", "scarlet_mini_s", "{plain}", "--provider", "CPU"),
        ("lut", "build", "--save", "{out}", "--bundle", "b", "--measured", "m", "--provider", "CPU"),
        ("device", "run", "net.tflite", "--benchmark-model", ROOT / "README.md", "--provider", "CPU", "--out", "{out}"),
    ],
    "--lut": [
        ("search", "--space", "scarlet-mini", "--objectives", "macs,params", "--lut", "t.json", "--out", "{out}")
    ],
    "--target": [("gallery", "theirs.onnx", "--target", "ort", "--out", "{out}")],
    "--calibration": [("gallery", "theirs.onnx", "--calibration", "random", "--out", "{out}")],
    "--weights": [("gallery", "theirs.onnx", "--weights", "random", "--out", "{out}")],
    "--preprocessing": [("gallery", "scarlet_mini_s", "--preprocessing", "imagenet", "--out", "{out}")],
    "--labels": [("gallery", "scarlet_mini_s", "--labels", "{labels}", "--out", "{out}")],
    "--candidates": [(*SEARCH, "--candidates", 9)],
    "--confirm": [(*SEARCH, "--confirm", 1)],
    "--training-epochs": [(*SEARCH, "--method", "random", "--training-epochs", 2)],
    "--training-pictures": [(*SEARCH, "--training-pictures", 2)],
    "--zero-cost": [(*SEARCH, "--zero-cost", "naswot")],
    "--workers": [("search", "--space", "scarlet-mini", "--objectives", "macs", "--workers", 3, "--out", "{out}")],
    "--bn-images": [("search", "--space", "scarlet-mini", "--objectives", "macs", "--bn-images", 9, "--out", "{out}")],
    "--space": [
        ("show", "scarlet_a", "--space", "scarlet-mini"),
        ("train", "resnet18", "--data", "fashion-mnist", "--space", "scarlet-mini", "--out", "{out}"),
        (
            "train",
            ARCH,
            "--data",
            "fashion-mnist",
            "--supernet",
            "s.safetensors",
            "--space",
            "x.toml",
            "--out",
            "{out}",
        ),
    ],
}


@pytest.mark.parametrize(("option", "command"), [(option, c) for option, many in IN_VAIN.items() for c in many])  # type: ignore[attr-defined]
def test_an_option_that_would_do_nothing_is_refused(option, command, scarlet, folders, tmp_path):
    places = {"plain": folders / "plain", "parts": folders / "parts", "out": tmp_path / "out",
              "labels": tmp_path / "labels.txt"}  # fmt: skip
    places["labels"].write_text("cat\ndog\n")
    code, out, err = scarlet(*(str(part).format(**places) for part in command))
    assert (code, out, err.count("\n")) == (2, "", 1), err
    if "would be ignored" in err:
        assert err.startswith((f"error: {option} ", f"error: {option[2:]} "))
    else:
        assert "the data folder" in err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_what_is_asked_for_reaches_the_training_of_a_folder(scarlet, folders, tmp_path):
    command = ("train", ARCH, "--data", folders / "parts", "--max-steps", 1, "--batch-size", 4)
    recorded = {}
    for name, options in {"usual": (), "asked": ("--erase", 0.5, "--crop", 0.4)}.items():
        code, out, err = scarlet(*command, *options, "--out", tmp_path / name, "--json")
        assert code == 0, err
        recorded[name] = json.loads(out)["settings"]["augment"]
    assert recorded["usual"] == asdict(Augment(shift_px=3))
    assert recorded["asked"] == asdict(Augment(shift_px=3, erase=0.5, crop=0.4))
    losses = [(tmp_path / name / "steps.jsonl").read_text() for name in recorded]
    assert losses[0] != losses[1]


def test_both_trainings_share_their_options_and_show_them_all():
    how = train.TrainingOptions(data="fashion-mnist", erase=0.25, lr=0.3, loaders=2)
    settings = how.settings(Length(epochs=3), pretrained=False, ema=0.9)
    assert (settings.epochs, settings.ema, settings.lr, settings.workers) == (3, 0.9, 0.3, 2)
    assert settings.augment.for_data("fashion-mnist", (28, 28)) == Augment(erase=0.25)
    shared = ("data", "data-dir", "validation", "pictures", "max-steps", "checkpoint-every", "batch-size", "lr",
              "weight-decay", "label-smoothing", "augment", "erase", "crop", "mixup", "cutmix", "mixup-prob", "balance",
              "cache-limit", "mixed-precision", "loaders", "seed", "threads",
              "tensorboard")  # fmt: skip
    for verb, own in (
        (("train",), ("supernet", "space", "input-size", "epochs", "ema", "json", "out")),
        (("supernet", "train"), ("space", "strategy", "option", "skip", "epochs", "json", "out")),
    ):
        text = CliRunner().invoke(main.app, [*verb, "--help"], env={"COLUMNS": "200"}).output
        assert [name for name in (*shared, *own) if f"--{name} " not in text] == []
        assert "[default: (128, smaller for few images)" in " ".join(text.split())


def test_export_and_deploy_share_their_options_and_show_them_all():
    recipe = ExportOptions(opset=18, batch=2, pixels=True).recipe("native", float16_weights=True)
    assert (recipe.form, recipe.opset, recipe.batch, recipe.pixels, recipe.float16_weights) == (
        "native",
        18,
        2,
        True,
        True,
    )
    for verb in ("export", "deploy"):
        text = CliRunner().invoke(main.app, [verb, "--help"], env={"COLUMNS": "200"}).output
        for name in ("weights", "target", "opset", "batch", "input-size", "exporter", "features", "pixels", "out"):
            assert f"--{name} " in text
        assert "[default: 17]" in " ".join(text.split())


@pytest.mark.parametrize("given", [("--isa", "x64"), ("--keep-float", "a"), ("--ranges", "mse"),
                                   ("--least-sqnr", "30.0"),
                                   ("--calibration", "random")])  # fmt: skip
def test_options_of_int8_are_refused_by_a_float_export(scarlet, tmp_path, given):
    code, out, err = scarlet("export", "scarlet_mini_s", *given, "--out", tmp_path / "out")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"{' '.join(given)}: would be ignored, it only applies to an int8 target" in err
