"""Recipes: what a target is, one TOML file each, under ``export/recipes`` (in a wheel: ``scarlet_zoo/_export``)."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.files import shipped_folder

RECIPES_FOLDER = shipped_folder("export") / "recipes"
Text = Annotated[str, Field(min_length=1)]
# All of scarlet_zoo.graph.passes.lower.FORMS but the baseline, which is never one to ship; that module takes most of a
# second to import, so a test holds the two against each other.
GraphVariant = Literal["native", "blocked", "friendly"]
ProcessorName = Literal["x86_64", "aarch64"]


class RecipeError(ScarletError):
    """A target's recipe that is missing, cannot be read, or is not as recipes are."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ProcessorRecipe(_Strict):
    """What is different on one kind of processor.

    Attributes:
        graph_variant: on this processor, in place of the recipe's own.
        instruction_sets: the target's speed rests on one of these, as Linux names them; on none in particular if empty.
    """

    graph_variant: GraphVariant | None = None
    instruction_sets: list[Text] = []


class TargetRecipe(_Strict):
    """What a target is.

    Attributes:
        runtime: that runs the file: ``ort`` (ONNX Runtime), or one of :mod:`scarlet_zoo.deployment.runtimes.registry`.
        precision: of the weights and of the arithmetic.
        suffix: of the file's name.
        graph_variant: how the operators are spelled, see :mod:`scarlet_zoo.graph.passes.lower`.
        why: where the choice comes from, one sentence.
        evidence: the measurement that it rests on, a path in the repository.
        processors: the processors that the file is meant for, as Linux names them.
    """

    runtime: Text
    precision: Literal["float32", "int8"]
    suffix: Annotated[str, Field(pattern=r"^(\.[a-z0-9]+)+$")]
    graph_variant: GraphVariant
    why: Text
    evidence: Text | None = None
    processors: Annotated[dict[ProcessorName, ProcessorRecipe], Field(min_length=1)]


def read_recipe(path: Path) -> TargetRecipe:
    """Read a recipe strictly: every key is known, none is missing, each value is of its kind.

    Raises:
        RecipeError: the first thing that is wrong, with file, key, what was got and what was wanted.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as TOML: {str(error).splitlines()[0]}") from error
    try:
        return TargetRecipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(f"{path}: {_first_fault(error)}") from error


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    # pydantic marks a dictionary's own key with [key].
    key = ".".join(str(part) for part in fault["loc"] if part != "[key]")
    if fault["type"] == "missing":
        return f"key {key!r} is missing, wanted {' '.join(TargetRecipe.model_fields)}"
    if fault["type"] == "extra_forbidden":
        fields = ProcessorRecipe.model_fields if key.startswith("processors.") else TargetRecipe.model_fields
        return f"key {key!r} is unknown, wanted one of {' '.join(fields)}"
    wanted = fault["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"key {key!r}: got {fault['input']!r}, wanted {wanted}"


def read_recipes(folder: Path | None = None) -> dict[str, TargetRecipe]:
    """Every recipe of a folder by its target's name: those of ONNX Runtime first, then the others, in order of name.

    Args:
        folder: of the files; this package's own when left out.

    Raises:
        RecipeError: there are none, or one is not as recipes are.
    """
    folder = folder or RECIPES_FOLDER
    recipes = {path.stem: read_recipe(path) for path in folder.glob("*.toml")}
    if not recipes:
        raise RecipeError(f"{folder}: got no recipes, wanted TARGET.toml files; the installation is not whole")
    return dict(sorted(recipes.items(), key=lambda item: (item[1].runtime != "ort", item[0])))
