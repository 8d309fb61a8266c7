"""A pytest plugin for timm's own tests: every list of models that they ask for holds ours alone."""

import timm
from timm.models import _registry

import scarlet_zoo  # noqa: F401

# One of each kind: skips, three channels, a thousand classes; and one channel, small images, ten classes.
# The others differ from these in tokens alone.
KINDS = ("scarlet_b", "scarlet_mini_s")

_all = _registry.list_models


def ours_only(filter="", module="", pretrained=False, **kwargs):  # noqa: A002
    # One test asks for EfficientNets by name because it feeds 224 pixels in three channels and counts five levels.
    ours = "scarlet_[abc]" if str(filter).startswith("efficientnet") else "scarlet*"
    names = _all(ours, pretrained=pretrained, include_tags=kwargs.get("include_tags"))
    return [name for name in names if name.partition(".")[0] in KINDS]


setattr(timm, "list_models", ours_only)  # noqa: B010
setattr(timm, "list_pretrained", lambda *args, **kwargs: [])  # noqa: B010
