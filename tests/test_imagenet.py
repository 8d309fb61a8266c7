"""The ImageNet recipe: its two lines start, its settings do what the page says, its figures are the zoo's."""

import argparse
import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from timm.optim import create_optimizer_v2, optimizer_kwargs
from timm.scheduler import create_scheduler_v2, scheduler_kwargs
from timm.utils import CheckpointSaver, ModelEmaV2

from scarlet_zoo import create_model
from scarlet_zoo.arch.zoo import ZOO

PAGE = (Path(__file__).parent.parent / "docs" / "imagenet.md").read_text()
COMMAND = re.search(r"^torchrun(?:.*\\\n)+.*$", PAGE, re.MULTILINE)[0]
ALONE = "import timm\nprint(timm.is_model('scarlet_a'))\n"  # first, in the same process
ARGUMENTS = shlex.split(COMMAND.replace("\\\n", " "))[3:]


def settings():
    """The page's settings by the names that timm's script gives them."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for flag in re.findall(r"--[a-z-]+", COMMAND)[1:]:
        if flag in ("--amp", "--channels-last", "--model-ema"):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, nargs="+")
    found = vars(parser.parse_args(ARGUMENTS))
    plain = {name: value[0] if isinstance(value, list) else value for name, value in found.items()}
    return argparse.Namespace(**{name: _number(value) for name, value in plain.items()})


def _number(text):
    try:
        return int(text) if str(text).isdigit() else float(text)
    except ValueError:
        return text


@pytest.mark.slow
def test_the_two_lines_make_the_names_known(tmp_path):
    (lines,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "train_scarlet.py").write_text(ALONE + lines)
    stand_in = "import sys, timm\nprint(timm.create_model(sys.argv[sys.argv.index('--model') + 1]).arch, __name__)"
    (tmp_path / "train.py").write_text(stand_in)
    command = [sys.executable, "train_scarlet.py", *ARGUMENTS]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    # Without the lines, timm does not know the name.
    assert done.stdout == f"False\n{ZOO['scarlet_a'].arch} __main__\n"


def test_the_settings_do_what_the_page_says():
    args = settings()
    args.lr = args.lr_base * 4096 / args.lr_base_size
    assert args.lr == pytest.approx(0.256)
    assert args.batch_size * 8 * args.grad_accum_steps == 4096
    model = create_model("scarlet_c", drop_rate=args.drop)
    assert model.drop_rate == 0.2
    optimizer = create_optimizer_v2(model, **optimizer_kwargs(cfg=args))
    assert type(optimizer).__name__ == "RMSpropTF"
    assert {(group["momentum"], group["eps"], group["alpha"]) for group in optimizer.param_groups} == {(0.9, 1e-3, 0.9)}
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] == 1e-5 for p in group["params"]}
    assert decayed == {id(parameter) for parameter in model.parameters() if parameter.ndim > 1}
    scheduler, epochs = create_scheduler_v2(optimizer, **scheduler_kwargs(args))
    rates = []
    for epoch in range(epochs):
        scheduler.step(epoch)
        rates.append(optimizer.param_groups[0]["lr"])
    assert epochs == 350
    assert rates[0] == pytest.approx(1e-6)
    assert rates[12] == pytest.approx(0.256 * 0.97**5)
    assert rates[349] == pytest.approx(0.256 * 0.97**145)
    assert max(rates) < 0.256


def test_every_setting_says_whose_it_is():
    rows = re.findall(r"^\| (.*`--.*|.*jitter.*|batch norm.*) \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)
    told = {flag for row in rows for flag in re.findall(r"--[a-z-]+", row[0])}
    given = set(re.findall(r"--[a-z-]+", COMMAND)) - {"--nproc", "--nproc_per_node"}
    where = {"--data-dir", "--train-split", "--val-split", "--model", "--output", "--experiment"}
    assert {flag for flag in given if not flag.startswith("--nproc")} - where <= told
    assert all(re.search(r"recalled|ours|released", row[2]) for row in rows)


@pytest.mark.slow
def test_the_averaged_weights_come_out_of_what_timm_saves(tmp_path, monkeypatch):
    model = create_model("scarlet_c", num_classes=10)
    average = ModelEmaV2(model, decay=0.9999)
    with torch.no_grad():
        average.module.classifier.bias.fill_(7.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    saver = CheckpointSaver(model, optimizer, args=settings(), model_ema=average, checkpoint_dir=str(tmp_path),
                            recovery_dir=str(tmp_path))  # fmt: skip
    saver.save_checkpoint(0, metric=1.0)
    script = re.search(r'python -c "\n(.*?)" OUT/scarlet_a/(\S+) scarlet_a.pth', PAGE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["-c", script[2], "scarlet_a.pth"])
    exec(script[1], {})
    loaded = create_model("scarlet_c", num_classes=10, checkpoint_path=str(tmp_path / "scarlet_a.pth"))
    assert (loaded.classifier.bias == 7).all()


def test_published_figures_are_the_zoos():
    rows = re.findall(r"^\| `(scarlet_\w)` \| ([\d.]+) % \| ([\d.]+) % \|$", PAGE, re.MULTILINE)
    assert rows == [
        (entry.name, f"{entry.published.top1_percent:.1f}", f"{entry.published.top5_percent:.1f}")
        for entry in ZOO.values()
        if entry.published
    ]


def test_timms_own_parser_takes_the_command(monkeypatch):
    script = os.environ.get("TIMM_TRAIN_PY")
    if not script:
        pytest.skip("TIMM_TRAIN_PY names no train.py; timm ships none in its packages")
    monkeypatch.setattr(sys, "argv", ["train.py", *ARGUMENTS])
    args, _ = runpy.run_path(script)["_parse_args"]()
    assert args.model == "scarlet_a"
    assert args.decay_epochs == 2.4
