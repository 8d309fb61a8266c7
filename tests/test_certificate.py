"""What a fold's certificate says, letter by letter."""

import hashlib
import json

from torch import nn

from scarlet_zoo.folding.certificate import FoldResult, Skipped, Step

STEPS = (
    Step("batch_norm", "bn1", ("conv1",), None, 1e-15),
    Step("forward", "blocks.0.skip", ("a", "b"), 2.5, 3e-14),
    Step("batch_norm", "bn2", ("conv2",), None, 0.0),
)
LEFT = (Skipped("blocks.1.skip", "two readers"),)


def result(steps=STEPS, skipped=LEFT):
    return FoldResult(nn.Identity(), "0" * 64, steps, skipped, 1.5e-14, 2.25e-15)


def test_a_certificate_has_every_step_and_every_site_that_was_left():
    text = result().certificate()
    assert json.loads(text) == {
        "steps": [
            {"kind": "batch_norm", "site": "bn1", "absorbed_by": ["conv1"], "condition": None, "max_abs_diff": 1e-15},
            {"kind": "forward", "site": "blocks.0.skip", "absorbed_by": ["a", "b"], "condition": 2.5,
             "max_abs_diff": 3e-14},
            {"kind": "batch_norm", "site": "bn2", "absorbed_by": ["conv2"], "condition": None, "max_abs_diff": 0.0},
        ],
        "skipped": [{"site": "blocks.1.skip", "reason": "two readers"}],
        "max_abs_diff": 1.5e-14,
        "max_rel_diff": 2.25e-15,
    }  # fmt: skip
    assert text.startswith('{"max_abs_diff": ')  # the keys are sorted, so equal certificates are equal texts


def test_its_digest_is_of_what_was_done_and_not_of_what_was_measured():
    done = [["batch_norm", "bn1", "conv1"], ["forward", "blocks.0.skip", "a", "b"], ["batch_norm", "bn2", "conv2"]]
    wanted = hashlib.sha256(json.dumps([done, [["blocks.1.skip", "two readers"]]]).encode()).hexdigest()
    assert result().certificate_sha256() == wanted
    again = FoldResult(
        nn.Identity(), "1" * 64, (Step("batch_norm", "bn1", ("conv1",), 7.0, 1.0), *STEPS[1:]), LEFT, 1, 1
    )
    assert again.certificate_sha256() == wanted
    assert result(skipped=()).certificate_sha256() != wanted
    assert result(steps=STEPS[::-1]).certificate_sha256() != wanted


def test_a_summary_is_one_line():
    end = "; float64 difference 2.2e-15 of the largest output"
    assert result().summary() == f"2 batch_norm, 1 forward, 1 skipped{end}"
    assert result(skipped=()).summary() == f"2 batch_norm, 1 forward{end}"
    assert result(steps=()).summary() == f"nothing to fold, 1 skipped{end}"
    assert result((), ()).summary() == f"nothing to fold{end}"
