"""``tinyllava serve``: a model behind an OpenAI-style API."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinyllava_kit.errors import KitError
from tinyllava_kit.files.printable import printable
from tinyllava_kit.plugin.extras import need
from tinyllava_kit_cli.completion import directories
from tinyllava_kit_cli.generation import load_to_run, placed, placement
from tinyllava_kit_cli.models import check_model
from tinyllava_kit_cli.output import say

if TYPE_CHECKING:
    from tinyllava_kit.serving.limits import Limits

KEY = "TINYLLAVA_API_KEY"
_PACKAGES = ("starlette", "uvicorn", "python_multipart")
_LOCAL = ("127.0.0.1", "localhost", "::1")
_SHORTEST_KEY = 16


@click.command
@click.argument("directory", type=click.Path(), shell_complete=directories)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0: all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: any that is free.")
@click.option("--name", help="What requests call the model; default: the name of DIRECTORY.")
@click.option(
    "--api-key",
    help=f"What clients must send, {_SHORTEST_KEY} characters at least; better in the environment, as {KEY}.",
)
@click.option(
    "--allow-media-host",
    "hosts",
    multiple=True,
    metavar="HOST[:PORT]",
    help="Fetch addresses of items from this host; default: none is fetched.",
)
@click.option("--max-requests", type=click.IntRange(min=1), default=64, show_default=True, help="Answers at once.")
@click.option(
    "--cache-tokens",
    type=click.IntRange(min=64),
    help="Positions whose keys and values are held; default: what fits in a GiB.",
)
@click.option("--limit", "limits", multiple=True, metavar="NAME=VALUE", help="One of the limits of docs/serving.md.")
@click.option("--limits", "file", type=click.Path(), help="A YAML file of limits.")
@placement
def command(
    directory: str,
    host: str,
    port: int,
    name: str | None,
    api_key: str | None,
    hosts: tuple[str, ...],
    max_requests: int,
    cache_tokens: int | None,
    limits: tuple[str, ...],
    file: str | None,
    device: str,
    dtype: str,
) -> None:
    """Serve the model in DIRECTORY to programs that speak OpenAI's API, until Ctrl-C.

    Chat at /v1/chat/completions, /v1/models says what the model reads and writes.
    """
    for module in _PACKAGES:
        need(module, "serve")
    key = _key(api_key)
    check_model(directory)

    from tinyllava_kit.serving.server import bound

    bounds = _limits(limits, file)
    listening = bound(host, port)
    from tinyllava_kit.checkpoints.loading import open_checkpoint
    from tinyllava_kit.serving.hosting import asgi_app
    from tinyllava_kit.serving.server import server_of

    opened = open_checkpoint(directory)
    processor = opened.processor()
    model = load_to_run(opened, placed(device, dtype))
    name = name or Path(os.path.abspath(os.path.expanduser(directory))).name
    app = asgi_app(
        model,
        processor,
        name=name,
        key=key,
        limits=bounds.model_dump(),
        media_hosts=hosts,
        max_requests=max_requests,
        cache_tokens=cache_tokens,
    )
    _log_plainly()
    place, taken = listening.getsockname()[:2]
    say(f"{name}: reads {' and '.join(['text', *processor.reads])}, on {model.device}", err=True)
    if key is None and host not in _LOCAL:
        say(f"WARNING: {host} is open to others and no key is asked for; give --api-key", err=True)
    say(f"http://{f'[{place}]' if ':' in place else place}:{taken}/v1; Ctrl-C ends", err=True)
    server_of(app, bounds).run(sockets=[listening])


def _key(given: str | None) -> str | None:
    """
    Raises:
        KitError: a key that is too short, or that no header can hold.
    """
    key = given if given is not None else os.environ.get(KEY)
    if key is None:
        return None
    if len(key) < _SHORTEST_KEY:
        raise KitError(f"the key has {len(key)} characters; {_SHORTEST_KEY} are the least")
    if not key.isascii() or not key.isprintable() or key != key.strip():
        raise KitError("the key holds characters that no header can; take printable ASCII without spaces at its ends")
    return key


def _limits(given: tuple[str, ...], file: str | None) -> Limits:
    from tinyllava_kit.files.yaml_files import read_yaml
    from tinyllava_kit.serving.limits import Limits

    values: dict[str, Any] = {} if file is None else read_yaml(file)
    for each in given:
        name, equals, value = each.partition("=")
        if not equals:
            raise KitError(f"--limit {each!r}: expected NAME=VALUE")
        values[name] = value
    return Limits.of(values)


class _Plain(logging.Formatter):
    """A line of the log, in which no client writes to the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _log_plainly() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Plain("%(asctime)s %(levelname)s %(message)s"))
    for name in ("tinyllava_kit.serving", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.WARNING)
        logger.propagate = False
