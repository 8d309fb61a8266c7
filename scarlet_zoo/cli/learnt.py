"""Notes on trainings that may have taught nothing, and on their usual length where there are few images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scarlet_zoo.errors import DatasetError

if TYPE_CHECKING:
    from scarlet_zoo.training.run import DataPlan
    from scarlet_zoo.training.usual_length import Length

# A path has learnt something if its loss is below a guess's by this share of the way to the least possible loss.
_CLEARLY = 0.05


def length_of(plan: DataPlan, out: Path, usual: int, epochs: int | None, batch_size: int | None) -> tuple[Length, str]:
    """Return the length of a training and, where it is another one because of few images, a note that says so.

    Args:
        plan: which images.
        out: folder of the run.
        usual: usual number of epochs.
        epochs: the epochs that are asked for, if any.
        batch_size: the batch size that is asked for, if any.
    """
    from scarlet_zoo.nas.space_of_data import number_of_images
    from scarlet_zoo.training.usual_length import Length, usual_length

    if epochs is not None and batch_size is not None:
        return Length(epochs=epochs, batch_size=batch_size), ""
    try:
        images = number_of_images(plan)
    except DatasetError:  # the training says it, after what else is wrong with what it was asked for
        return Length(epochs=epochs or usual, batch_size=batch_size or Length.batch_size), ""
    length = usual_length(images, Length(epochs=usual), out, epochs, batch_size)
    chosen = [f"--{name} {value}" for name, value, asked, without in (
        ("epochs", length.epochs, epochs, usual), ("batch-size", length.batch_size, batch_size, Length.batch_size),
    ) if asked is None and value != without]  # fmt: skip
    note = (f"{images:,} training images are few, so this training has {' and '.join(chosen)}: "
            f"{length.steps(images):,} steps; --epochs and --batch-size give others")  # fmt: skip
    return length, note if chosen else ""


def supernet_note(report: Mapping[str, Any]) -> str | None:
    """What to try if a supernet's paths are not clearly better than a guess; None if they are.

    None also for a strategy whose log has no cross-entropy, since other losses do not compare with a guess.
    """
    loss, guess = report["path_loss"], report["guess"]
    if loss is None or loss < guess["loss"] - _CLEARLY * (guess["loss"] - guess["least_loss"]):
        return None
    return (f"after {report['steps']:,} steps the loss of a path is {loss:.2f}, and a guess has {guess['loss']:.2f}: "
            "the supernet has learnt little or nothing, and a search in it would rank by chance; "
            f"{_remedies(report)}; where nothing helps, search by size without a supernet "
            "(search --space, see docs/own-search.md)")  # fmt: skip


def network_note(report: Mapping[str, Any]) -> str | None:
    """What to try if a network's validation accuracy is not better than a guess beyond chance; None if it is."""
    from scarlet_zoo.inference.right_answers import Accuracy

    found = Accuracy(report["accuracy"]["right"], report["accuracy"]["images"])
    guess = report["guess"]["accuracy"]
    if found.interval[0] > guess:
        return None
    verdict = ("the network has learnt nothing" if found.percent <= guess
               else "so few images cannot tell whether the network has learnt anything")  # fmt: skip
    return (f"after {report['steps']:,} steps the validation accuracy is {found}, and a guess has {guess:.1f} %: "
            f"{verdict}; {_remedies(report)}")  # fmt: skip


def _remedies(report: Mapping[str, Any]) -> str:
    """What to try, in order; a finished run of other settings is refused in the same folder."""
    from scarlet_zoo.training.usual_length import LEAST_BATCH

    settings = report["settings"]
    tried = f"--epochs {3 * settings['epochs']} (here {settings['epochs']})"
    if settings["batch_size"] > LEAST_BATCH:
        tried += f" with --batch-size {max(settings['batch_size'] // 4, LEAST_BATCH)} (here {settings['batch_size']})"
    return f"try, each with another --out: first {tried}, then --lr {settings['lr'] / 3:.2g}, then more images"
