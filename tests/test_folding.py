import copy
import random

import pytest
import timm
import torch
from conftest import TINY, images_for, matrix_of_condition, randomized, skipping_arch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scarlet_zoo import Stabilizer, fold, get_arch, get_space
from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.errors import FoldError
from scarlet_zoo.folding import basis, stabilizers
from scarlet_zoo.folding.regions import Chain, Region

NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)
EXACT = 1e-9  # of the largest logit, in float64


def outputs(model, images):
    with torch.inference_mode():
        result = model(images)
    return [result] if isinstance(result, torch.Tensor) else list(result)


def relative_difference(model, folded, images):
    before, after = outputs(model, images), outputs(folded, images)
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(before, after, strict=True))


def folds_exactly(model, **kwargs):
    result = fold(model, **kwargs)
    kinds = [type(module) for module in result.model.modules()]
    assert not any(issubclass(kind, NORMS) for kind in kinds)
    assert sum(issubclass(kind, Stabilizer) for kind in kinds) == len(result.skipped)
    assert relative_difference(model, result.model, images_for(model)) < EXACT
    return result


@pytest.mark.slow
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 2**32), st.floats(0.1, 1.0), st.floats(1.5, 100))
def test_any_architecture_with_well_conditioned_stabilizers_folds_exactly(seed, share, condition):
    arch = skipping_arch(TINY, seed, share)
    model = randomized(arch, seed, condition)
    result = folds_exactly(model)
    assert not result.skipped
    sites = [step for step in result.steps if step.kind != "batch_norm"]
    assert len(sites) == len(arch.skipped)
    assert result.max_rel_diff < EXACT


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32), st.sets(st.integers(0, 2), min_size=1))
def test_tapped_tensors_keep_their_basis(seed, levels):
    arch = skipping_arch(TINY, seed, 0.7)
    folds_exactly(randomized(arch, seed, features_only=True, out_indices=tuple(sorted(levels))))
    folds_exactly(randomized(arch, seed, features_only=True, feature_cls="getter", out_indices=tuple(sorted(levels))))
    classifier = randomized(arch, seed)
    folded = fold(classifier, taps=levels).model
    images = images_for(classifier)
    with torch.inference_mode():
        wanted = classifier.forward_intermediates(images, indices=sorted(levels), intermediates_only=True)
        got = folded.forward_intermediates(images, indices=sorted(levels), intermediates_only=True)
    for a, b in zip(wanted, got, strict=True):
        assert float((a - b).abs().max() / a.abs().max()) < EXACT


@pytest.mark.slow
def test_the_real_space_folds_exactly():
    result = folds_exactly(randomized(skipping_arch(get_space("scarlet"), 3), 3))
    assert not result.skipped


@pytest.mark.slow
def test_both_skips_of_scarlet_b_need_a_change_of_basis():
    result = folds_exactly(randomized(get_arch("scarlet_b"), condition=50))
    steps = {step.site: step for step in result.steps if step.kind != "batch_norm"}
    assert {site: step.kind for site, step in steps.items()} == {
        "blocks.3.2": "change_of_basis",
        "blocks.5.2": "change_of_basis",
    }
    assert all(step.condition == pytest.approx(50, rel=1e-3) for step in steps.values())
    assert all(step.max_abs_diff < 1e-12 for step in steps.values())


def tokens(text):
    return Arch.of(TINY, text.split())


ROUTES = {
    # A stage is four layers; the first opens it and has no shortcut.
    "after the opening block": ("e3k3 id e3k3 e3k3 e3k3 e3k3 e3k3 e3k3", ["backward"]),
    "before the next stage": ("e3k3 e3k3 e3k3 id e3k3 e3k3 e3k3 e3k3", ["forward"]),
    "before the head": ("e3k3 e3k3 e3k3 e3k3 e3k3 e3k3 e3k3 id", ["forward"]),
    "between residual blocks": ("e3k3 e3k3 id e3k3 e3k3 e3k3 e3k3 e3k3", ["change_of_basis"]),
    "two in a row": ("e3k3 e3k3 id id e3k3 e3k3 e3k3 e3k3", ["multiply", "forward"]),
    "a whole stage of skips": ("e3k3 id id id e3k3 e3k3 e3k3 e3k3", ["multiply", "multiply", "forward"]),
    "two after the opening block": ("e3k3 id id e3k3 e3k3 e3k3 e3k3 e3k3", ["multiply", "backward"]),
    "one at each end": ("e3k3 id e3k3 id e3k3 e3k3 e3k3 e3k3", ["backward", "forward"]),
}


@pytest.mark.parametrize("where", ROUTES)
def test_each_site_takes_the_route_that_its_neighbours_allow(where):
    arch, kinds = ROUTES[where]
    result = folds_exactly(randomized(tokens(arch)))
    assert [step.kind for step in result.steps if step.kind != "batch_norm"] == kinds


@pytest.mark.parametrize("where", [where for where, (_, kinds) in ROUTES.items() if "change_of_basis" not in kinds])
def test_a_route_without_an_inverse_is_taken_by_a_singular_stabilizer(where):
    result = folds_exactly(randomized(tokens(ROUTES[where][0]), condition=float("inf")))
    assert not result.skipped
    assert all(step.condition is None for step in result.steps)


@pytest.mark.parametrize("condition", [1e12, float("inf")])
def test_a_stabilizer_without_a_usable_inverse_stays_and_says_why(condition):
    model = randomized(tokens(ROUTES["between residual blocks"][0]), condition=condition)
    result = folds_exactly(model)
    assert [site.site for site in result.skipped] == ["blocks.1.2"]
    assert "condition number" in result.skipped[0].reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "condition", "folds"),
    [(torch.float32, 30, True), (torch.float32, 1e6, False), (torch.float64, 1e7, True), (torch.float64, 1e11, False)],
)
def test_an_inverse_is_taken_only_within_the_rounding_of_the_dtype(dtype, condition, folds):
    model = randomized(tokens(ROUTES["between residual blocks"][0]), condition=condition, dtype=dtype)
    result = fold(model)
    assert bool(result.skipped) is not folds
    images = images_for(model, 4)
    truth = outputs(copy.deepcopy(model).double(), images)[0]
    error, own = (float((outputs(m, images.to(dtype))[0].double() - truth).abs().max()) for m in (result.model, model))
    # The fold measures on four images of its own; these are others, hence the 2.
    assert error <= 2 * max(10 * own, EXACT * float(truth.abs().max()))


def test_several_stabilizers_split_so_that_the_worst_condition_is_least():
    region = Region
    chain = Chain([region(["w"], ["r"]) for _ in range(4)], ["a", "b", "c"])
    generator = torch.Generator().manual_seed(0)
    matrices = [matrix_of_condition(6, condition, generator) for condition in (5, 40, 8)]
    plan = next(basis.Planner(chain, matrices).plans())
    by_pivot = {}
    for pivot in range(4):
        products = []
        for j in range(4):
            if j != pivot:
                product = torch.eye(6, dtype=torch.float64)
                for s in matrices[min(j, pivot) : max(j, pivot)]:
                    product = s @ product
                products.append(basis.condition_number(product))
        by_pivot[pivot] = max(products)
    assert plan.condition == pytest.approx(min(by_pivot.values()))
    assert by_pivot[plan.pivots[0]] == pytest.approx(plan.condition)


def test_a_bad_stabilizer_does_not_keep_a_good_neighbour_from_folding():
    model = randomized(tokens("e3k3 id e3k3 e3k3 e3k3 e3k3 id e3k3"), condition=10)
    with torch.no_grad():
        model.blocks[2][2].matrix[:, 0] = 0
    result = folds_exactly(model)
    assert [site.site for site in result.skipped] == ["blocks.2.2"]
    assert [step.site for step in result.steps if step.kind == "backward"] == ["blocks.1.1"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "mobileone_s0", "repvit_m0_9", "ghostnet_050"])
def test_other_timm_networks_lose_their_norms_exactly(name):
    model = _randomized_timm(name)
    result = fold(model)
    assert not any(isinstance(module, NORMS) for module in result.model.modules())
    assert relative_difference(model, result.model, images_for(model, 2, 64)) < EXACT


def _randomized_timm(name):
    model = timm.create_model(name, num_classes=7).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, NORMS):
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0, 0.1, generator=generator)
    return model.eval()


@pytest.mark.slow
def test_a_norm_that_follows_no_convolution_stays_with_its_reason():
    model = timm.create_model("densenet121", num_classes=3, growth_rate=8, block_config=(2, 2)).eval()
    result = fold(model)
    assert result.skipped
    assert all("follows" in site.reason or "other readers" in site.reason for site in result.skipped)


@pytest.mark.slow
def test_the_input_model_is_untouched_and_the_dtype_kept():
    arch = tokens(ROUTES["between residual blocks"][0])
    model = randomized(arch, dtype=torch.float32).to(memory_format=torch.channels_last)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    names = [name for name, _ in model.named_modules()]
    result = fold(model)
    assert [name for name, _ in model.named_modules()] == names
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert {p.dtype for p in result.model.parameters()} == {torch.float32}
    assert set(dict(result.model.named_modules())) <= set(names) | {f"{n}.0" for n in names}
    again = fold(result.model)
    assert again.steps == ()


class Tied(torch.nn.Module):
    """Two convolutions with one weight: folding a norm into one would change the other."""

    def __init__(self):
        super().__init__()
        self.a, self.norm = torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.BatchNorm2d(3)
        self.b = torch.nn.Conv2d(3, 3, 3, padding=1)
        self.b.weight = self.a.weight

    def forward(self, x):
        return self.b(self.norm(self.a(x)))


class Functional(torch.nn.Module):
    """A convolution whose weight the forward code reads once more."""

    def __init__(self):
        super().__init__()
        self.a, self.norm = torch.nn.Conv2d(3, 3, 3, padding=1), torch.nn.BatchNorm2d(3)

    def forward(self, x):
        return torch.nn.functional.conv2d(self.norm(self.a(x)), self.a.weight)


class Hooked(torch.nn.Module):
    """A convolution that computes its weight before it runs."""

    def __init__(self):
        super().__init__()
        self.a, self.norm = torch.nn.Conv2d(3, 3, 3), torch.nn.BatchNorm2d(3)
        torch.nn.utils.spectral_norm(self.a)

    def forward(self, x):
        return self.norm(self.a(x))


@pytest.mark.parametrize("kind", [Tied, Functional, Hooked])
def test_a_convolution_that_is_more_than_it_seems_keeps_its_norm(kind):
    model = kind().eval()
    model.norm.running_var.fill_(3)
    result = fold(model)
    assert [site.site for site in result.skipped] == ["norm"]
    assert result.max_rel_diff < 1e-12


def test_a_fold_that_turns_out_wrong_is_refused(monkeypatch):
    from scarlet_zoo.folding import batchnorm

    real = batchnorm.merged_batch_norm
    monkeypatch.setattr(batchnorm, "merged_batch_norm", lambda *a: (real(*a)[0], 1.001 * real(*a)[1]))
    with pytest.raises(FoldError, match="differs by"):
        fold(randomized(Arch.sample(TINY, random.Random(0))))


def test_train_mode_and_mixed_dtypes_are_refused():
    model = randomized(Arch.sample(TINY, random.Random(0)))
    with pytest.raises(FoldError, match="train mode"):
        fold(copy.deepcopy(model).train())
    model.conv_head.half()
    with pytest.raises(FoldError, match="float16"):
        fold(model)


# The faults below are the ones that a hand-written fold makes; each must show in the comparison
# that the property tests above use, or those would prove nothing.


def test_naive_folding_across_a_shortcut_is_caught(monkeypatch):
    model = randomized(tokens(ROUTES["between residual blocks"][0]))
    real = stabilizers._change_basis

    def only_writers(layers, t, *, writing):
        if writing:
            real(layers, t, writing=True)

    monkeypatch.setattr(stabilizers, "_change_basis", only_writers)
    result = fold(model)  # the measured error refuses the plan, so that the stabilizer stays
    assert [site.site for site in result.skipped] == ["blocks.1.2"]
    monkeypatch.setattr(stabilizers, "_excess", lambda *_: "")
    with pytest.raises(FoldError, match="differs by"):
        fold(model)


def test_a_transposed_stabilizer_is_caught(monkeypatch):
    model = randomized(tokens(ROUTES["before the next stage"][0]))
    monkeypatch.setattr(Stabilizer, "matrix", property(lambda s: s.weight.view(s.out_channels, s.in_channels).T))
    with pytest.raises(FoldError, match="differs by"):
        fold(model)


def test_a_dropped_bias_is_caught():
    model = randomized(tokens(ROUTES["after the opening block"][0]))
    folded = fold(model).model
    with torch.no_grad():
        folded.blocks[1][0].conv_pwl.bias.zero_()
    assert relative_difference(model, folded, images_for(model)) > 1e-3
