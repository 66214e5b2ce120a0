"""The smallest real model: a Llama of random weights with a byte-level tokenizer, in a folder.

Its own answers are noise. A `Dictation` holds it to a text: the model runs for each token and its
choice is replaced, so that an agent can do its task with real tensors, tokens and times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
SPECIAL = ("<|start|>", "<|end|>", "<|pad|>")
DICTATION = '''
import json
import threading
import time

import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList

WITNESS = "witness.jsonl"


class Dictation(LogitsProcessor):
    """Gives each call of generate the next text, token by token."""

    def __init__(self, tokenizer, texts):
        self.tokenizer, self.texts = tokenizer, list(texts)
        self.begin()

    def begin(self):
        self.steps_ns, self.start, self.tokens = [], None, None

    def __call__(self, input_ids, scores):
        self.steps_ns.append(time.monotonic_ns())
        length = input_ids.shape[1]
        if self.start is None:
            self.start = length
            if self.texts:
                text = self.texts.pop(0)
                self.tokens = self.tokenizer.encode(text, add_special_tokens=False)
                self.tokens.append(self.tokenizer.eos_token_id)
        if self.tokens is not None:
            forced = torch.full_like(scores, -float("inf"))
            forced[:, self.tokens[length - self.start]] = 0.0
            return forced
        return scores


@pytest.fixture
def dictate(request, smoltrace_model):
    """Hold the model to texts and write down what each call of generate got and gave."""
    hf, tokenizer = smoltrace_model.model, smoltrace_model.tokenizer

    def use(*texts):
        dictation = Dictation(tokenizer, texts)
        smoltrace_model.kwargs["logits_processor"] = LogitsProcessorList([dictation])

        def generate(*args, **kwargs):
            dictation.begin()
            entry = {"case": request.node.name, "streamed": "streamer" in kwargs}
            entry["start_ns"] = time.monotonic_ns()
            out = type(hf).generate(hf, *args, **kwargs)
            entry["prompt"] = kwargs["inputs"].shape[1]
            entry["completion"] = out.shape[1] - entry["prompt"]
            entry["steps_ns"] = dictation.steps_ns
            entry["last"] = int(out[0, -1])
            entry["text"] = tokenizer.decode(out[0, entry["prompt"]:])
            with open(WITNESS, "a") as file:
                file.write(json.dumps(entry) + "\\\\n")
            return out

        hf.generate = generate

    yield use
    smoltrace_model.kwargs.pop("logits_processor", None)
    hf.__dict__.pop("generate", None)
'''.replace("\\\\n", "\\n")


def make(folder: Path) -> Path:
    """Write the model and its tokenizer and return their folder."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *letters))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|pad|>"
    )
    fast.add_special_tokens({"additional_special_tokens": ["<|start|>"]})
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=32768,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def convert(weights: Path, folder: Path) -> None:
    """Write a GGUF file as a folder that transformers loads; it appears when it is whole."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": weights.parent, "gguf_file": weights.name}
    tokenizer = AutoTokenizer.from_pretrained(**source)
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.bfloat16)
    # The tensors are no longer quantized; these marks alone keep them from being saved.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    partial = folder.with_name(f"{folder.name}.partial")
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    partial.rename(folder)
