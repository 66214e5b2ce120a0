"""The span table of a case: every long text once, within the limits, nothing hidden shown."""

import json

import pytest

from pytest_smoltrace.capture.bundle import (
    ATTRIBUTE_LIMIT,
    INTERN_FROM,
    TRACE_LIMIT,
    is_content,
    span_table,
)
from pytest_smoltrace.capture.payloads import HIDDEN
from pytest_smoltrace.codec import decode_case, decode_spans, encode_case
from pytest_smoltrace.facts import CaseRecord, Declared
from pytest_smoltrace.raw_span import RawSpan
from pytest_smoltrace.rows.texts import Texts

LONG = "a text that is long enough to be stored apart from its span"


def span(span_id="1" * 16, *, start=1, parent_id=None, **changes):
    values = {
        "span_id": span_id,
        "parent_id": parent_id,
        "name": "n",
        "kind": "INTERNAL",
        "start_unix_ns": start,
        "end_unix_ns": start + 1,
        "status": "UNSET",
        "description": None,
        "scope": "s",
        "attributes": {},
    }
    return RawSpan(**{**values, **changes})


def table_of(*spans, roles=None, messages=None, hide_content=False):
    return span_table(spans, roles or {}, messages or {}, hide_content=hide_content)


def attributes_of(table, index=0):
    """Return the attributes of a span as a reader of the datasets gets them."""
    return json.loads(Texts(table.strings).json(table.attributes[index]))


def message(text, role="user"):
    return json.dumps({"role": role, "content": text})


def test_spans_stand_in_the_order_of_their_start():
    table, _ = table_of(span("b" * 16, start=2), span("c" * 16, start=1), span("a" * 16, start=2))
    assert [span_id[0] for span_id in table.span_id] == ["c", "a", "b"]


def test_every_field_of_a_span_is_kept():
    one = span(
        "a" * 16,
        start=7,
        parent_id="b" * 16,
        name="chat m",
        kind="CLIENT",
        status="ERROR",
        description="refused",
        scope="openai",
        attributes={"n": 1, "x": 0.5, "flag": True, "words": ("p", "q"), "none": "t"},
        events=(("exception", 8, {"exception.type": "E"}),),
        links=(("f" * 32, "e" * 16, {"why": "retry"}),),
        orphan=True,
    )
    table, truncated = table_of(span("b" * 16), one, roles={"a" * 16: "judge"})
    assert truncated is False
    assert (table.span_id[1], table.parent_id[1], table.name[1]) == ("a" * 16, "b" * 16, "chat m")
    assert (table.kind[1], table.status[1], table.description[1]) == ("CLIENT", "ERROR", "refused")
    assert (table.start_unix_ns[1], table.end_unix_ns[1], table.scope[1]) == (7, 8, "openai")
    assert attributes_of(table, 1) == {
        "n": 1,
        "x": 0.5,
        "flag": True,
        "words": ["p", "q"],
        "none": "t",
    }
    assert table.events == {
        "1": [{"name": "exception", "timestamp": 8, "attributes": {"exception.type": "E"}}]
    }
    assert table.links == {
        "1": [{"trace_id": "f" * 32, "span_id": "e" * 16, "attributes": {"why": "retry"}}]
    }
    assert (table.orphans, table.roles) == ([1], {"1": "judge"})


def test_a_long_text_is_stored_once():
    table, _ = table_of(
        span("a" * 16, start=1, attributes={"input.value": LONG, "again": LONG}),
        span("b" * 16, start=2, attributes={"output.value": LONG, "list": [LONG, "short"]}),
    )
    assert table.strings == [LONG]
    assert attributes_of(table, 0) == {"input.value": LONG, "again": LONG}
    assert attributes_of(table, 1) == {"output.value": LONG, "list": [LONG, "short"]}


def test_a_short_text_stands_for_itself():
    text = "x" * (INTERN_FROM - 1)
    table, _ = table_of(span(attributes={"a": text, "b": text}))
    assert (table.strings, table.attributes[0]["a"]) == ([], text)


def test_a_repeated_message_history_is_stored_once():
    texts = [message(f"message number {i} of a conversation") for i in range(10)]
    spans, messages = [], {}
    for i in range(1, 11):
        span_id = f"{i:016x}"
        joined = f"[{','.join(texts[:i])}]"
        spans.append(span(span_id, start=i, attributes={"input.value": joined}))
        messages[span_id] = tuple(texts[:i])
    table, _ = table_of(*spans, messages=messages)
    assert sorted(table.strings) == sorted(texts)
    for i in range(10):
        assert attributes_of(table, i)["input.value"] == f"[{','.join(texts[: i + 1])}]"


def test_messages_of_a_span_without_input_are_not_stored():
    table, _ = table_of(span(attributes={}), messages={"1" * 16: (message(LONG),)})
    assert table.strings == []


def test_a_text_within_the_limit_is_whole():
    text = "x" * ATTRIBUTE_LIMIT
    table, truncated = table_of(span(attributes={"a": text}))
    assert (truncated, attributes_of(table)["a"]) == (False, text)


def test_a_text_beyond_32_kib_is_cut_and_flagged():
    assert ATTRIBUTE_LIMIT == 32 * 1024
    table, truncated = table_of(span(attributes={"a": "x" * (ATTRIBUTE_LIMIT + 1), "b": "y" * 60}))
    assert truncated is True
    cut = attributes_of(table)["a"]
    assert cut.startswith("x" * 1000)
    assert cut.endswith(" [cut]")
    assert len(cut) == ATTRIBUTE_LIMIT
    assert attributes_of(table)["b"] == "y" * 60


def test_the_limit_is_one_of_bytes():
    text = "é" * (ATTRIBUTE_LIMIT // 2)
    table, truncated = table_of(span(attributes={"a": text}))
    assert (truncated, attributes_of(table)["a"]) == (False, text)
    table, truncated = table_of(span(attributes={"a": text + "é"}))
    assert truncated is True
    cut = attributes_of(table)["a"]
    assert len(cut.encode()) <= ATTRIBUTE_LIMIT
    assert cut.removesuffix(" [cut]") == "é" * (len(cut) - len(" [cut]"))


def test_a_trace_beyond_1_mib_is_cut_and_flagged():
    assert TRACE_LIMIT == 1024 * 1024
    spans = [
        span(f"{i:016x}", start=i, attributes={"a": f"{i:04}" + "x" * (ATTRIBUTE_LIMIT - 4)})
        for i in range(1, 41)
    ]
    table, truncated = table_of(*spans)
    assert truncated is True
    assert sum(len(text.encode()) for text in table.strings) <= TRACE_LIMIT + 40 * len(" [cut]")
    assert attributes_of(table, 0)["a"] == spans[0].attributes["a"]
    assert attributes_of(table, 39)["a"].endswith("[cut]")


def test_a_trace_of_exactly_1_mib_is_whole():
    spans = [
        span(f"{i:016x}", start=i, attributes={"a": f"{i:04}" + "x" * (ATTRIBUTE_LIMIT - 4)})
        for i in range(1, 33)
    ]
    assert table_of(*spans)[1] is False


def request(*texts):
    joined = f"[{','.join(texts)}]"
    return table_of(span(attributes={"input.value": joined}), messages={"1" * 16: texts})


def test_a_request_that_is_too_long_keeps_its_first_and_latest_messages():
    texts = [message(f"{i:04}" + "x" * 6000) for i in range(20)]
    table, truncated = request(*texts)
    assert truncated is True
    value = attributes_of(table)["input.value"]
    assert len(value) <= ATTRIBUTE_LIMIT + 100
    kept = json.loads(value)
    assert kept[0] == json.loads(texts[0])
    assert kept[1] == {"cut_messages": 15}
    assert kept[2:] == [json.loads(text) for text in texts[16:]]


@pytest.mark.parametrize("letter", ["x", "é", '"', "\n", "😀"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_messages_that_are_too_long_themselves_stay_json(letter, count):
    texts = [message(f"{i}" + letter * 40_000) for i in range(count)]
    table, truncated = request(*texts)
    assert truncated is True
    value = attributes_of(table)["input.value"]
    assert len(value.encode()) <= count * (ATTRIBUTE_LIMIT + 100)
    kept = [m for m in json.loads(value) if "role" in m]
    assert kept[0]["role"] == "user"
    assert kept[0]["content"].startswith("0" + letter * 1000)
    assert kept[0]["content"].endswith("[cut]")
    assert kept[-1]["content"].startswith(f"{count - 1}" + letter * 1000)


def test_a_long_message_of_parts_and_tool_calls_stays_json():
    parts = json.dumps(
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "z" * 40_000}],
            "tool_calls": [{"id": "1", "name": "t", "arguments": "y" * 40_000}],
        }
    )
    table, truncated = request(parts)
    assert truncated is True
    value = attributes_of(table)["input.value"]
    assert len(value) <= ATTRIBUTE_LIMIT + 100
    assert json.loads(value)[0]["role"] == "assistant"


def test_messages_beyond_the_limit_of_the_trace_stay_json():
    spans, messages = [], {}
    for i in range(1, 60):
        span_id = f"{i:016x}"
        texts = (message(f"{i} " + "x" * 30_000),)
        spans.append(span(span_id, start=i, attributes={"input.value": f"[{texts[0]}]"}))
        messages[span_id] = texts
    table, truncated = table_of(*spans, messages=messages)
    assert truncated is True
    assert sum(len(text.encode()) for text in table.strings) <= TRACE_LIMIT + 60 * 100
    for i in range(len(spans)):
        (one,) = json.loads(attributes_of(table, i)["input.value"])
        assert one["role"] == "user"


SECRET = "the secret words"


def test_hidden_content_leaves_nothing_behind():
    attributes = {
        "input.value": f"{SECRET} {LONG}",
        "output.value": SECRET,
        "smolagents.task": SECRET,
        "smolagents.additional_args": f'{{"a": "{SECRET}"}}',
        "llm.input_messages.0.message.content": SECRET,
        "llm.output_messages.0.message.content": SECRET,
        "gen_ai.input.messages": SECRET,
        "gen_ai.prompt.0.content": SECRET,
        "gen_ai.completion": SECRET,
        "gen_ai.usage.input_tokens": 7,
        "tool.name": "search",
    }
    one = span(
        attributes=attributes,
        status="ERROR",
        description=f"refused: {SECRET}",
        events=(
            ("exception", 1, {"exception.type": "E", "exception.message": SECRET,
                              "exception.stacktrace": f"raise E({SECRET})"}),
            ("gen_ai.prompt.0", 1, {"gen_ai.prompt.role": "user",
                                    "gen_ai.prompt.content": SECRET}),
        ),
    )  # fmt: skip
    table, _ = table_of(one, messages={"1" * 16: (message(SECRET),)}, hide_content=True)
    assert SECRET not in repr(table)
    kept = attributes_of(table)
    assert (kept["gen_ai.usage.input_tokens"], kept["tool.name"]) == (7, "search")
    assert kept["input.value"] == HIDDEN
    assert table.events["0"][0]["attributes"]["exception.type"] == "E"
    assert (table.status, table.description) == (["ERROR"], [HIDDEN])


def test_hidden_keeps_an_absent_description_absent():
    table, _ = table_of(span(), hide_content=True)
    assert table.description == [None]


@pytest.mark.parametrize(
    "key",
    ["input.mime_type", "output.mime_type", "llm.model_name", "gen_ai.usage.input_tokens",
     "gen_ai.request.max_tokens", "llm.token_count.prompt", "tool.name", "test.case.name"],
)  # fmt: skip
def test_what_is_no_content(key):
    assert not is_content(key)


def test_through_the_journal_and_back():
    strange = 'a "quoted" text\nwith \\ and \u2028 and 😀 and a lone surrogate \udc80 in it'
    table, _ = table_of(
        span(attributes={"input.value": strange, "n": 2**70, "x": float("nan"), "b": b"raw"})
    )
    record = CaseRecord(
        declared=Declared(case_id="c", nodeid="t.py::c"),
        attempt=0,
        trace_id="1" * 32,
        root_span_id="1" * 16,
        outcome="passed",
        error=None,
        phases=(),
        pid=1,
        spans=table,
    )
    spans_line, case_line = encode_case(record).encode().split(b"\n")
    back = decode_case(case_line, spans=decode_spans(spans_line))
    text = json.loads(Texts(back.spans.strings).json(back.spans.attributes[0]))["input.value"]
    before, after = strange.split("\udc80")
    assert text.startswith(before)
    assert text.endswith(after)
    assert back.spans.span_id == table.span_id


TOKEN = "Zt8kQ1wPz0LmN4vB7xYc"


def clean(text):
    return text.replace(TOKEN, "***")


def pieces(table):
    """Return what of the token stands in a table, in parts of half its length."""
    stored = repr(table)
    parts = {TOKEN[start : start + 10] for start in range(len(TOKEN) - 9)}
    return {part for part in parts if part in stored}


@pytest.mark.parametrize("before", range(ATTRIBUTE_LIMIT - 26, ATTRIBUTE_LIMIT - 16))
def test_a_secret_is_taken_out_before_a_text_is_cut(before):
    text = "x" * before + TOKEN + "y" * 100
    one = span(attributes={"a": text})
    table, truncated = span_table([one], {}, {}, hide_content=False, clean=clean)
    assert truncated is True
    assert pieces(table) == set()
    assert "x***" in repr(table)
    assert pieces(table_of(one)[0]) != set()


@pytest.mark.parametrize("count", [1, 2])
def test_a_secret_is_taken_out_before_a_message_is_cut(count):
    for before in range(ATTRIBUTE_LIMIT // count - 60, ATTRIBUTE_LIMIT // count - 40):
        texts = [message("x" * before + TOKEN + "y" * 40_000) for _ in range(count)]
        one = span(attributes={"input.value": f"[{','.join(texts)}]"})
        messages = {"1" * 16: texts}
        table, truncated = span_table([one], {}, messages, hide_content=False, clean=clean)
        assert truncated is True
        assert pieces(table) == set()
        json.loads(attributes_of(table)["input.value"])


def test_a_text_that_fits_without_its_secrets_is_not_cut():
    text = "x" * (ATTRIBUTE_LIMIT - 10) + TOKEN
    one = span(attributes={"a": text})
    table, truncated = span_table([one], {}, {}, hide_content=False, clean=clean)
    assert truncated is False
    assert attributes_of(table)["a"] == clean(text)
