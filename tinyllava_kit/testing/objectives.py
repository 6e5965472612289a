"""The contract of an objective."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..core.spans import IGNORE_INDEX
from ..data.dataset import Collator, ConversationDataset
from ..errors import KitError
from ..model.parts import named_parts
from ..plugin.specs import ObjectiveSpec, Option
from ..training.objectives.objective import Lesson, Objective
from .comparing import same
from .contract import DoesNotApply, check
from .specified import SpecifiedContract
from .toy_models import ToyModel, toy_conversations, toy_model, toy_picture

_STEPS, _RATE = 12, 1e-2  # of learning
_LESS = 0.95  # of its loss, an objective that learns has behind them
_ROUNDING = 1e-4
_TRIED = (0, -1, 1000)  # settings that may be no use


class ObjectiveContract(SpecifiedContract):
    """What holds for an objective. An author gives `rows` and `toy` where a model that reads pictures does not suit."""

    kind = "objective"
    takes_options: ClassVar[tuple[str, int] | None] = ("__init__", 0)

    # Why a batch is not learned as its samples one by one are, where it is not.
    not_additive: ClassVar[str] = ""
    # Names of parameters of a trained part that no gradient reaches.
    unused_parameters: ClassVar[Sequence[str]] = ()

    def toy(self) -> ToyModel:
        """A model of toy size, new each time, and its processor. Default: one that reads pictures."""
        return toy_model()

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """At least three rows with items of several lengths. Default: pictures whose texts are known, and answers."""
        return toy_conversations()

    @check("prepare: a sample for each conversation, the same each time, and a collator with num_cut")
    def test_samples(self) -> None:
        """Nothing is lost, a sample is the same when it is asked for again, and so is a batch."""
        trial = self._trial()
        count = len(trial.dataset)
        assert len(trial.samples) == count, f"{len(trial.samples)} samples of {count} conversations"
        for number in range(count):
            assert same(trial.samples[number], trial.samples[number]), f"sample {number} is another the second time"
        assert same(dict(trial.batch()), dict(trial.batch())), "a batch of the same samples is another the second time"
        cut = getattr(trial.lesson.collator, "num_cut", None)
        assert isinstance(cut, int), f"its collator has num_cut {cut!r}, expected how many samples were cut"

    @check("prepare: do not change the model; its trained parts are chosen already")
    def test_prepared(self) -> None:
        """Preparing changes no weight, freezes nothing and thaws nothing."""
        model, processor = self.toy()
        trained = _thaw(model, self._parts(model))
        before = {name: value.clone() for name, value in model.state_dict().items()}
        self._lesson(model, processor, trained, self.rows())
        changed = [name for name, value in model.state_dict().items() if not torch.equal(value, before[name])]
        assert not changed, f"prepare changes {changed[0]}"
        _check_thawed(model, trained, "prepare")
        assert not model.training, "prepare puts the model into training"

    @check("the loss: one number, of every batch that the collator makes")
    def test_loss(self) -> None:
        """It is one finite number, of one sample and of many, with the number of targets and without; and the same
        again."""
        trial = self._trial()
        for numbers in ([0], list(range(len(trial.samples)))):
            for count in (None, trial.count(trial.batch(numbers))):
                loss = trial.loss(numbers, count)
                what = f"the loss of {len(numbers)} samples"
                assert isinstance(loss, Tensor), f"{what} is a {type(loss).__name__}, expected a tensor"
                assert loss.shape == (), f"{what} has the shape {tuple(loss.shape)}, expected ()"
                value, again = float(loss.detach()), trial.value(numbers, count)
                assert math.isfinite(value), f"{what} is {value}"
                assert value == again, f"{what} is {value:g}, and {again:g} the second time"

    @check("the loss: no detach and no no_grad in front of trained weights; the objective thaws nothing by itself")
    def test_gradient(self) -> None:
        """A gradient reaches each parameter that is trained, and no other; of each part alone, and of all."""
        kinds = self._parts(self.toy()[0])
        for names in [kinds] if len(kinds) == 1 else [kinds, *([kind] for kind in kinds)]:
            trial = self._trial(names)
            trial.loss().backward()
            _check_thawed(trial.model, names, f"with {', '.join(names)} trained, the loss")
            for name, parameter in trial.model.named_parameters():
                if parameter.requires_grad:
                    self._check_reached(name, parameter, names)
                else:
                    assert parameter.grad is None, f"{name} is frozen and gets a gradient"

    @check("the loss: its sign, and what it compares: a step against its gradient must make it less")
    def test_learns(self) -> None:
        """Some steps on one batch make the loss less."""
        trial = self._trial()
        optimizer = torch.optim.Adam([p for p in trial.model.parameters() if p.requires_grad], lr=_RATE)
        first = trial.value()
        for _ in range(_STEPS):
            optimizer.zero_grad()
            trial.loss().backward()
            optimizer.step()
        last = trial.value()
        assert last < _LESS * first, f"the loss is {first:g}, and {last:g} after {_STEPS} steps on one batch"

    @check("the loss: a mean over real positions; padding of items, words and rows counts nowhere")
    def test_padding(self) -> None:
        """The loss of samples that are padded to one length lies between the losses of each alone."""
        trial = self._trial()
        alone = [trial.value([number]) for number in range(len(trial.samples))]
        whole = trial.value()
        slack = _ROUNDING * max(map(abs, alone))
        told = f"a batch has the loss {whole:g}, its samples alone from {min(alone):g} to {max(alone):g}"
        assert min(alone) - slack <= whole <= max(alone) + slack, told

    @check("the loss: divide by the number of targets that it is given; else a mean over samples. Or give not_additive")
    def test_accumulated(self) -> None:
        """Samples one by one, as gradients are accumulated, and in a batch, have one loss."""
        if self.not_additive:
            raise DoesNotApply(self.not_additive)
        trial = self._trial()
        every = range(len(trial.samples))
        count = trial.count(trial.batch())
        alone = [trial.value([number], count) for number in every]
        one_by_one = sum(alone) / (len(alone) if count is None else 1)
        whole = trial.value(list(every), count)
        told = f"samples one by one have the loss {one_by_one:g}, in one batch {whole:g}"
        assert math.isclose(one_by_one, whole, rel_tol=_ROUNDING), told

    @check("the bounds of the options (above, at_most, choices), or a KitError in __init__ or prepare")
    def test_settings(self) -> None:
        """A setting that is no use is refused in a line, or learned with all the same."""
        spec = self._spec()
        numbers = [option for option in spec.options if option.type in (int, float)]
        if not numbers:
            raise DoesNotApply("its spec has no option that is a number")
        for option in numbers:
            for value in _TRIED:
                self._check_setting(option, value)

    @check("prepare, or a sample: a KitError that names the row which cannot be learned from")
    def test_refused(self) -> None:
        """Rows of other kinds give an error of one line with their names, or are learned from."""
        for what, row in _odd_rows().items():
            loss, message = _tried(lambda row=row: self._trial(rows=[row]).value())  # type: ignore[misc]
            assert "\n" not in message, f"{what}: more than one line: {message}"
            assert not message or "toy[0]" in message, f"{what}: the message does not name the row: {message}"
            assert message or math.isfinite(loss), f"{what}: the loss is {loss}"

    def effect(self, options: Mapping[str, Any]) -> Any:
        """The loss of all rows."""
        return self._trial(options=options).value()

    def _trial(
        self,
        trained: Sequence[str] | None = None,
        rows: Sequence[Mapping[str, Any]] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> _Trial:
        model, processor = self.toy()
        trained = _thaw(model, self._parts(model) if trained is None else trained)
        dataset, lesson = self._lesson(model, processor, trained, self.rows() if rows is None else rows, options)
        return _Trial(model, dataset, lesson)

    def _lesson(
        self,
        model: Any,
        processor: Any,
        trained: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any] | None = None,
    ) -> tuple[ConversationDataset, Lesson]:
        dataset = ConversationDataset(rows, processor, name="toy")
        objective: Objective = self.component(**(self.given_options if options is None else options))
        lesson = objective.prepare(dataset, model, Collator(processor, None), list(trained))
        assert isinstance(lesson, Lesson), f"prepare gives a {type(lesson).__name__}, expected a Lesson"
        return dataset, lesson

    def _parts(self, model: Any) -> list[str]:
        """The parts of a model that the spec says it trains."""
        spec = self._spec()
        assert isinstance(spec, ObjectiveSpec)
        found = [name for name in named_parts(model) if name.partition(".")[0] in spec.trains]
        assert found, f"trains={spec.trains!r} names no part of the toy: {', '.join(named_parts(model))}"
        return found

    def _check_reached(self, name: str, parameter: nn.Parameter, trained: Sequence[str]) -> None:
        if any(name.endswith(unused) for unused in self.unused_parameters):
            return
        told = f"with {', '.join(trained)} trained, no gradient reaches {name}"
        assert parameter.grad is not None, told
        assert parameter.grad.isfinite().all(), f"the gradient of {name} is not finite"
        assert parameter.grad.any(), told

    def _check_setting(self, option: Option, value: float) -> None:
        wanted = {**self.given_options, option.name: option.type(value)}
        loss, message = _tried(lambda: self.effect(self._spec().check_options(wanted, "a recipe")))
        assert "\n" not in message, f"{option.name}={value}: more than one line: {message}"
        assert message or math.isfinite(loss), f"{option.name}={value} gives the loss {loss}"


class _Trial:
    """A lesson with its model."""

    def __init__(self, model: Any, dataset: ConversationDataset, lesson: Lesson) -> None:
        self.model, self.dataset, self.lesson = model, dataset, lesson

    @property
    def samples(self) -> Any:
        return self.lesson.samples

    def batch(self, numbers: Sequence[int] | None = None) -> Any:
        """Of these samples; None: of all. A new one each time: a loss may take something out of it."""
        numbers = range(len(self.samples)) if numbers is None else numbers
        return self.lesson.collator([self.samples[number] for number in numbers])

    def loss(self, numbers: Sequence[int] | None = None, count: Any = None) -> Tensor:
        batch = self.batch(numbers)
        if self.lesson.loss is not None:
            return self.lesson.loss(self.model, batch, count)
        loss: Tensor = self.model(**batch, num_items_in_batch=count).loss
        return loss

    def value(self, numbers: Sequence[int] | None = None, count: Any = None) -> float:
        """The loss as a number."""
        return float(self.loss(numbers, count).detach())

    def count(self, batch: Mapping[str, Any]) -> Tensor | None:
        """The number of targets, as the Trainer counts them; None where a batch has none."""
        labels = batch.get("labels")
        return None if labels is None else (labels != IGNORE_INDEX).sum()


def _thaw(model: Any, trained: Sequence[str]) -> list[str]:
    """Let these parts alone learn; returns their names."""
    model.requires_grad_(False)
    for name in trained:
        named_parts(model)[name].requires_grad_(True)
    return list(trained)


def _check_thawed(model: Any, trained: Sequence[str], who: str) -> None:
    for name, part in named_parts(model).items():
        for parameter in part.parameters():
            assert parameter.requires_grad == (name in trained), (
                f"{who} {'thaws' if parameter.requires_grad else 'freezes'} {name}"
            )


def _tried(learn: Callable[[], float]) -> tuple[float, str]:
    """A loss, or the text of the KitError in place of it."""
    try:
        return learn(), ""
    except KitError as error:
        return math.nan, str(error)


def _odd_rows() -> dict[str, dict[str, Any]]:
    """What, and a row of it."""
    picture = {"type": "image", "image": toy_picture(1)}
    asked = {"type": "text", "text": "What?"}
    contents = {
        "a row in words alone": [asked],
        "a picture without its text": [picture, asked],
        "a picture whose text is empty": [{**picture, "text": ""}, asked],
        "two pictures": [{**picture, "text": "a"}, {**picture, "text": "bc"}, asked],
        "a text that is longer than the item": [{**picture, "text": "very " * 60}, asked],
    }
    answer = {"role": "assistant", "content": "yes"}
    return {what: {"messages": [{"role": "user", "content": content}, answer]} for what, content in contents.items()}
