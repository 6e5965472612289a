"""Replicas of one model behind Ray Serve: ``serve run examples.serve.ray:replicas model=my-model replicas=2``.

Each replica is a process with the model and an application of its own, the one that ``tinyllava serve`` runs; Ray gives
each request to a replica that has little to do. ``pip install 'ray[serve]'`` first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ray import serve

from tinyllava_kit import TinyLlavaForConditionalGeneration, TinyLlavaProcessor
from tinyllava_kit.serving import asgi_app


class Settings(BaseModel, extra="forbid"):
    """What ``serve run`` is given, as NAME=VALUE.

    model: a model's directory, which each machine finds there. gpus: of each replica, parts of one too.
    """

    model: str
    name: str | None = None
    key: str | None = None
    replicas: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    max_requests: int = 64


def replicas(given: dict[str, str]) -> serve.Application:
    """The application that Ray runs."""
    settings = Settings.model_validate(given)

    def app() -> Any:  # called in each replica
        model = TinyLlavaForConditionalGeneration.from_pretrained(settings.model)
        processor = TinyLlavaProcessor.from_pretrained(settings.model)
        name = settings.name or Path(settings.model).resolve().name
        model = model.to("cuda") if settings.gpus else model
        return asgi_app(model, processor, name=name, key=settings.key, max_requests=settings.max_requests)

    deployment = serve.deployment(
        serve.ingress(app)(),
        name="tinyllava",
        num_replicas=settings.replicas,
        max_ongoing_requests=settings.max_requests,
        ray_actor_options={"num_cpus": settings.cpus, "num_gpus": settings.gpus},
    )
    return deployment.bind()
