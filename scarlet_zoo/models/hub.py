"""Write a network and its weights to a folder, or the Hugging Face hub, from which timm loads them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from timm.models import _hub as timm_hub

from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.data.labels import IMAGENET_CLASSES, imagenet_labels
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.models.blocks import Stabilizer
from scarlet_zoo.models.cost import network_cost
from scarlet_zoo.models.loading import Network, preprocessing_of
from scarlet_zoo.models.scarlet import SHA256_NOTE
from scarlet_zoo.models.weights.cards import WeightsCard, cards_of
from scarlet_zoo.models.weights.checkpoint import save_weights, state_sha256
from scarlet_zoo.utils.files import make_folder, replacing, write_text
from scarlet_zoo.utils.markdown import markdown_table
from scarlet_zoo.utils.reading import bounded_text, parse_json

_FILES = ("config.json", "model.safetensors", "README.md")


def save_for_hub(network: Network, folder: Path) -> list[Path]:
    """Write a folder that timm loads as ``local-dir:FOLDER`` or ``hf-hub:NAME``: config, weights and model card.

    The configuration holds the digest of the tensors; when a network of this package loads the folder, it
    refuses tensors with another digest. Each file is written atomically.

    Args:
        network: a network and its weights.
        folder: the folder to write to.

    Returns:
        The paths of the three files.
    """
    make_folder(folder)
    config, weights, card = (folder / name for name in _FILES)
    digest = state_sha256(network.model.state_dict())
    save_weights(network.model, weights, _stated(network))
    described: dict[str, Any] = {"notes": [f"{SHA256_NOTE}{digest}"], "tag": None}
    labels: dict[str, Any] = {}
    if _has_own_labels(network):
        labels["label_names"] = list(network.labels or ())
    else:
        described["label_names"] = None  # not those of the weights that are registered for the architecture
    if not _is_of_the_card(network):
        described["license"] = None
    with replacing(config) as temporary:
        timm_hub.save_config_for_hf(
            network.model, str(temporary), model_config={"pretrained_cfg": described, **labels},
            data_config=_other_input(network),
        )  # fmt: skip
        # timm writes no final newline and another indentation.
        temporary.write_text(json.dumps(parse_json(bounded_text(temporary)), indent=2) + "\n", encoding="utf-8")
    write_text(card, model_card(network))
    return [config, weights, card]


def _stated(network: Network) -> dict[str, str]:
    """What the weights file states about its network, as the weights file of a training does."""
    stated = {"name": network.name, "weights": network.weights, "preprocessing": network.preprocessing.to_json()}
    stabilized = any(isinstance(module, Stabilizer) for module in network.model.modules())
    stated |= {"stabilized": str(stabilized)} if network.arch is not None else {}
    return stated | ({"labels": json.dumps(list(network.labels or ()))} if _has_own_labels(network) else {})


def _has_own_labels(network: Network) -> bool:
    """Whether the class names need a place in the file; ImageNet's are timm's own."""
    return network.labels is not None and (
        len(network.labels) != IMAGENET_CLASSES or network.labels != imagenet_labels()
    )


def _other_input(network: Network) -> dict[str, Any] | None:
    """The network's input in timm's words, where it is another one than the model's configuration has."""
    feed = network.preprocessing
    if feed == preprocessing_of(network.model):
        return None
    return {"input_size": (feed.channels, *feed.size), "mean": feed.mean, "std": feed.std,
            "interpolation": feed.interpolation, "crop_pct": feed.crop}  # fmt: skip


def push_to_hub(network: Network, repository: str, *, private: bool = False) -> str:
    """Upload the folder of :func:`save_for_hub` to a model repository, which is created if needed.

    Args:
        network: a network and its weights.
        repository: ``owner/name``.
        private: whether a new repository is private.

    Returns:
        The URL of the commit.

    Raises:
        ScarletError: the hub refuses the upload or cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi()
    with tempfile.TemporaryDirectory() as temporary:
        save_for_hub(network, Path(temporary))
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            commit = api.upload_folder(repo_id=repository, folder_path=temporary, commit_message=f"Add {network.name}")
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            reason = str(error).strip().split("\n")[0] or type(error).__name__
            raise ScarletError(f"hub repository {repository!r}: cannot be written: {reason}") from error
    return str(commit)


def model_card(network: Network) -> str:
    """Return the README.md of a model repository: figures, architecture, licence, and how to load and export it."""
    cards = cards_of(network.name) if _is_of_the_card(network) else []
    cost = network_cost(network)
    rows = [("weights", network.weights), ("parameters", f"{cost.params:,}"), ("multiply-adds", f"{cost.macs:,}")]
    published = ZOO[network.name].published if network.name in ZOO and _is_of_the_card(network) else None
    if published is not None:
        rows.append(("ImageNet top-1", f"{published.top1_percent} %, published by the authors, not measured here"))
    layers = [
        (layer.name, layer.token, layer.out_size, layer.out_chs, f"{layer.macs / 1e6:.2f}") for layer in cost.layers
    ]
    parts = [
        "---", "library_name: timm", "tags:", "- image-classification", "- timm", "- scarlet-zoo",
        "license: other", "---",
        "", f"# {network.name}", "", markdown_table(("what", "value"), rows), "",
        *([f"`{network.arch}`", ""] if network.arch is not None else []),
        "## Layers", "", markdown_table(("layer", "choice", "pixels", "channels", "MACs (M)"), layers), "",
        "## Licence", "", _licence(cards[0] if cards else None), "",
        "## Use", "", "```python", "import scarlet_zoo, timm", "",
        'model = timm.create_model("hf-hub:OWNER/NAME", pretrained=True)  # or local-dir:FOLDER', "```", "",
        "To an ONNX file, folded, verified and measured:", "", "```sh",
        "scarlet-zoo deploy hf-hub:OWNER/NAME --weights pretrained --out out", "```", "",
    ]  # fmt: skip
    return "\n".join(parts)


def _is_of_the_card(network: Network) -> bool:
    """Whether the weights may be those that the cards of the network's name describe: no file of the user's own."""
    classes = {card.num_classes for card in cards_of(network.name)}
    return not network.weights.startswith("file ") and getattr(network.model, "num_classes", None) in classes


def _licence(card: WeightsCard | None) -> str:
    if card is None:
        return "The licence of the weights is unknown; it is the decision of whoever trained them."
    shipped = "shipped with" if card.redistributed else "not redistributed by"
    return f"Weights: {card.licence}. Source: {card.source}. They are {shipped} scarlet-zoo."
