"""What a strategy is: the four decisions that the papers on weight-sharing supernets differ in."""

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


# Types of options: what is legal stands in the type.
Share = Annotated[float, Field(ge=0, le=1)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class StrategyOptions:
    """What a strategy can be told, besides nothing: a subclass has the fields, in types that pydantic checks."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")


class Strategy(Learner):
    """How a supernet is trained and its architectures are scored.

    A subclass says who is sampled (:meth:`paths`), how the loss is made (:meth:`terms`), what happens
    around a step (:meth:`begin`, :meth:`end`), and how an architecture is scored (:meth:`scorer`). The
    loop, the supernet, recalibration and the search are everybody's.

    Args:
        space: of the supernet; :meth:`extended` gives what becomes of a chain space first.
        skip: what stands on skips, see :class:`scarlet_zoo.models.supernet.Supernet`.
        options: a value of :attr:`Options`, see :func:`read_options`.
        seed: of everything that the strategy draws.

    Attributes:
        name: by which it is asked for.
        skip_default: what stands on skips if nobody says otherwise.
        metric: of the search that :meth:`scorer` gives: ``accuracy``, or ``score`` where it is none.
        method: of the search that belongs to it.
    """

    name: ClassVar[str]
    Options: ClassVar[type[StrategyOptions]] = StrategyOptions
    skip_default: ClassVar[str] = "plain"
    metric: ClassVar[str] = "accuracy"
    method: ClassVar[str] = "nsga2"
    traced = True

    def __init__(self, space: SearchSpace, skip: str, options: Any, seed: int) -> None:
        self.space, self.options, self.seed = space, options, seed
        self.supernet = Supernet(space, skip)
        super().__init__(self.supernet)

    @property
    def batch_share(self) -> float:
        """Share of a step's images that each of its paths runs on: all of them, in most."""
        return 1.0

    @classmethod
    def extended(cls, space: SearchSpace, options: Any) -> SearchSpace:  # noqa: ARG003
        """The space that the strategy makes of a chain space: most take it as it is."""
        return space

    def paths(self, step: int) -> tuple[Arch, ...]:
        """The architectures that :meth:`terms` runs: one, uniformly.

        A function of seed and step, the same in every process.
        """
        return (UniformSampler(self.space, self.seed).draw(step),)

    def terms(self, model: nn.Module, batch: StepBatch) -> Iterator[LossTerm]:
        """Cross-entropy of each of the :meth:`paths`, summed."""
        for arch in self.paths(batch.step):
            yield LossTerm(CROSS_ENTROPY, self.criterion(model(batch.images, arch), batch.targets), arch)

    def identity(self) -> dict[str, str]:
        """Strategy, options and supernet."""
        supernet = f"{self.space.to_json()} {self.supernet.skip}"
        return {"strategy": self.name, "options": str(asdict(self.options)), "network": supernet}

    def result(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The supernet's tensors, under its own names."""
        own = self.supernet.state_dict().keys()
        return {key: value for key, value in state.items() if key in own}

    def metadata(self) -> dict[str, str]:
        """What the supernet's file must say for its architectures to be scored."""
        return {"strategy": self.name, "options": json_text(asdict(self.options))}

    @classmethod
    def scorer(cls, bench: OneShot) -> Score:
        """How an architecture is scored: by top-1 accuracy in percent, with batch norm statistics of its own."""
        return lambda arch: {"accuracy": bench.accuracy(arch)}


def read_options(kind: type[StrategyOptions], given: Mapping[str, str], strategy: str) -> Any:
    """A strategy's options from their text.

    Raises:
        TrainingError: an option that there is not, or a value of the wrong kind.
    """
    try:
        return TypeAdapter(kind).validate_python(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        names = [field.name for field in fields(kind)]
        wanted = first["msg"].removeprefix("Input should be ") if name in names else " ".join(names) or "no option"
        raise TrainingError(f"strategy {strategy}: option {name}={given[name]}, wanted {wanted}") from error
