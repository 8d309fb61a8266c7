"""Parsers of values and texts: what people, records, searches, phones and pages give."""

import json
import os
import tomllib
from pathlib import Path

import examples
import hostile
import typer
from parser import Parser, json_of, of_file, text_of, toml_of

from scarlet_zoo.latency import MeasurementError, Provider, shapes_of_inputs


def _read_json(text):
    from scarlet_zoo.utils.reading import parse_json

    parse_json(text)


def _read_toml(text):
    from scarlet_zoo.utils.reading import parse_toml

    parse_toml(text)


def _read_identity(text):
    from scarlet_zoo.arch.architecture import Arch, is_identity_string
    from scarlet_zoo.models.weights.stated import arch_named

    is_identity_string(text)
    arch_named(text)
    Arch.parse(text, examples.arch().space)


def _read_space(path):
    from scarlet_zoo.arch.architecture import Arch
    from scarlet_zoo.arch.cost import cost_table
    from scarlet_zoo.arch.space_files import read_space
    from scarlet_zoo.utils.names import as_file_name

    space = read_space(path)
    first = Arch(space, tuple(layer.tokens[0] for layer in space.layers))
    cost_table(space).params_and_macs(first)
    as_file_name(space.name, "space")


def _read_definition(text):
    from scarlet_zoo.arch.space import SearchSpace

    SearchSpace.from_json(text)


def _read_records(path):
    from scarlet_zoo.measurement.compare import compare
    from scarlet_zoo.measurement.recommend import read_evidence
    from scarlet_zoo.measurement.records import read_records, record_text

    read_evidence(path)
    for record in read_records(path):
        record_text(record)
        assert record.settings
        compare(record.to_dict(), record.to_dict(), 0.95)


def _read_front(path):
    from scarlet_zoo.nas.search.front import load_front

    front = load_front(path)
    for how in ("0", "spread:2", "best:accuracy"):
        front.choose(how)
    assert front.conditions is not None
    assert front.to_dict()


def _choose(text):
    from scarlet_zoo.nas.search.front import front_of

    front_of(Path("front.json"), examples.front()).choose(text)


def _read_journal(path):
    from scarlet_zoo.nas.search.journal import Journal

    try:
        Journal(path, json.loads(examples.journal().splitlines()[0])["conditions"]).close()
    finally:
        path.with_suffix(".reference.json").unlink(missing_ok=True)


def _read_table(path):
    from scarlet_zoo.measurement.lut.table import read_table

    table = read_table(path)
    table.predict([examples.table_arch()])
    assert table.parts_ms()


def _read_card(path):
    from scarlet_zoo.models.weights.cards import read_card

    read_card(path)


def _read_recipe(path):
    from scarlet_zoo.deployment.recipes import read_recipe

    read_recipe(path)


def _read_accuracies(path):
    from scarlet_zoo.measurement.own_accuracies import read_accuracies

    for own in read_accuracies(path):
        assert own.interval is None or own.interval


def _accuracies(rng):
    examples_of = ({"scarlet_a": 76.9, "b": {"top1": 50, "images": 100}}, [{"name": "a", "top1": 71.0, "images": 9}])
    if rng.random() < 0.3:
        return hostile.text(rng, "name,top1,images\na,71.0,1000\nb,66,\n")
    return hostile.json_text(rng, rng.choice(examples_of))


def _goal(rng):
    return rng.randrange(2), hostile.text(rng, rng.choice((
        "macs<=5M", "params<=1.2M", "latency<=5ms", "accuracy>=90%", "loss<=0.5", "score>=1e-3", "accuracy",
        "params:max*0.2", "latency:min",
    )))  # fmt: skip


def _read_goal(case):
    from scarlet_zoo.nas.search.objectives import METRICS, Limit, Objective

    kind = (Limit, Objective)[case[0]]
    read = kind.parse(case[1])
    str(read)
    values = dict.fromkeys(METRICS, 1.0)
    assert (read.excess(values), read.told) if isinstance(read, Limit) else read.cost(values)


def _read_augmentation(text):
    from scarlet_zoo.data.augmentations import augment_plan

    augment_plan([text]).for_data("data", (32, 32))


def _read_size(text):
    from scarlet_zoo.cli.options import size_in_pixels

    size_in_pixels(text)


def _numbers(rng):
    return rng.randrange(4), hostile.text(rng, rng.choice(("0,1", "1,2,3,4", "unfused=0,reorders=40", "1,3,48,320")))


def _read_numbers(case):
    from scarlet_zoo.cli.options import levels_of, numbers
    from scarlet_zoo.graph.fusion_verdict import parse_limits

    reads = (numbers, levels_of, parse_limits,
             lambda text: shapes_of_inputs(Path("f"), [("x", ["batch", 3, "h", "w"])], [text]))  # fmt: skip
    reads[case[0]](case[1])


def _read_name(text):
    from scarlet_zoo.utils.names import MOST_BYTES, as_file_name, check_file_name, folded

    made = as_file_name(text, "x")
    assert made
    assert not set("/\\\0") & set(made)
    assert not made.startswith(".")
    assert len(os.fsencode(made)) <= MOST_BYTES
    folded(text)
    assert (examples.folder() / check_file_name(text, "name")).parent == examples.folder()


def _read_post(body):
    from scarlet_zoo.measurement.browser.posts import Posted, read_post, record_of_post

    posted = read_post(Posted, body.encode("utf-8", "surrogatepass"))
    record_of_post(posted, examples.served(), "1.22", 100.0, posted.device)


class _Device:
    """A phone of adbutils's that answers what a case says."""

    serial = "S1"

    def __init__(self, answers):
        self.answers = iter(answers)

    def shell2(self, command, timeout=None, encoding=None):
        class Done:
            returncode, output = 0, next(self.answers, "")

        return Done


def _adb(rng):
    answers = ["Maker\n", "Phone 1\n", "arm64-v8a\n", "15\n", "a/b/c\n", "8\n", "35000\n36000\n"]
    for number in rng.sample(range(7), hostile.times(rng)):
        answers[number] = hostile.text(rng, answers[number])
    return answers


def _read_adb(answers):
    from scarlet_zoo.measurement.phone.adb import Phone

    phone = Phone(_Device(answers))
    about, temperature = phone.about(), phone.temperature_c()
    json.dumps([about.cores, temperature], allow_nan=False)
    assert about.cores > 0


def _session(found):
    """What a program printed, as it goes into a record."""
    numbers = [*found.samples_ms, found.load_ms, found.first_ms]
    assert all(0 < number < 1e13 for number in numbers)
    json.dumps([*numbers, found.runs_per_sample, dict(found.conditions)], allow_nan=False)


def _read_perf_test(text):
    from scarlet_zoo.measurement.phone.perf_tool import PerfTest

    _session(PerfTest().read(text, 1, 3, "net.onnx"))


def _read_benchmark_model(text):
    from scarlet_zoo.measurement.phone.litert_tool import BenchmarkModel

    _session(BenchmarkModel().read(text, 25, "net.tflite"))


def _read_executor_runner(text):
    from scarlet_zoo.measurement.phone.executorch_tool import ExecutorRunner

    _session(ExecutorRunner().difference((1.0, 0.6), text, 10, "net.pte"))


def _read_provider(text):
    found = Provider.parse(text)
    assert Provider.parse(str(found)) == found


def _read_answer(text):
    from scarlet_zoo.measurement.phone.measure import read_answer

    read_answer(text.encode("utf-8", "surrogatepass"), 1, "S1")


def _read_truth(path):
    from scarlet_zoo.nas.ranking.ground_truth import read_rows

    read_rows(path, 2)


def _read_steps(path):
    from scarlet_zoo.training.state import read_losses

    read_losses(path)


def _card():
    return (examples.ROOT / "weights" / "cards" / "scarlet_mini_s.fashion_mnist.toml").read_text()


VALUES = {
    "json": Parser(json_of(examples.record), _read_json, (ValueError,)),
    "toml": Parser(toml_of(examples.SPACE), _read_toml, (tomllib.TOMLDecodeError,)),
    "identity": Parser(lambda rng: hostile.text(rng, str(examples.arch())), _read_identity),
    "space": Parser(toml_of(examples.SPACE), of_file("space.toml", _read_space)),
    "space_definition": Parser(lambda rng: hostile.json_text(rng, json.loads(examples.arch().space.to_json())),
                               _read_definition),
    "record": Parser(lambda rng: hostile.json_text(rng, [examples.record()]), of_file("record.json", _read_records)),
    "front": Parser(json_of(examples.front), of_file("front.json", _read_front)),
    "choice": Parser(text_of("0,4,7", "spread:3", "best:accuracy"), _choose),
    "journal": Parser(lambda rng: hostile.text(rng, examples.journal()), of_file("journal.jsonl", _read_journal)),
    "table": Parser(json_of(examples.table), of_file("table.json", _read_table)),
    "card": Parser(toml_of(_card), of_file("scarlet_mini_s.fashion_mnist.toml", _read_card)),
    "recipe": Parser(toml_of(examples.recipe), of_file("recipe.toml", _read_recipe)),
    "accuracies": Parser(_accuracies, of_file("accuracies.json", _read_accuracies)),
    "goal": Parser(_goal, _read_goal),
    "augmentation": Parser(text_of("photo,crop=0.2,color-jitter=0.4", "randaugment", "none", "shift=2,flip=false"),
                           _read_augmentation),
    "input_size": Parser(text_of("224", "96x128"), _read_size, (typer.BadParameter,)),
    "numbers": Parser(_numbers, _read_numbers),
    "file_name": Parser(text_of("Pixel 8", "scarlet_a.int8", "ü" * 60, "a.b"), _read_name),
    "post": Parser(json_of(examples.post), _read_post),
    "adb": Parser(_adb, _read_adb),
    "truth": Parser(lambda rng: hostile.text(rng, examples.truth()), of_file("truth.csv", _read_truth)),
    "steps": Parser(lambda rng: hostile.text(rng, examples.STEPS), of_file("steps.jsonl", _read_steps)),
    "perf_test": Parser(text_of(examples.PERF_TEST), _read_perf_test),
    "benchmark_model": Parser(text_of(examples.BENCHMARK_MODEL), _read_benchmark_model),
    "executor_runner": Parser(text_of(examples.EXECUTOR_RUNNER), _read_executor_runner),
    "provider": Parser(text_of("QNN:backend_path=a.so,b=c", "xnnpack", "CPUExecutionProvider"), _read_provider,
                       (MeasurementError,)),
    "device_answer": Parser(lambda rng: hostile.json_text(rng, [examples.record()]), _read_answer),
}  # fmt: skip
