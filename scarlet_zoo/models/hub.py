"""A network with its weights as a folder that timm and the Hugging Face hub read back."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from timm.models import _hub as timm_hub

from scarlet_zoo.arch.zoo import ZOO
from scarlet_zoo.errors import ScarletError
from scarlet_zoo.models.cost import network_cost
from scarlet_zoo.models.loading import Network
from scarlet_zoo.models.scarlet import SHA256_NOTE
from scarlet_zoo.models.weights.cards import WeightsCard, cards_of
from scarlet_zoo.models.weights.checkpoint import save_weights, state_sha256
from scarlet_zoo.utils.files import make_folder, replacing, write_text
from scarlet_zoo.utils.markdown import markdown_table

_FILES = ("config.json", "model.safetensors", "README.md")


def save_for_hub(network: Network, folder: Path) -> list[Path]:
    """Write what ``timm.create_model("local-dir:...")`` and ``"hf-hub:..."`` load: config, weights, model card.

    The configuration carries the digest of the tensors; a network of ours refuses others when it
    is loaded. Each file is renamed into place when it is whole.

    Args:
        network: a network and its weights.
        folder: where to.

    Returns:
        The three files.
    """
    make_folder(folder)
    config, weights, card = (folder / name for name in _FILES)
    digest = state_sha256(network.model.state_dict())
    save_weights(network.model, weights, {"weights": network.weights})
    described = {"notes": [f"{SHA256_NOTE}{digest}"], "tag": None}
    with replacing(config) as temporary:
        timm_hub.save_config_for_hf(network.model, str(temporary), model_config={"pretrained_cfg": described})
        # timm writes no final newline; the file is read by people too.
        temporary.write_text(json.dumps(json.loads(temporary.read_text()), indent=2) + "\n", encoding="utf-8")
    write_text(card, model_card(network))
    return [config, weights, card]


def push_to_hub(network: Network, repository: str, *, private: bool = False) -> str:
    """Upload :func:`save_for_hub`'s folder to a model repository, which is made if it is not there.

    Args:
        network: a network and its weights.
        repository: ``owner/name``.
        private: for a repository that is made.

    Returns:
        The address of the commit.

    Raises:
        ScarletError: the hub refuses or cannot be reached.
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
    """README.md of a model repository: table, architecture, licence, how to load and to export."""
    cards = cards_of(network.name)
    cost = network_cost(network)
    rows = [("weights", network.weights), ("parameters", f"{cost.params:,}"), ("multiply-adds", f"{cost.macs:,}")]
    published = ZOO[network.name].published if network.name in ZOO else None
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


def _licence(card: WeightsCard | None) -> str:
    if card is None:
        return "Whoever trained the weights decides; this card does not know."
    shipped = "shipped with" if card.redistributed else "not redistributed by"
    return f"Weights: {card.licence}. Source: {card.source}. They are {shipped} scarlet-zoo."
