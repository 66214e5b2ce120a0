"""CPU of taking secrets out of what a case leaves, with few and with many variables.

One real case of each agent is recorded: two LLM calls, and the bundle that its report carries.
Measured is what happens once a case: the bundle is searched, and the environment is looked at
for new credentials after each phase. The variables differ in number only; the bundle holds none
of their values, or all of them.
"""

from __future__ import annotations

import argparse
import random
import statistics
import string
import time
import uuid
from typing import TYPE_CHECKING

import scripted
import sessions
from own_part import observer, one_case

from pytest_smoltrace.codec import encode_case
from pytest_smoltrace.config import ModelSpec, RunConfig
from pytest_smoltrace.pricing import PriceBook
from pytest_smoltrace.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ENVIRONMENTS = ((3, 1), (300, 40), (300, 300))
"""Variables, and how many of them are credentials."""
PHASES = 3
LETTERS = string.ascii_letters + string.digits


def credential(number: int) -> str:
    dice = random.Random(number)
    forms = (
        f"sk-proj-{''.join(dice.choices(LETTERS + '_-', k=48))}",
        f"{dice.getrandbits(160):040x}",
        "".join(dice.choices(LETTERS, k=24)),
        "".join(dice.choices(LETTERS + "!@#$%^&*", k=20)),
        str(uuid.UUID(int=dice.getrandbits(128))),
        f"{''.join(dice.choices(LETTERS + '+/', k=42))}==",
    )
    return forms[number % len(forms)]


def variables(count: int, credentials: int) -> dict[str, str]:
    plain = {f"SETTING_{n}": f"/opt/app-{n}/lib:/usr/lib" for n in range(count - credentials)}
    return plain | {f"SERVICE_{n}_API_KEY": credential(n) for n in range(credentials)}


def bundle(agent_type: str) -> tuple[str, int]:
    """Return what the report of a case carries, and the number of its LLM calls."""
    config = RunConfig(models=(ModelSpec(provider="bench", model_id="scripted"),))
    agent = scripted.stock_agent(agent_type)
    capture = observer(config, PriceBook.load(None))
    capture.start()
    record = one_case(capture, lambda: agent.run("What is the weather in Graz?"))
    capture.stop()
    return encode_case(record), len(record.calls)


def cpu_us(action: Callable[[], object], rounds: int) -> list[float]:
    costs = []
    for _ in range(rounds):
        before = time.thread_time_ns()
        action()
        costs.append((time.thread_time_ns() - before) / 1000)
    return costs


def report(agent_type: str, environ: Mapping[str, str], credentials: int, rounds: int) -> None:
    text, calls = bundle(agent_type)
    full = text.replace("Graz", f"Graz {' '.join(map(credential, range(credentials)))}", 1)
    before = time.thread_time_ns()
    redactor = Redactor.from_environment(environ)
    built_ms = (time.thread_time_ns() - before) / 1e6
    current = dict(environ)

    def case(found: str) -> None:
        for phase in range(PHASES):
            current["PYTEST_CURRENT_TEST"] = str(phase)
            redactor.learn(current)
        redactor.json(found)

    clean, hit = (cpu_us(lambda one=one: case(one), rounds) for one in (text, full))
    assert redactor.json(text) == text
    assert not any(credential(n) in redactor.json(full) for n in range(credentials))
    print(
        f"{agent_type} agent, {len(text)} characters, {calls} calls; {len(environ)} variables, "
        f"{credentials} of them credentials: median {statistics.median(clean) / calls:.0f} us a "
        f"call (p90 {sorted(clean)[rounds * 9 // 10] / calls:.0f}), with each of them in the "
        f"bundle {statistics.median(hit) / calls:.0f} us; built once in {built_ms:.1f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1000)
    rounds = parser.parse_args().rounds
    print(sessions.conditions())
    for agent_type in ("tool", "code"):
        for count, credentials in ENVIRONMENTS:
            report(agent_type, variables(count, credentials), credentials, rounds)


if __name__ == "__main__":
    main()
