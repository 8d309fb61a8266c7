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
    InputSize,
    Opset,
    Pixels,
    Target,
    Weights,
)

if TYPE_CHECKING:
    from scarlet_zoo.deployment.trace import Recipe


def with_shared_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the fields of its dataclass parameter as options of their own, where the parameter stands.

    The verb is then a command of typer's like any other: ``--help`` shows every option, with the dataclass's defaults.

    Args:
        verb: a function of which one parameter is annotated with a dataclass whose fields are annotated as typer's
            parameters are.
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
    """What export and deploy have in common: which weights become what file."""

    weights: Weights = "auto"
    target: Target = "native"
    opset: Opset = 17
    batch: Batch = None
    input_size: InputSize = None
    exporter: Exporter = "torchscript"
    features: Features = None
    pixels: Pixels = False

    def recipe(self, form: str, **own: Any) -> Recipe:
        """How the graph is written in one of its forms, with what is the verb's own."""
        from scarlet_zoo.deployment.trace import Recipe

        return Recipe(form=form, opset=self.opset, batch=self.batch, exporter=self.exporter, pixels=self.pixels, **own)
