"""Export every network of the zoo to every target that works on this machine, verify the files, and write the manifest.

It continues an interrupted run: a file is not exported again if its row of the manifest is there and up to date, and
the file is unchanged in the folder.
"""

import argparse
import os
from pathlib import Path

from scarlet_zoo.arch.zoo import ZOO, get_arch
from scarlet_zoo.deployment.targets import TARGETS, get_target
from scarlet_zoo.evidence.drivers import one_line_errors
from scarlet_zoo.evidence.manifest import read_manifest, write_manifest

HERE = Path(__file__).parent


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write the files to, as TARGET/NAME.*")
    parser.add_argument("--manifest", type=Path, default=HERE / "manifest.json", help="manifest file to update")
    parser.add_argument(
        "--networks", nargs="+", default=list(ZOO), metavar="NAME", help="networks to export; all when left out"
    )
    parser.add_argument(
        "--targets", nargs="+", default=list(TARGETS), metavar="TARGET", help="targets to export to; all when left out"
    )
    parser.add_argument("--data-dir", type=Path, help="folder of Fashion-MNIST, for the int8 calibration")
    return parser.parse_args()


def main(given: argparse.Namespace) -> None:
    """Make the missing rows of the manifest one after the other; each is written as soon as it is finished."""
    for name in given.networks:
        get_arch(name)
    for target in given.targets:
        get_target(target)
    # Set before torch starts its threads, so that waiting threads leave the processor to other work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from scarlet_zoo.evidence.zoo_exports import export_row, is_finished, left_out_here, zoo_network

    reasons = left_out_here(given.targets)
    manifest = read_manifest(given.manifest).with_left_out(reasons, given.targets)
    for name in given.networks:
        network = zoo_network(name)
        for target in given.targets:
            folder = given.out / target
            if target in reasons:
                continue
            if is_finished(manifest.row(name, target), network, folder):
                print(f"{name} {target}: finished before")
                continue
            row = export_row(network, target, folder, given.data_dir)
            # Read again, since another run may have written rows of other targets in the meantime.
            manifest = read_manifest(given.manifest).with_row(row, ZOO, TARGETS).with_left_out(reasons, given.targets)
            write_manifest(given.manifest, manifest)
            print(f"{name} {target}: {row.seconds} s", flush=True)
    write_manifest(given.manifest, manifest)
    for entry in manifest.left_out:
        print(f"{entry.target}: left out, {entry.reason}")


if __name__ == "__main__":
    with one_line_errors():
        main(arguments())
