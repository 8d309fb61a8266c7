"""Read the recipes of targets, one TOML file each in ``export/recipes`` (in a wheel: ``scarlet_zoo/_export``)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scarlet_zoo.errors import ScarletError
from scarlet_zoo.utils.files import shipped_folder
from scarlet_zoo.utils.reading import bounded_text, parse_toml

RECIPES_FOLDER = shipped_folder("export") / "recipes"
Text = Annotated[str, Field(min_length=1)]
# All of scarlet_zoo.graph.passes.lower.FORMS but the baseline, which is not for deployment. A test compares the two,
# since that module is too slow to import here.
GraphVariant = Literal["native", "blocked", "friendly"]
ProcessorName = Literal["x86_64", "aarch64"]


class RecipeError(ScarletError):
    """A target's recipe is missing, cannot be read, or is not valid."""


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class ProcessorRecipe(_Strict):
    """The settings of a target for one processor architecture.

    Attributes:
        graph_variant: the graph variant for this processor; the recipe's own when left out.
        instruction_sets: the target is fast only with one of these, as Linux names them; with any if empty.
    """

    graph_variant: GraphVariant | None = None
    instruction_sets: list[Text] = []


class TargetRecipe(_Strict):
    """The recipe of a target.

    Attributes:
        runtime: the runtime that runs the file: ``ort`` (ONNX Runtime), or one of
            :mod:`scarlet_zoo.deployment.runtimes.registry`.
        precision: precision of the weights and of the arithmetic.
        suffix: suffix of the file's name.
        graph_variant: the operators that are written, see :mod:`scarlet_zoo.graph.passes.lower`.
        why: the reason for these choices, one sentence.
        evidence: path in the repository of the measurement that supports them.
        processors: the processors that the file is meant for, as Linux names them.
    """

    runtime: Text
    precision: Literal["float32", "float16", "bfloat16", "int8"]
    suffix: Annotated[str, Field(pattern=r"^(\.[a-z0-9]+)+$")]
    graph_variant: GraphVariant
    why: Text
    evidence: Text | None = None
    processors: Annotated[dict[ProcessorName, ProcessorRecipe], Field(min_length=1)]


def read_recipe(path: Path) -> TargetRecipe:
    """Read a recipe strictly: unknown keys, missing keys and values of a wrong type are errors.

    Raises:
        RecipeError: the file cannot be read, or is not valid; the message gives the first fault and its key.
    """
    try:
        content = parse_toml(bounded_text(path))
    except (OSError, ValueError) as error:
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
    """Read all recipes of a folder, by target: those of ONNX Runtime first, then the others, each sorted by name.

    Args:
        folder: folder of the files; this package's own when left out.

    Raises:
        RecipeError: the folder holds none, or one is not valid.
    """
    folder = folder or RECIPES_FOLDER
    recipes = {path.stem: read_recipe(path) for path in folder.glob("*.toml")}
    if not recipes:
        raise RecipeError(f"{folder}: got no recipes, wanted TARGET.toml files; the installation is incomplete")
    return dict(sorted(recipes.items(), key=lambda item: (item[1].runtime != "ort", item[0])))
