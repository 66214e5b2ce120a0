"""Spans as the traces dataset holds them, in the tree that smolagents makes."""

import itertools
import json


class Trace:
    """The spans of one attempt; time goes on by a millisecond with each span."""

    def __init__(self):
        self._clock = itertools.count(1)
        self.spans = []
        root = self.add(None, "test", "CHAIN")
        self.add(root, "setup", "CHAIN")
        self.call = self.add(root, "call", "CHAIN")

    def add(self, parent, name, kind, *, error=None, ms=1.0, attributes=None):
        number = next(self._clock)
        found = {
            "openinference.span.kind": kind,
            "smoltrace.role": "agent",
            "smoltrace.counted_call": False,
            **(attributes or {}),
        }
        span = {
            "span_id": f"{number:016x}",
            "parent_span_id": parent,
            "name": name,
            "start_time": number * 1_000_000,
            "duration_ms": ms,
            "status": {"code": "ERROR" if error else "OK", "description": error},
            "attributes": found,
        }
        self.spans.append(span)
        return span["span_id"]

    def agent(self, parent=None, *, name="ToolCallingAgent", answer=None, error=None):
        output = {"output.value": answer}
        return self.add(parent or self.call, f"{name}.run", "AGENT", error=error, attributes=output)

    def step(self, agent, *, error=None, output=None, ms=10.0):
        return self.add(
            agent, "Step 1", "CHAIN", error=error, ms=ms, attributes={"output.value": output}
        )

    def llm(self, parent, text=None, *, calls=(), tokens=110, cost=0.25, role="agent", error=None):
        asked = [{"id": "c", "name": n, "arguments": json.dumps(a)} for n, a in calls]
        message = {"role": "assistant", "content": text} | ({"tool_calls": asked} if asked else {})
        span = self.add(parent, "chat", "LLM", error=error, ms=3.0)
        self.spans[-1]["attributes"] |= {
            "smoltrace.role": role,
            "smoltrace.counted_call": True,
            "gen_ai.usage.total_tokens": tokens,
            "gen_ai.usage.cost.total": cost,
            "output.value": json.dumps(message),
        }
        return span

    def tool(self, parent, name, arguments, result=None, *, error=None, ms=2.0):
        span = self.add(parent, "SimpleTool", "TOOL", error=error, ms=ms)
        self.spans[-1]["attributes"] |= {
            "tool.name": name,
            "tool.parameters": None if arguments is None else json.dumps(arguments),
            "output.value": result,
        }
        return span
