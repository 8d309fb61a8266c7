"""The base class of strategies, which hold the decisions in which papers on weight-sharing supernets differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from scarlet_zoo.arch.architecture import Arch
from scarlet_zoo.arch.space import SearchSpace
from scarlet_zoo.errors import TrainingError
from scarlet_zoo.models.supernet import Supernet
from scarlet_zoo.nas.one_shot import OneShot
from scarlet_zoo.nas.sampling import UniformSampler
from scarlet_zoo.training.learner import Learner, LossTerm, StepBatch
from scarlet_zoo.utils.files import json_text

CROSS_ENTROPY = "cross_entropy"
Score = Callable[[Arch], dict[str, float]]


# Types of options, which pydantic checks.
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class StrategyOptions:
    """The options of a strategy; a subclass adds the fields, whose types pydantic checks."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


class Strategy(Learner):
    """How a supernet is trained and its architectures are scored.

    A subclass defines which paths are sampled (:meth:`paths`), what the loss is (:meth:`terms`), what happens before
    and after a step (:meth:`begin`, :meth:`end`), and how an architecture is scored (:meth:`scorer`). All strategies
    share the training loop, the supernet, precise BN and the search.

    Args:
        space: search space of the supernet; a chain space must have gone through :meth:`extended` first.
        skip: the module on skips, see :class:`scarlet_zoo.models.supernet.Supernet`.
        options: a value of :attr:`Options`, see :func:`read_options`.
        seed: seed of everything that the strategy draws.

    Attributes:
        name: name of the strategy on the command line.
        Options: the class of its options.
        skip_default: the module on skips when none is asked for.
        metric: the metric of :meth:`scorer` that a search optimises by default: ``loss`` (more of the images tell
            architectures apart than in ``accuracy``), or ``score`` for a score of the strategy's own.
        method: the search method that is used with this strategy by default.
        entangled: whether the choices of a layer share their weights, see :mod:`scarlet_zoo.models.entangled`.
    """

    name: ClassVar[str]
    Options: ClassVar[type[StrategyOptions]] = StrategyOptions
    skip_default: ClassVar[str] = "plain"
    metric: ClassVar[str] = "loss"
    method: ClassVar[str] = "nsga2"
    entangled: ClassVar[bool] = False
    traced = True

    def __init__(self, space: SearchSpace, skip: str, options: Any, seed: int) -> None:
        self.space, self.options, self.seed = space, options, seed
        self.supernet = Supernet(space, skip, self.entangled)
        super().__init__(self.supernet)

    @property
    def batch_share(self) -> float:
        """Share of a step's images that each of its paths runs on; 1 unless a strategy splits them."""
        return 1.0

    @classmethod
    def extended(cls, space: SearchSpace, options: Any) -> SearchSpace:  # noqa: ARG003
        """Return the space that the strategy trains on, given a chain space; unchanged by default."""
        return space

    def paths(self, step: int) -> tuple[Arch, ...]:
        """Return the architectures that :meth:`terms` runs in a step; one, drawn uniformly, by default.

        They depend only on seed and step and are the same in every process.
        """
        return (UniformSampler(self.space, self.seed).draw(step),)

    @property
    def summed(self) -> int:
        """Number of cross-entropies that a step's loss is the sum of, one for each of its paths unless said."""
        return len(self.paths(0))

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[LossTerm]:
        """Yield the cross-entropy of each of the :meth:`paths`; their gradients are summed."""
        for arch in self.paths(batch.step):
            yield LossTerm(CROSS_ENTROPY, self.criterion(model(batch.images, arch), batch.targets), arch)

    def identity(self) -> dict[str, str]:
        """Return strategy, options and supernet, which must be unchanged for a run to continue."""
        supernet = f"{self.space.to_json()} {self.supernet.skip}"
        return {"strategy": self.name, "options": str(asdict(self.options)), "network": supernet}

    def result(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the supernet's tensors by their names, without those of the strategy's other modules."""
        own = self.supernet.state_dict().keys()
        return {key: value for key, value in state.items() if key in own}

    def metadata(self) -> dict[str, str]:
        """Return the metadata of the supernet's file from which its architectures are scored."""
        return {"strategy": self.name, "options": json_text(asdict(self.options))}

    @classmethod
    def scorer(cls, bench: OneShot) -> Score:
        """Return the function that scores an architecture; by default accuracy and loss of :meth:`OneShot.scores`."""
        return lambda arch: bench.scores(arch)


def read_options(kind: type[StrategyOptions], given: Mapping[str, str], strategy: str) -> Any:
    """Read the options of a strategy from text.

    Args:
        kind: the strategy's class of options.
        given: the text of each option by name.
        strategy: name of the strategy, for errors.

    Raises:
        TrainingError: an unknown option, or a value that its type does not allow.
    """
    try:
        return TypeAdapter(kind).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        names = [field.name for field in fields(kind)]
        wanted = first["msg"].removeprefix("Input should be ") if name in names else " ".join(names) or "no option"
        raise TrainingError(f"strategy {strategy}: option {name}={given[name]}, wanted {wanted}") from error
