"""The data, the sizes and the recipes of the networks that benchmarks/make_cifar10.py finds and trains."""

from scarlet_zoo.evidence.commands import Journal
from scarlet_zoo.evidence.same_cost import side_of

DATA = "cifar10_jpeg"
SPACES = ("fine-maps", "even-maps", "early-stride", "late-stride")
SIZES = {"s": 6_000_000, "m": 12_000_000, "l": 25_000_000}  # the most multiply-adds
TRIES = 3
RIVALS = {"s": ("mobilenetv3_small_075", "tinynet_e"), "m": ("mobilenetv3_small_100", "tinynet_e")}
TRAIN = ("--data", DATA, "--validation", "5000", "--augment", "small")
SHORT = (*TRAIN, "--batch-size", "256", "--mixed-precision", "bf16", "--epochs", "6", "--lr", "0.2")
FEW = (*TRAIN, "--pictures", "10000", "--epochs", "6")

# A training has two parts. The first alone over-fits: at its end the medium and the large network are right on fewer
# validation images than at two thirds of it. The second begins with its result and mixes images.
LONG = (*TRAIN, "--batch-size", "512", "--mixed-precision", "bf16", "--epochs", "75", "--lr", "0.4",
        "--weight-decay", "2e-4")  # fmt: skip
MIXED = (*TRAIN, "--cutmix", "1", "--mixup-prob", "0.5", "--batch-size", "256", "--lr", "0.2",
         "--weight-decay", "5e-4")  # fmt: skip
# The large network is trained first, and teaches the others and their rivals.
TAUGHT = ("--epochs", "32", "--teacher", "scarlet_cifar_l")
AGAIN = {"l": (*MIXED, "--epochs", "45"), "m": (*MIXED, *TAUGHT), "s": (*MIXED, *TAUGHT)}
FIRST = {"s": "scarlet_cifar_s", "m": "plain_recipe_m", "l": "plain_recipe_l"}  # the rows of the first parts

SUPERNET = ("supernet", "train", "--strategy", "scarlet", "--space", "scarlet-cifar", *TRAIN, "--batch-size", "64",
            "--epochs", "11", "--lr", "0.15")  # fmt: skip
SUPERNET_FILE = "supernet/supernet.safetensors"
SEARCH = ("search", "--supernet", SUPERNET_FILE, "--objectives", "loss,latency",
          "--evaluations", "100", "--population", "20", "--bn-images", "1000")  # fmt: skip


def sized(name: str, size: str) -> tuple[str, ...]:
    """A network of others with the input side at which it is as large as one of ours."""
    return name, "--input-size", str(side_of(name, SIZES[size], 3))


def better(size: str, journal: Journal) -> tuple[str, ...]:
    """The candidate for a rival that was better in its short training."""
    name = max(RIVALS[size], key=lambda name: journal.rows[f"{name}_{size}"]["report"]["accuracy"]["percent"])
    return sized(name, size)
