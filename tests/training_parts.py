"""What the tests of training share: a few photographs in classes, small networks, and what must be equal."""

import json

import torch

from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.data.sample_images import photos
from scarlet_zoo.models.scarlet import create_model
from scarlet_zoo.training.learner import NetworkLearner
from scarlet_zoo.training.loop import train
from scarlet_zoo.training.settings import TrainSettings

NET = "test_efficientnet"
FEED = Preprocessing((32, 32), (0.5,) * 3, (0.5,) * 3, "bilinear", 1.0)
CLASSES = ("cup", "cat", "star")


def album(folder, classes=CLASSES, each=8, side=40, first=0):
    """A folder with a folder of photographs for each class: each class is parts of one photograph."""
    for place, label in enumerate(classes):
        (folder / label).mkdir(parents=True)
        photo = photos(8)[place + 1]
        for number in range(first, first + each):
            left, top = 13 * number % (photo.width - 200), 29 * number % (photo.height - 200)
            part = photo.crop((left, top, left + 200, top + 200)).resize((side, side))
            part.save(folder / label / f"{number:02}.jpg", quality=90)
    return folder


def settings(**kwargs):
    return TrainSettings(**{"batch_size": 4, "epochs": 3, "lr": 0.01, "augment": None, **kwargs})


def network(classes=3, name=NET, **kwargs):
    torch.manual_seed(0)
    return create_model(name, num_classes=classes, **kwargs)


def learner(how, **kwargs):
    return NetworkLearner(network(), how, **kwargs)


def trained(folder, how, out, **kwargs):
    return train(learner(how, **kwargs), open_data(str(folder), FEED, None, 4), how, out)


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def rows(folder):
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
