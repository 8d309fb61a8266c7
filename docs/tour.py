"""From images to a measured file. Run python docs/tour.py DATA OUT; DATA is fashion-mnist or a folder of images."""

import sys
from pathlib import Path

import scarlet_zoo as zoo


def tour(
    data: str, out: Path, folder: Path | None = None, validation: int | None = None, steps: int | None = None,
    evaluations: int = 60,
) -> None:  # fmt: skip
    """Train a supernet, search it, train the network that was found, then deploy, validate and measure that network."""
    images = zoo.DataPlan(name=data, folder=folder, validation=validation)
    how = zoo.TrainSettings(epochs=2, batch_size=64, max_steps=steps)
    supernet = zoo.train_supernet("scarlet-mini", data=images, out=out / "supernet", settings=how, strategy="scarlet")

    goals = zoo.SearchSettings(objectives=("accuracy", "latency"), evaluations=evaluations, population=4)
    scoring = zoo.Scoring(data_dir=folder, calibration=256)
    front = zoo.search(supernet.path, out=out / "search", settings=goals, scoring=scoring)
    best = front.choose("best:accuracy")[0]
    print(f"found {best.arch}: {best.values['accuracy']:.1f} % one-shot, {best.values['latency']:.3f} ms")

    network = zoo.train(str(best.arch), data=images, out=out / "network", supernet=supernet.path, settings=how)
    deployed = zoo.deploy(str(best.arch), out / "deployed", weights=str(network.path))
    print(deployed.fold.summary())

    file = deployed.artifact.path
    judged = zoo.validate(file, data, data_dir=folder, validation=validation)
    (record,) = zoo.bench(file)
    print(f"{file}: {judged.top1:.1f} % top-1, {record.p50_ms:.3f} ms on {record.conditions.device}")


if __name__ == "__main__":
    tour(sys.argv[1], Path(sys.argv[2]))
