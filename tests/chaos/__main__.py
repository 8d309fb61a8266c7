"""Interrupt every long command in every way, and write how often it came to the same result; ``make chaos`` runs it.

Run it again to continue: finished parts are in the file of figures.
"""

import argparse
import json
import random
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from conftest import FASHION
from PIL import Image
from skimage.data import data_dir

from chaos.faults import OBEDIENT, cut, enlarge, killed, run, small_disk
from chaos.jobs import PLAN, SPACE, Job, driver, jobs, zoo
from scarlet_zoo.data.fashion_mnist import fashion_mnist
from scarlet_zoo.latency import cpu_model
from scarlet_zoo.utils.files import json_text, write_text

_SMALL = 16_384  # bytes of all that a command writes
FIGURES = Path(__file__).parent / "figures.json"


def prepared(ready: Path) -> None:
    """Write what the commands start from: a space, a supernet, photographs, a ground truth."""
    ready.mkdir(parents=True, exist_ok=True)
    (ready / "few.toml").write_text(SPACE)
    pictures = ready / "pictures"
    pictures.mkdir(exist_ok=True)
    for photo in sorted(Path(data_dir).glob("*.png"))[:6]:
        shutil.copy(photo, pictures)
    for number, (image, label) in enumerate(
        zip(*(part[:1500] for part in fashion_mnist("test", FASHION)), strict=True)
    ):
        file = ready / "classes" / f"kind {label}" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(file)
    short = ("--data", "fashion-mnist", "--data-dir", FASHION, "--validation", 200, "--max-steps", 20, "--out")
    made = run(zoo("supernet", "train", "--space", ready / "few.toml", *short, ready / "net"), ready)
    assert made.code == 0, made.error
    begun(ready)
    truth = ("--work", ready / "trainings", "--folder", ready / "truth")
    made = run(driver("benchmarks/make_ground_truth.py", *truth), ready)
    assert made.code == 0, made.error


def fresh(folder: Path) -> None:
    """Empty a command's folder, and put there what a command finds: the plan of the ground truth."""
    shutil.rmtree(folder, ignore_errors=True)
    begun(folder)


def begun(folder: Path) -> None:
    """Put into an empty folder what a command finds there."""
    (folder / "truth").mkdir(parents=True, exist_ok=True)
    plan = PLAN.replace("DATA", str(folder.parent / "ready" / "classes"))
    (folder / "truth" / "plan.toml").write_text(f"{plan}[space]\n{SPACE}")


class Trial:
    """The trials of one command.

    Args:
        job: the command.
        work: folder of the trials.
        seed: seed of what is drawn.
    """

    def __init__(self, job: Job, work: Path, seed: int) -> None:
        self.job, self.ready = job, work / "ready"
        self.rng = random.Random(f"{job.name} {seed}")
        self.out = work / "trial"
        fresh(self.out)
        whole = run(self.words, self.ready)
        assert whole.code == 0, f"{job.name}: {whole.error}"
        self.seconds, self.wanted = whole.seconds, job.result(self.out)
        self.bytes = sum(path.stat().st_size for path in self.out.rglob("*") if path.is_file())
        self.faults: list[str] = []

    @property
    def words(self) -> list[str]:
        """The command."""
        return self.job.words(self.out)

    def same(self, what: str) -> bool:
        """Whether the command now ends in the result that it has when nothing happens, and leaves nothing else."""
        done = run(self.words, self.ready)
        found = self.job.result(self.out) if done.code == 0 else None
        left = [path.name for path in self.out.rglob("*.tmp")]
        if done.code or found != self.wanted or left:
            self.faults.append(f"{what}: exit {done.code}, {done.error[-300:]}, left {left}")
        return not done.code and found == self.wanted and not left

    def refused(self, code: int, one_line: bool, what: str, error: str) -> bool:
        """Whether a command that could not go on has said so in one line."""
        if code != 2 or not one_line:
            self.faults.append(f"{what}: exit {code}: {error[-600:]}")
        return code == 2 and one_line

    def kills(self, count: int) -> dict[str, int]:
        """Kill it at random moments, several times in a run, and let it end."""
        made = runs = equal = 0
        while made < count:
            fresh(self.out)
            for _ in range(self.rng.randint(1, 3)):
                made += killed(self.words, self.ready, self.out / self.job.writes, self.seconds, self.rng)
            runs, equal = runs + 1, equal + self.same(f"kill {made}")
        return {"kills": made, "runs": runs, "same": equal}

    def full_disks(self, count: int) -> dict[str, int]:
        """Run it on a disk that is too small, then give it room."""
        said = equal = 0
        for _ in range(count):
            shutil.rmtree(self.out)
            size = max(int(self.bytes * self.rng.uniform(0.05, 0.9)) // 4096, 1 if self.bytes < _SMALL else 4) * 4096
            with small_disk(self.out, size):
                begun(self.out)
                done = run(self.words, self.ready)
                said += self.refused(done.code, done.is_one_line, f"disk of {size} bytes", done.error)
                enlarge(self.out)
                equal += self.same(f"disk of {size} bytes")
        return {"disks": count, "told": said, "same": equal}

    def closed_folders(self, count: int) -> dict[str, int]:
        """Take away the right to write, after a part of the work, then give it back."""
        said = equal = 0
        for _ in range(count):
            fresh(self.out)
            while not killed(self.words, self.ready, self.out / self.job.writes, self.seconds, self.rng):
                fresh(self.out)  # it had ended, and writes nothing more
            folders = [self.out, *(path for path in self.out.rglob("*") if path.is_dir())]
            for folder in folders:
                folder.chmod(0o555)
            done = run([*OBEDIENT, *self.words], self.ready)
            said += self.refused(done.code, done.is_one_line, "closed folder", done.error)
            for folder in folders:
                folder.chmod(0o755)
            equal += self.same("closed folder")
        return {"folders": count, "told": said, "same": equal}

    def cut_off_files(self, count: int) -> dict[str, int]:
        """Cut off a file of an unfinished run: it goes on, or says which file is to be removed, and then goes on."""
        made = equal = named = 0
        for _ in range(20 * count):
            fresh(self.out)
            killed(self.words, self.ready, self.out / self.job.writes, self.seconds, self.rng)
            file = cut(self.out, self.job.truncates, self.rng)
            if file is None:
                continue
            made += 1
            done = run(self.words, self.ready)
            if done.code == 2 and done.is_one_line and file.name in done.error:
                named += 1
                file.unlink()
            equal += self.same(f"{file.name} cut off (exit {done.code}: {done.error[-300:]})")
            if made == count:
                break
        return {"files": made, "named": named, "same": equal}


def main() -> int:
    """Run what has no figures yet; 1 if a command came to another result or was not clear."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the trials")
    parser.add_argument("--kills", type=int, default=8, help="kills of each command")
    parser.add_argument("--others", type=int, default=3, help="other faults of each kind for each command")
    parser.add_argument("--only", nargs="+", help="commands; all when left out")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments")
    parser.add_argument("--figures", type=Path, default=FIGURES, help="file of the figures")
    given = parser.parse_args()
    work = given.work.resolve()  # the commands run in another folder
    prepared(work / "ready")
    told: dict[str, Any] = json.loads(given.figures.read_text()) if given.figures.is_file() else {}
    failed = False
    for job in jobs(str(FASHION)):
        if job.name in told or (given.only and job.name not in given.only):
            continue
        began, trial = time.monotonic(), Trial(job, work, given.seed)
        row = {"kills": trial.kills(given.kills), "full disks": trial.full_disks(given.others),
               "closed folders": trial.closed_folders(given.others),
               "cut-off files": trial.cut_off_files(given.others)}  # fmt: skip
        said = (f"{job.name}: {json.dumps(row)}, {time.monotonic() - began:.0f} s", *trial.faults)
        sys.stdout.write("\n  ".join(said) + "\n")
        sys.stdout.flush()
        failed |= bool(trial.faults)
        if not trial.faults:
            told[job.name] = {**row, "seconds alone": round(trial.seconds, 1), "processor": cpu_model()}
            write_text(given.figures, json_text(told, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
