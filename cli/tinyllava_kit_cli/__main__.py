"""``python -m tinyllava_kit_cli`` is ``tinyllava``."""

from tinyllava_kit_cli.app import main

main()
