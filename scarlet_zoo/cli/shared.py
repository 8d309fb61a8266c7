"""Options that several verbs take as one value: a dataclass whose fields are the options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any, get_type_hints

from scarlet_zoo.cli.options import (
    Batch,
    Exporter,
    Features,
    FileName,
    InChans,
    InputSize,
    Labels,
    NumClasses,
    Opset,
    Pixels,
    Precision,
    PreprocessingOrOwn,
    Target,
    Weights,
)

if TYPE_CHECKING:
    from scarlet_zoo.deployment.trace import Recipe


def with_shared_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Replace the dataclass parameter of a verb by one option for each field of the dataclass.

    The result is an ordinary typer command: ``--help`` shows every option, with the dataclass's defaults.

    Args:
        verb: a function with one parameter that is a dataclass. The dataclass's fields are annotated like typer
            parameters.
    """
    hints: dict[str, Any] = get_type_hints(verb, include_extras=True)
    shared = next(name for name, hint in hints.items() if is_dataclass(hint))
    kind = hints[shared]
    field_hints = get_type_hints(kind, include_extras=True)
    names = [field.name for field in fields(kind)]

    @functools.wraps(verb)
    def command(**given: Any) -> None:
        values = {name: given.pop(name) for name in names}
        verb(**given, **{shared: kind(**values)})

    own = inspect.signature(kind).parameters
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(verb).parameters.items():
        spread = [own[field].replace(annotation=field_hints[field]) for field in names]
        parameters += spread if name == shared else [parameter.replace(annotation=hints[name])]
    keyword = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
    setattr(command, "__signature__", inspect.Signature(keyword, return_annotation=None))  # noqa: B010
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword}
    return command


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Options that export and deploy share: which weights are written to which file."""

    weights: Weights = "auto"
    num_classes: NumClasses = None
    in_chans: InChans = None
    labels: Labels = None
    file_name: FileName = None
    target: Target = "native"
    precision: Precision = None
    opset: Opset = 17
    batch: Batch = None
    input_size: InputSize = None
    exporter: Exporter = "torchscript"
    features: Features = None
    pixels: Pixels = False
    preprocessing: PreprocessingOrOwn = None

    @property
    def target_in_precision(self) -> str:
        """The target of --target in the precision of --precision."""
        from scarlet_zoo.deployment.targets import in_precision

        return in_precision(self.target, self.precision)

    def recipe(self, form: str, **own: Any) -> Recipe:
        """The recipe of a graph variant ``form``, with settings ``own`` that only one verb has."""
        from scarlet_zoo.deployment.trace import Recipe

        return Recipe(form=form, opset=self.opset, batch=self.batch, exporter=self.exporter, pixels=self.pixels, **own)
