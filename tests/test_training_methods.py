"""How a network learns: optimisers, learning rates by layer, frozen layers, early stopping and a teacher."""

import copy
import json
import math
import warnings
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from training_parts import CLASSES, FEED, NET, album, learner, network, rows, same, settings, trained

from scarlet_zoo.data.datasets import open_data
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.errors import ScarletWarning, TrainingError, UnknownNameError
from scarlet_zoo.models.weights.checkpoint import save_state
from scarlet_zoo.training.class_loss import ClassLoss
from scarlet_zoo.training.learner import NetworkLearner, StepBatch
from scarlet_zoo.training.loop import Loop, train
from scarlet_zoo.training.optimizer import make_optimizer
from scarlet_zoo.training.settings import Teacher, TrainSettings, usual_rate
from scarlet_zoo.training.teacher import TeacherNetwork, load_teacher, prepared_again


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return album(tmp_path_factory.mktemp("album") / "images")


@pytest.fixture(scope="module")
def data(folder):
    return open_data(str(folder), FEED, None, 4)


def steps_of(model, optimizer, count=3):
    for number in range(count):
        optimizer.zero_grad()
        images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(number))
        torch.manual_seed(number)
        torch.nn.functional.cross_entropy(model(images), torch.arange(4) % 3).backward()
        optimizer.step()
    return model.state_dict()


def test_sgd_without_further_settings_is_the_one_that_it_was_bit_for_bit():
    one, two, how = network(), network(), TrainSettings()
    parts = [[p for p in two.parameters() if p.ndim > 1], [p for p in two.parameters() if p.ndim <= 1]]
    groups = [{"params": part, "weight_decay": decay} for part, decay in zip(parts, (5e-4, 0.0), strict=True)]
    former = torch.optim.SGD(groups, 0.1, 0.9, nesterov=True)
    assert same(steps_of(one, make_optimizer(one, how)), steps_of(two, former))


@pytest.mark.parametrize("opt", ["adamw", "rmsprop", "lion", "lamb"])
def test_any_optimiser_goes_on_after_a_stop_to_the_same_bits(folder, tmp_path, opt):
    how = settings(opt=opt, lr=0.002, epochs=1, momentum=0.8)
    whole = trained(folder, how, tmp_path / "whole")
    trained(folder, replace(how, max_steps=2), tmp_path / "cut")
    assert same(trained(folder, how, tmp_path / "cut").state, whole.state)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    assert not same(whole.state, network().state_dict())


def test_momentum_and_weight_decay_reach_the_optimiser():
    optimizer = make_optimizer(network(), TrainSettings(opt="rmsprop", momentum=0.3, weight_decay=0.2, lr=0.5))
    assert [group["momentum"] for group in optimizer.param_groups] == [0.3, 0.3]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.2, 0.0]
    assert type(optimizer).__name__ == "RMSprop"


@pytest.mark.parametrize(
    ("opt", "error", "said"),
    [("adamv", UnknownNameError, "adamw"), ("adahessian", TrainingError, "second derivatives"),
     ("fusedsgd", TrainingError, "cannot be used here")],
)  # fmt: skip
def test_an_optimiser_that_cannot_be_used_is_one_line(opt, error, said):
    with pytest.raises(error, match=said) as caught:
        make_optimizer(network(), TrainSettings(opt=opt))
    assert "\n" not in str(caught.value)


def test_the_usual_rate_is_that_of_the_optimiser_and_a_tenth_for_trained_weights():
    assert [usual_rate(opt, pretrained=False) for opt in ("sgd", "adamw", "rmsprop")] == [0.1, 0.001, 0.001]
    assert usual_rate("SGD", pretrained=True) == pytest.approx(0.01)


def test_rates_fall_by_layer_and_the_classifier_has_its_own(data, tmp_path):
    how = settings(layer_decay=0.5, head_lr=0.08, max_steps=1, warmup=0.0)
    loop = Loop(learner(how), data, how, tmp_path, {})
    next(loop.steps())
    names = {id(parameter): name for name, parameter in loop.learner.model.named_parameters()}
    rate = {names[id(p)]: group["lr"] for group in loop.optimizer.param_groups for p in group["params"]}
    assert rate["classifier.weight"] == pytest.approx(0.08)
    layers = ["conv_stem.weight", "blocks.0.0.conv.weight", "blocks.1.0.conv_exp.weight"]
    assert [rate[b] / rate[a] for a, b in pairwise(layers)] == pytest.approx([2, 2])
    assert len(rate) == len(names)


def test_frozen_layers_keep_every_bit_and_the_classifier_learns(data, tmp_path):
    how = settings(freeze="backbone", weight_decay=0.1)
    before = network().state_dict()
    done = train(learner(how), data, how, tmp_path)
    changed = {key for key in before if not torch.equal(before[key], done.state[key])}
    assert changed == {"classifier.weight", "classifier.bias"}


def test_a_number_freezes_the_stem_and_so_many_stages(data, tmp_path):
    how = settings(freeze=2, epochs=1)
    before = network().state_dict()
    done = train(learner(how), data, how, tmp_path)
    changed = {key.rpartition(".")[0] for key in before if not torch.equal(before[key], done.state[key])}
    assert not any(name.startswith(("conv_stem", "bn1", "blocks.0.", "blocks.1.")) for name in changed)
    assert {"blocks.2.0.bn1", "classifier"} <= changed


@pytest.mark.parametrize(
    ("how", "model", "said"),
    [({"freeze": 9}, network, "got 9 groups of layers to freeze, wanted 0 to "),
     ({"freeze": "backbone"}, lambda: torch.nn.Linear(2, 2), "does not say what its classifier is"),
     ({"head_lr": 0.1}, lambda: torch.nn.Linear(2, 2), "takes no head_lr")],
)  # fmt: skip
def test_what_a_network_does_not_have_is_not_frozen(how, model, said):
    with pytest.raises(TrainingError, match=said):
        NetworkLearner(model(), TrainSettings(**how))


@pytest.mark.parametrize(
    "bad",
    [{"patience": -1}, {"head_lr": 0.0}, {"layer_decay": 0.0}, {"warmup": 1.5}, {"momentum": -0.1}, {"freeze": "head"},
     {"freeze": -1}],
)  # fmt: skip
def test_settings_of_methods_that_are_none(bad):
    with pytest.raises(TrainingError, match=next(iter(bad))):
        TrainSettings(**bad)


# Validation accuracies of epochs; with a patience of 2 the sixth is never reached.
COURSE = (25.0, 75.0, 50.0, 75.0, 0.0)


@pytest.fixture
def a_course(monkeypatch):
    """Validation accuracies as they are given, and the weights that each was measured with."""
    seen = []

    def accuracy(loop):
        seen.append({key: value.clone() for key, value in loop.learner.model.state_dict().items()})
        return COURSE[len(loop.top1)]

    monkeypatch.setattr(Loop, "_accuracy", accuracy)
    return seen


def test_training_stops_after_epochs_without_a_better_one_and_gives_the_best(folder, tmp_path, a_course):
    how = settings(patience=2, epochs=8)
    done = trained(folder, how, tmp_path)
    assert done.top1 == COURSE[:4]
    assert (done.epoch, done.stopped_early, done.steps) == (2, True, 4 * 5)
    assert same(done.state, a_course[1])
    assert not same(done.state, a_course[3])
    assert (done.accuracy.right, done.accuracy.images) == (3, 4)
    # A run that has stopped is over, even with more steps.
    again = trained(folder, replace(how, max_steps=30), tmp_path)
    assert (again.steps, again.epoch, len(a_course)) == (20, 2, 4)
    assert same(again.state, done.state)


@pytest.mark.slow
@pytest.mark.parametrize("at", [7, 12, 17])
def test_stopping_early_is_the_same_after_a_stop(folder, tmp_path, a_course, at):
    how = settings(patience=2, epochs=8, ema=0.7)
    trained(folder, replace(how, max_steps=at), tmp_path / "cut")
    cut = trained(folder, how, tmp_path / "cut")
    whole = trained(folder, how, tmp_path / "whole")
    assert (cut.top1, cut.epoch, cut.steps) == (whole.top1, whole.epoch, whole.steps)
    assert same(cut.state, whole.state)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


def test_without_patience_the_last_epoch_is_the_result(folder, tmp_path, a_course):
    done = trained(folder, settings(epochs=3), tmp_path)
    assert (done.epoch, done.stopped_early, done.accuracy.percent) == (3, False, 50.0)
    assert same(done.state, a_course[2])


def test_the_loss_with_a_teacher_is_the_formula(data):
    how = settings(teacher=Teacher(network="any", weight=0.25, temperature=3.0), label_smoothing=0.0)
    student, teacher = network().eval(), network(name="test_resnet").eval()
    images, targets = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    taught = NetworkLearner(student, how, (fake_teacher(teacher), FEED))
    taught.criterion = ClassLoss()
    (term,) = taught.terms(student, StepBatch(0, (images,), targets))
    with torch.no_grad():
        own, theirs = student(images), teacher(images)
    hard = -own.log_softmax(1)[torch.arange(4), targets].mean()
    p = (theirs / 3).softmax(1)
    soft = (p * (p.log() - (own / 3).log_softmax(1))).sum(1).mean()
    assert float(term.loss.detach()) == pytest.approx(float(0.75 * hard + 0.25 * 9 * soft), rel=1e-5)
    term.loss.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    # With weights both parts are the mean by weight.
    weight = torch.tensor([0.5, 3.0, 1.0])
    taught.criterion = ClassLoss(weight)
    (term,) = taught.terms(student, StepBatch(0, (images,), targets))
    hard = -own.log_softmax(1)[torch.arange(4), targets]
    soft = (p * (p.log() - (own / 3).log_softmax(1))).sum(1)
    expected = ((0.25 * 9 * soft + 0.75 * hard) * weight[targets]).sum() / 5.0
    assert float(term.loss.detach()) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_class_weights_have_one_rule_for_indices_and_shares(smoothing):
    random = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(6, 3, generator=random), torch.tensor([0, 0, 1, 2, 1, 0])
    weight, shares = torch.tensor([0.25, 4.0, 1.5]), torch.nn.functional.one_hot(targets, 3).float()
    plain, weighted = ClassLoss(None, smoothing), ClassLoss(weight, smoothing)
    torch.testing.assert_close(weighted(logits, shares), weighted(logits, targets))
    torch.testing.assert_close(plain(logits, shares), plain(logits, targets))
    # Where all classes count alike, the weights change nothing, for mixed images neither.
    mixed = shares.lerp(shares.flip(0), 0.3)
    torch.testing.assert_close(ClassLoss(torch.full((3,), 4.0), smoothing)(logits, mixed), plain(logits, mixed))
    spread = (1 - smoothing) * mixed + smoothing / 3
    expected = -(spread * weight * logits.log_softmax(1)).sum() / (mixed * weight).sum()
    torch.testing.assert_close(weighted(logits, mixed), expected)


def fake_teacher(model, feed=FEED):
    from scarlet_zoo.training.teacher import TeacherNetwork

    return TeacherNetwork("fake", "0", feed, model.requires_grad_(False), model.to)


def test_a_teacher_sees_the_same_picture_in_its_own_normalisation():
    theirs = Preprocessing((48, 48), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic", 0.875)
    grey = Preprocessing((32, 32), (0.2,), (0.3,), "bilinear", 1.0)
    pixels = torch.rand(2, 3, 32, 32)
    images = (pixels - 0.5) / 0.5
    mean, std = (torch.tensor(values)[:, None, None] for values in (theirs.mean, theirs.std))
    same_size = prepared_again(images, FEED, replace(theirs, size=(32, 32)))
    assert torch.allclose(same_size, (pixels - mean) / std, atol=1e-5)
    assert prepared_again(images, FEED, theirs).shape == (2, 3, 48, 48)
    assert torch.equal(prepared_again(images, FEED, FEED), images)
    luma = (pixels * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    assert torch.allclose(prepared_again(images, FEED, grey), (luma - 0.2) / 0.3, atol=1e-5)
    back = prepared_again((luma - 0.2) / 0.3, grey, FEED)
    assert torch.allclose(back, ((luma - 0.5) / 0.5).expand(-1, 3, -1, -1), atol=1e-5)


def teacher_file(path, classes=CLASSES, labels=CLASSES):
    model = network(len(classes), "test_resnet")
    described = {"name": "test_resnet", "preprocessing": FEED.to_json()}
    save_state(model.state_dict(), path, described | ({"labels": json.dumps(labels)} if labels else {}))
    return model.eval()


def test_a_teachers_classes_are_found_by_their_names(data, tmp_path):
    order = ("star", "cup", "cat")
    model = teacher_file(tmp_path / "t.safetensors", labels=order)
    teacher = load_teacher(Teacher(network=str(tmp_path / "t.safetensors")), data)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = model(images)[:, [order.index(name) for name in data.classes]]
    assert torch.equal(teacher.logits(images, FEED), expected)


def test_several_teachers_teach_the_geometric_mean_of_their_distributions(data, tmp_path):
    orders = (("star", "cup", "cat"), ("cat", "cup", "star"))
    files = [tmp_path / f"{number}.safetensors" for number in range(2)]
    models = [teacher_file(file, labels=order) for file, order in zip(files, orders, strict=True)]
    together = load_teacher(Teacher(network=tuple(map(str, files))), data)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        shares = [model(images).softmax(1)[:, [order.index(name) for name in data.classes]]
                  for model, order in zip(models, orders, strict=True)]  # fmt: skip
    expected = (shares[0] * shares[1]).sqrt()
    assert not torch.allclose(shares[0], shares[1])
    taught = together.logits(images, FEED).softmax(1)
    assert torch.allclose(taught, expected / expected.sum(1, keepdim=True), atol=1e-6)
    assert together.sha256.split() == [load_teacher(Teacher(network=str(file)), data).sha256 for file in files]
    with pytest.raises(TrainingError, match="a teacher without a network"):
        Teacher(network=())


def test_a_teacher_for_other_classes_is_said_or_refused(data, tmp_path):
    file = tmp_path / "t.safetensors"
    teacher_file(file, labels=("a", "b", "c"))
    with pytest.warns(ScarletWarning, match="has no class 'cat'"):
        load_teacher(Teacher(network=str(file)), data)
    teacher_file(file, classes="abcd", labels=tuple("abcd"))
    with pytest.raises(TrainingError, match="has 4 classes, wanted 3 as in"):
        load_teacher(Teacher(network=str(file)), data)
    with pytest.raises(TrainingError, match="no such file"):
        load_teacher(Teacher(network=str(tmp_path / "none.safetensors")), data)
    save_state(network().state_dict(), file, {})
    with pytest.raises(TrainingError, match="does not say which network it is for"):
        load_teacher(Teacher(network=str(file)), data)
    assert load_teacher(Teacher(network=f"{NET}={file}"), data).source.startswith(NET)


def test_an_exported_file_teaches_as_its_network_does(data, tmp_path):
    from scarlet_zoo import export_onnx

    model = network().eval()
    exported = export_onnx(model, tmp_path / "t.onnx", preprocessing=FEED, labels=data.classes, weights="ours")
    teacher = load_teacher(Teacher(network=str(exported.path)), data)
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(teacher.logits(images, FEED), model(images), atol=1e-4)


@pytest.mark.slow
def test_everything_together_goes_on_after_a_stop_to_the_same_bits(folder, tmp_path):
    teacher_file(tmp_path / "t.safetensors")
    taught = Teacher(network=str(tmp_path / "t.safetensors"))
    how = settings(opt="adamw", layer_decay=0.7, head_lr=0.02, freeze=1, patience=3, teacher=taught, ema=0.5, epochs=2)
    data = open_data(str(folder), FEED, None, 4)

    def run(out, **changed):
        now = replace(how, **changed)
        return trained(folder, now, out, teacher=(load_teacher(taught, data), FEED))

    whole = run(tmp_path / "whole")
    for steps in (3, 7):
        run(tmp_path / "cut", max_steps=steps)
    cut = run(tmp_path / "cut")
    assert same(cut.state, whole.state)
    assert (cut.top1, cut.epoch) == (whole.top1, whole.epoch)
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")
    with pytest.raises(TrainingError, match="teacher_sha256"):
        teacher_file(tmp_path / "t.safetensors", labels=tuple(reversed(CLASSES)))
        other = copy.deepcopy(load_teacher(taught, data))
        assert isinstance(other, TeacherNetwork)
        trained(folder, how, tmp_path / "cut", teacher=(replace(other, sha256="other"), FEED))


NEW = ("opt", "layer_decay", "head_lr", "freeze", "patience", "teacher")


def aged(path):
    """Take out of a checkpoint what older ones do not have."""
    content = torch.load(path, weights_only=True)
    for key in NEW:
        del content["run"][key]
    del content["best"]
    augment = content["run"]["augment"]
    assert "'jitter': 0.0" in augment
    content["run"]["augment"] = augment.replace(", 'jitter': 0.0", "")
    torch.save(content, path)


def test_a_run_begun_before_with_fewer_settings_goes_on(folder, data, tmp_path):
    how = replace(settings(epochs=1), augment="usual").for_data(data)
    whole = trained(folder, how, tmp_path / "whole")
    trained(folder, replace(how, max_steps=2), tmp_path / "old")
    aged(tmp_path / "old" / "checkpoint.pt")
    assert same(trained(folder, how, tmp_path / "old").state, whole.state)
    trained(folder, replace(how, max_steps=2), tmp_path / "other")
    aged(tmp_path / "other" / "checkpoint.pt")
    with pytest.raises(TrainingError, match="another run \\(patience None, not '4'\\)"):
        trained(folder, replace(how, patience=4), tmp_path / "other")
    with pytest.raises(TrainingError, match="another run \\(augment"):
        trained(folder, replace(how, augment=replace(how.augment, jitter=0.2)), tmp_path / "other")


def test_what_is_said_while_training(folder, tmp_path):
    how, said = settings(epochs=1), []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = train(learner(how), open_data(str(folder), FEED, None, 4), how, tmp_path, watch=said.append)
    assert [seen.step for seen in said] == [1, 2, 3, 4, 5]
    assert {seen.last for seen in said} == {5}
    assert str(said[0]) == f"loss {said[0].loss:.3f}"
    assert str(said[-1]).endswith(f", {done.top1[0]:.1f} % of 4")
    assert done.loss == pytest.approx(sum(row["loss"] for row in rows(tmp_path)) / 5)
    assert not math.isnan(done.loss)
