"""The step summary and the comment as a Markdown renderer, not their writer, understands them."""

import re
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from pytest_smoltrace.gates.verdicts import Status
from pytest_smoltrace.report.escaping import NAME_LIMIT, code, named, one_line, prose, span
from pytest_smoltrace.report.fitting import Block, fit
from pytest_smoltrace.report.markdown import (
    COMMENT_LIMIT,
    SUMMARY_LIMIT,
    marker,
    pr_comment,
    step_summary,
)
from tests.unit import summary_factory as make
from tests.unit.summary_factory import NASTY

OURS = {"h3", "h4", "p", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "code"}
OURS |= {"pre", "ul", "li", "br", "strong", "sub"}
LINKED = re.compile(r"@\w|#\d|www\.|:\w+:|\w+://\w")


class Page(HTMLParser):
    """Elements, attributes, texts and cells of a rendered page."""

    def __init__(self, markdown):
        super().__init__()
        self.tags, self.comments, self.bare, self.code = [], [], [], []
        self.attributes, self.rows, self.open = set(), [], []
        renderer = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
        self.feed(renderer.render(markdown))
        self.close()
        assert self.open == []

    @property
    def text(self):
        return " ".join(self.bare)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_comment(self, data):
        self.comments.append(data.strip())
        self.bare.append("")  # text before and after it is two texts

    def handle_data(self, data):
        if "code" in self.open:
            self.code.append(data)
        else:
            self.bare.append(data)
        if "td" in self.open:
            self.rows[-1][-1] += data


@pytest.mark.parametrize(
    "text", [NASTY, "`", "``", "a``", "a`b", "\\", "|", "\\|", " x ", "$(x)`y"]
)
def test_a_code_span_is_its_text(text):
    line = one_line(text, 10_000)
    page = Page(span(line))
    assert "".join(page.code) == line
    assert page.tags == ["p", "code"]
    page = Page(f"| a | b |\n| - | - |\n| {code(line)} | last |")
    assert page.rows == [[""] * 2, [line, "last"]] or page.rows[1] == [line, "last"]
    assert page.tags.count("code") == 1


@pytest.mark.parametrize("text", [NASTY, "*a*", "<b>", "&lt;", "a_b_c", "~~a~~", "[x](y)", "a|b"])
def test_prose_is_its_text(text):
    line = one_line(text, 10_000)
    page = Page(f"| a | b |\n| - | - |\n| {prose(line)} | last |")
    assert page.rows[1] == [line, "last"]
    assert set(page.tags) <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert not any(LINKED.search(text) for text in page.bare)


def test_lines_are_cut_where_it_hurts_least():
    assert one_line("a\n\tb\x00\u2028c") == "a b c"
    assert one_line("x" * 300, 10) == "x" * 9 + "…"
    name = f"tests/{'x' * 200}/test_a.py::test_b[{'y' * 200}-last]"
    assert len(named(name)) <= NAME_LIMIT
    assert named(name).startswith("tests/x")
    assert named(name).endswith("y-last]")
    assert "\u202e" not in one_line("a\u202eb")
    one_line("\ud800").encode()


def test_a_green_session():
    text = pr_comment(make.green())
    page = Page(text)
    assert text.startswith("<!-- pytest-smoltrace -->\n\n### ✓ smoltrace: 4 gates passed\n")
    assert "60 cases in both" in page.text
    header, *rows = [row for row in page.rows if len(row) == 6]
    assert [row[0] for row in rows] == ["✓\u00a0PASS"] * 4
    assert len(header) == 6
    quality, latency, *_ = rows
    assert quality[1:] == [
        "quality: success_rate >= 80%60 cases", "86.7\u00a0%75.8\u00a0to\u00a093.1\u00a0%",
        "80.0\u00a0%", "90.0\u00a0%", "-3.3\u00a0pp-8.3\u00a0to\u00a0+1.7\u00a0pp",
    ]  # fmt: skip
    assert latency[2:6] == [
        "8.12\u00a0s", "9.84\u00a0s", "8.20\u00a0s", "-1.0\u00a0%-9.0\u00a0to\u00a0+8.0\u00a0%"
    ]  # fmt: skip
    assert "Newly failing" not in page.text


def test_a_regression_names_what_failed_and_why():
    page = Page(step_summary(make.regression()))
    assert "✗ smoltrace: 2 of 4 gates failed" in page.text
    statuses = [row[0].split("\u00a0")[0] for row in page.rows if len(row) == 6 and row[0]]
    assert statuses == ["✗", "✗", "!", "✓"]  # those that fail the session come first
    assert "dropped by 11.7 pp over 60 cases, p = 0.002" in page.text
    for title in ("Newly failing (2)", "Passing less often (1)", "Newly passing (1)"):
        assert title in page.text
    assert page.attributes >= {"open"}  # newly failing cases are not folded away
    parting = 'called search with query="capital of Germany" instead of "capital of Bern"'
    assert page.code.count(parting) == 4
    assert "Failed cases (15)" in page.text
    assert "Not scored, in no rate (2)" in page.text
    assert "Error code: 503" in page.code
    command = "pytest-smoltrace compare git:origin/main:evals/baseline.json nightly-7\n"
    assert command in page.code


def test_an_inconclusive_session_says_what_would_be_enough():
    page = Page(pr_comment(make.inconclusive()))
    assert "! smoltrace: no gate failed, 1 of 2 not green" in page.text
    assert "132 cases or 4 trials of each case" in page.text
    assert "-9.2 pp" in page.text
    assert "-k geo selected 20 of 60 cases" in page.text
    assert "20 cases in both (20 here, 60 there)" in page.text
    none = make.gate(
        status=Status.INCONCLUSIVE, blocks=False, comparison=make.comparison(), margin=0.05
    )
    text = Page(pr_comment(make.summary(gates=make.judgement(none)))).text
    assert "No number of trials is enough" in text


def test_a_session_without_gates_and_one_without_cases():
    assert "### smoltrace: 52 of 60 cases passed" in pr_comment(make.summary())
    trials = make.run(pass_attempts=3, evaluated_prompts=20)
    text = pr_comment(make.summary(runs=[trials]))
    assert "### smoltrace: 52 of 60 attempts passed" in text
    assert " %), 20 cases x 3 trials, " in text
    assert "Failed attempts (8)" in pr_comment(
        make.summary(runs=[trials], cases=[make.failed_case()])
    )
    uneven = make.run(pass_attempts=4, evaluated_prompts=20)
    assert "20 cases x up to 4 trials" in pr_comment(make.summary(runs=[uneven]))
    two = make.summary(runs=[make.run(), make.run(model="m-2")])
    assert "### smoltrace: 104 of 120 attempts passed" in pr_comment(two)
    nothing = make.summary(runs=[], cases=[])
    assert "no case was scored" in Page(pr_comment(nothing)).text
    unscored = make.summary(runs=[make.run(passed=0, scored=0)], cases=[])
    assert "success rate -" in Page(pr_comment(unscored)).text


def test_several_models_are_ranked_with_their_intervals():
    runs = [make.run("a", 10), make.run("b", 58), make.run("c", 0, 0), make.run("d", 30)]
    page = Page(step_summary(make.summary(runs=runs)))
    ranked = [row for row in page.rows if len(row) == 7 and row[0]]
    assert [row[0] for row in ranked] == ["b tool", "d tool", "a tool", "c tool"]
    assert ranked[0][2] == "96.7 % (87.6 to 100.0 %)"
    assert ranked[3][2] == "-"


def test_several_models_are_compared_case_by_case():
    runs = [make.run("good", 8, 8, run_id="g"), make.run("bad|`x`", 0, 8, run_id="b")]
    cases = [
        make.case(f"test_{n}", run_id=run_id, case_id=f"test_{n}", success=run_id == "g")
        for n in range(8)
        for run_id in "gb"
    ]
    text = Page(step_summary(make.summary(runs=runs, cases=cases))).text
    assert "Differences from good, paired by case; two-sided p" in text
    # All eight changed one way: two-sided 2 / 2 ** 8.
    assert re.search(r"bad\|`x`: lower: -100\.0 pp \(.*\), p 0\.0078, 8 shared cases", text), text


@pytest.mark.parametrize(("write", "limit"), [(step_summary, SUMMARY_LIMIT),
                                              (pr_comment, COMMENT_LIMIT)])  # fmt: skip
@pytest.mark.parametrize("hostile", [NASTY, "`|\\" * 40, "\U0001f600" * 200, "<details>" * 30])
def test_5000_hostile_cases_stay_below_the_limit_and_whole(write, limit, hostile):
    text = write(make.huge(5_000, hostile))
    assert limit // 2 < len(text.encode()) <= limit
    assert len(text) < 65_536 or write is step_summary
    page = Page(text)  # every element is closed
    assert set(page.tags) <= OURS
    assert page.attributes <= {"open", "style", "class"}
    assert not any(LINKED.search(text) for text in page.bare)
    assert set(page.comments) <= {"", "pytest-smoltrace"}
    assert {len(row) for row in page.rows} <= {3, 7}
    found = re.findall(r"^and ([\d,]+) more$", text, re.MULTILINE)
    assert len(found) >= 4


def test_rows_left_out_are_counted():
    rows = [f"row {n}" for n in range(100)]
    block = Block(head="head", columns="columns", rows=rows, tail="tail", most=40, left_out=7)
    for limit in range(200, 1200, 7):
        text = fit([Block(head="title"), block], limit)
        assert len(text.encode()) <= limit
        if "head" not in text:
            continue
        shown = re.findall(r"^row \d+$", text, re.MULTILINE)
        assert shown == rows[: len(shown)]
        assert f"and {107 - len(shown)} more" in text
        assert ("columns" in text) is bool(shown)
        assert text.endswith("tail\n")


def test_a_long_list_leaves_room_for_the_next():
    long = Block(head="first", rows=["x" * 100] * 1_000)
    text = fit([long, Block(head="second", rows=["y" * 100] * 5)], 4_000)
    assert text.count("y" * 100) == 5


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("", "<!-- pytest-smoltrace -->"),
        ("evals / core", "<!-- pytest-smoltrace: evals / core -->"),
        ("a-->b<img>", "<!-- pytest-smoltrace: a-b-img -->"),
        ("--\n--", "<!-- pytest-smoltrace -->"),
    ],
)
def test_the_marker(key, line):
    assert marker(key) == line
    assert pr_comment(make.summary(), key=key).startswith(f"{line}\n")
    assert Page(line).comments == [line[5:-4]]
