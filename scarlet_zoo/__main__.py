"""``python -m scarlet_zoo``: the command line."""

from scarlet_zoo.cli.main import main

main()
