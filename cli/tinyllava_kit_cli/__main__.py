"""The program ``tinyllava``, also as ``python -m tinyllava_kit_cli``."""

from __future__ import annotations

import gc


def start() -> None:
    """Import `app` and run it. Python looks for garbage neither while modules are imported nor, later, among them:
    there is none, and to look for it takes a sixth of the time of ``tinyllava list``."""
    gc.disable()
    from tinyllava_kit_cli.app import main

    gc.freeze()
    gc.enable()
    main()


if __name__ == "__main__":
    start()
