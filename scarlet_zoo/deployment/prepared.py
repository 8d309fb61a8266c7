"""Load a network with a preprocessing that someone gives, at the input size that follows from it."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

from torch import nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.data.given_preprocessing import GivenPreprocessing
from scarlet_zoo.data.preprocessing import Preprocessing
from scarlet_zoo.deployment.image_feed import AnyPreprocessing, settings_of
from scarlet_zoo.errors import ScarletWarning
from scarlet_zoo.models.loading import Network, load_network, network_of


def load_prepared(
    name: str | Arch,
    weights: str = "auto",
    preprocessing: AnyPreprocessing | None = None,
    *,
    input_size: int | tuple[int, int] | None = None,
    **others: Any,
) -> Network:
    """Load a network as :func:`scarlet_zoo.models.loading.load_network` does, with the preprocessing that is given.

    A size that the preprocessing states is the network's input size where no other one is given. What the settings ask
    for and is not done is told in a warning.

    Args:
        name, weights, others: as for ``load_network``.
        preprocessing: settings as for :func:`scarlet_zoo.data.given_preprocessing.read_preprocessing`; what they leave
            out is the network's own.
        input_size: input size in pixels, a side or (height, width).

    Raises:
        ScarletError: the settings cannot be read, or are for another size or number of channels than the network.
    """
    given = None if preprocessing is None else settings_of(preprocessing)
    return _completed(load_network(name, weights, input_size=input_size or _size_of(given), **others), given)


def prepared_model(
    model: nn.Module,
    preprocessing: AnyPreprocessing | None = None,
    *,
    input_size: int | tuple[int, int] | None = None,
    **others: Any,
) -> Network:
    """Take a torch model as :func:`scarlet_zoo.models.loading.network_of` does, with the preprocessing that is given.

    Args:
        model, others: as for ``network_of``.
        preprocessing, input_size: as for :func:`load_prepared`.

    Raises:
        ScarletError: as for :func:`load_prepared`.
    """
    if isinstance(preprocessing, Preprocessing):
        network = network_of(model, preprocessing=preprocessing, input_size=input_size, **others)
        return replace(network, preprocessing_given=True)
    given = None if preprocessing is None else settings_of(preprocessing)
    return _completed(network_of(model, input_size=input_size or _size_of(given), **others), given)


def with_preprocessing(network: Network, preprocessing: AnyPreprocessing | None) -> Network:
    """A network that is loaded already, with the preprocessing that is given.

    Raises:
        ScarletError: as for :func:`load_prepared`.
    """
    return _completed(network, None if preprocessing is None else settings_of(preprocessing))


def _size_of(given: GivenPreprocessing | None) -> tuple[int, int] | None:
    """The size that settings ask for; None where they ask for none."""
    return given.size if given is not None and given.firm else None


def _completed(network: Network, given: GivenPreprocessing | None) -> Network:
    if given is None:
        return network
    for note in given.notes:
        warnings.warn(f"{network.name}: {note}", ScarletWarning, stacklevel=3)
    own = network.preprocessing
    return replace(network, preprocessing=given.complete(own, own.size), preprocessing_given=True)
