"""Start the command line with ``python -m scarlet_zoo``."""

from scarlet_zoo.cli.main import main

main()
