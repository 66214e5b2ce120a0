"""The hook on transformers' generate, with a stand-in for its class and arrays for tensors."""

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from pytest_smoltrace.capture import local_generate
from pytest_smoltrace.capture.local_generate import GenerateHook
from pytest_smoltrace.counting import Usage

END = 9


class Mixin:
    """A model that repeats what the test tells it to say."""

    config = SimpleNamespace(is_encoder_decoder=False)
    generation_config = SimpleNamespace(eos_token_id=[END], max_new_tokens=None)

    def __init__(self, says=(), assistant=None):
        self.says = says
        self.assistant = assistant

    def generate(self, inputs=None, streamer=None, **kwargs):
        if self.assistant is not None:
            self.assistant.generate(inputs=inputs)
        if streamer is not None:
            for tokens in (inputs, *self.says):
                streamer.put(tokens)
            streamer.end()
        written = np.array([self.says])
        output = np.concatenate([inputs, written], axis=1)
        return SimpleNamespace(sequences=output) if kwargs.get("as_dict") else output


class Call:
    def __init__(self):
        self.on_wire = False
        self.notes = []
        self.clock = SimpleNamespace(
            start=lambda: self.notes.append("start"), token=lambda: self.notes.append("token")
        )

    def generated(self, usage, reason):
        self.notes.append((usage, reason))


class Streamer:
    def __init__(self):
        self.got = []

    def put(self, value):
        self.got.append(value)

    def end(self):
        self.got.append("end")


@pytest.fixture
def call(monkeypatch):
    """The call that every generate feeds while the hook is installed."""
    module = ModuleType(local_generate._MODULE)
    module.GenerationMixin = Mixin
    monkeypatch.setitem(sys.modules, local_generate._MODULE, module)
    own = Call()
    hook = GenerateHook(SimpleNamespace(active=lambda: own))
    original = Mixin.generate
    hook.install()
    hook.install()
    yield own
    hook.uninstall()
    assert Mixin.generate is original


PROMPT = np.array([[1, 2, 3]])


@pytest.mark.parametrize(
    ("says", "settings", "reason"),
    [
        ((4, 5, END), {"max_new_tokens": 8}, "stop"),
        ((4, 5, END), {"max_new_tokens": 3}, "stop"),
        ((4, 5, 6), {"max_new_tokens": 3}, "length"),
        ((4, 5, 6), {"max_new_tokens": 8}, "stop"),
        ((4, 5, 6), {"eos_token_id": 6, "max_new_tokens": 3}, "stop"),
    ],
)
def test_tokens_and_reason(call, says, settings, reason):
    Mixin(says).generate(inputs=PROMPT, **settings)
    assert call.notes == ["start", (Usage(prompt=3, completion=3), reason)]
    assert not call.on_wire


def test_output_as_object_and_inputs_by_position(call):
    Mixin((4, END)).generate(PROMPT, as_dict=True)
    assert call.notes[-1] == (Usage(prompt=3, completion=2), "stop")


def test_tokens_of_a_stream_are_timed_and_those_of_the_prompt_are_not(call):
    streamer = Streamer()
    Mixin((4, 5)).generate(inputs=PROMPT, streamer=streamer)
    assert call.notes[:-1] == ["start", "token", "token"]
    assert streamer.got[0] is PROMPT
    assert streamer.got[1:] == [4, 5, "end"]


def test_assistant_model_is_a_part_of_the_call(call):
    Mixin((4, 5), assistant=Mixin((7,))).generate(inputs=PROMPT)
    assert call.notes == ["start", (Usage(prompt=3, completion=2), "stop")]


def test_several_sequences_are_not_counted(call):
    two = PROMPT.repeat(2, axis=0)
    local_generate._note(call, Mixin(), two, {}, np.concatenate([two, [[4], [5]]], axis=1))
    assert call.notes == []


def test_outside_a_call_nothing_is_noted(monkeypatch):
    module = ModuleType(local_generate._MODULE)
    module.GenerationMixin = Mixin
    monkeypatch.setitem(sys.modules, local_generate._MODULE, module)
    hook = GenerateHook(SimpleNamespace(active=lambda: None))
    hook.install()
    assert Mixin((4,)).generate(inputs=PROMPT).tolist() == [[1, 2, 3, 4]]
    hook.uninstall()


def test_without_transformers_there_is_nothing_to_hook(monkeypatch):
    monkeypatch.delitem(sys.modules, local_generate._MODULE, raising=False)
    hook = GenerateHook(SimpleNamespace(active=lambda: None))
    hook.install()
    hook.uninstall()
