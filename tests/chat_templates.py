"""Chat templates in the style of known families, on small tokenizers with their special tokens."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from geometry_of_trust.corpus.chats import ChatTemplate
from geometry_of_trust.corpus.entries import Entry
from geometry_of_trust.corpus.token_choosing import Origin, chosen_tokens
from geometry_of_trust.documents.token_choice import TokenChoice
from geometry_of_trust.extraction.tokenizing import encode, ids_alone

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # importing transformers warns about others' deprecations
    from transformers import PreTrainedTokenizerFast

LLAMA_3 = (
    "{{- bos_token }}"
    "{%- if not date_string is defined %}"
    "{%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}"
    "{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}{%- endif %}"
    "{%- if messages[0]['role'] == 'system' %}"
    "{%- set system_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}"
    "{%- else %}{%- set system_message = '' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}"
    "{{- 'Cutting Knowledge Date: December 2023\\n' }}"
    "{{- 'Today Date: ' + date_string + '\\n\\n' }}{{- system_message }}{{- '<|eot_id|>' }}"
    "{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}"
    "{{- message['content'] | trim }}{{- '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}"
    "{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)
QWEN_3 = (
    "{%- if messages[0].role == 'system' %}"
    "{{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{%- endif %}"
    "{%- set ns = namespace(last=-1) %}"
    "{%- for message in messages %}"
    "{%- if message.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}"
    "{%- for message in messages %}{%- set content = message.content %}"
    "{%- if message.role == 'user' or (message.role == 'system' and not loop.first) %}"
    "{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}"
    "{%- elif message.role == 'assistant' %}{%- set reasoning = '' %}"
    "{%- if message.reasoning_content is string %}{%- set reasoning = message.reasoning_content %}"
    "{%- elif '</think>' in content %}"
    "{%- set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1]"
    ".lstrip('\\n') %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
    "{%- if loop.index0 > ns.last and (loop.last or reasoning) %}"
    "{{- '<|im_start|>assistant\\n<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n'"
    " + content.lstrip('\\n') }}"
    "{%- else %}{{- '<|im_start|>assistant\\n' + content }}{%- endif %}"
    "{{- '<|im_end|>\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
QWEN_3_THINKING = QWEN_3.replace(
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}",
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}",
)
"""A template that asks for reasoning."""

GEMMA_3 = (
    "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}"
    "{%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}"
    "{%- set loop_messages = messages[1:] -%}"
    "{%- else -%}{%- set first_user_prefix = '' -%}{%- set loop_messages = messages -%}"
    "{%- endif -%}{%- for message in loop_messages -%}"
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}"
    "{{ raise_exception('Conversation roles must alternate') }}{%- endif -%}"
    "{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}"
    "{{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else '') }}"
    "{{ message['content'] | trim }}{{ '<end_of_turn>\\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"
)
MISTRAL = (
    "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] %}"
    "{%- set rest = messages[1:] %}{%- else %}{%- set rest = messages %}{%- endif %}"
    "{{- bos_token }}{%- for message in rest %}{%- if message['role'] == 'user' %}"
    "{%- if loop.last and system is defined %}"
    "{{- '[INST] ' + system + '\\n\\n' + message['content'] + '[/INST]' }}"
    "{%- else %}{{- '[INST] ' + message['content'] + '[/INST]' }}{%- endif %}"
    "{%- else %}{{- ' ' + message['content']|trim + eos_token }}{%- endif %}{%- endfor %}"
)
SMOLLM_2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM<|im_end|>\\n' }}"
    "{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>'"
    " + '\\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
GENERATION = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ message['content'] + '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ message['content'] + '<|im_end|>' }}{% endif %}{{ '\\n' }}{% endfor %}"
)
NO_PROMPT = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] }}"
    "{{ '\\n' }}{% endfor %}"
)
"""A template that asks for nothing, although a head stands before each answer."""

TWICE = (
    "{% for message in messages %}{{ message['role'] + ': ' + message['content'] }}"
    "{{ ' (' + message['content'] + ')\\n' }}{% endfor %}"
)
"""A template that says all contents twice."""


@dataclass(frozen=True)
class Family:
    """A template, and the special tokens that it writes; the first and the second are BOS, EOS."""

    template: str
    special: tuple[str, ...]


_IM = ("<|endoftext|>", "<|im_end|>", "<|im_start|>")
FAMILIES = {
    "llama-3": Family(LLAMA_3, ("<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>",
                                "<|end_header_id|>")),
    "qwen-3": Family(QWEN_3, _IM),
    "qwen-3-thinking": Family(QWEN_3_THINKING, _IM),
    "gemma-3": Family(GEMMA_3, ("<bos>", "<end_of_turn>", "<start_of_turn>")),
    "mistral": Family(MISTRAL, ("<s>", "</s>", "[INST]", "[/INST]")),
    "smollm-2": Family(SMOLLM_2, _IM),
    "generation": Family(GENERATION, _IM),
    "no-prompt": Family(NO_PROMPT, _IM),
    "twice": Family(TWICE, _IM),
}  # fmt: skip


def tokenizer_of(name: str) -> Any:
    """A byte-level tokenizer of a family: a token a byte, but for words of a few letters."""
    family = FAMILIES[name]
    words = [(word[:n], word[n]) for word in ("ĠParis", "ĠRome", "user") for n in
             range(1, len(word))]  # fmt: skip
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = dict.fromkeys([*letters, *(a + b for a, b in words)])
    model = models.BPE({token: n for n, token in enumerate(vocabulary)}, words)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    bos, eos, *others = family.special
    wrap: Any = PreTrainedTokenizerFast
    return wrap(
        tokenizer_object=tokenizer, bos_token=bos, eos_token=eos,
        additional_special_tokens=others, chat_template=family.template,
    )  # fmt: skip


def chosen(
    name: str,
    kind: str,
    said: Any,
    *,
    prompt: bool = False,
    date: str | None = "2026-02-01",
    written: str | None = None,
) -> tuple[str, dict[int, Origin], list[tuple[int, int] | None]]:
    """The text, the tokens chosen of it, and the characters of all of its tokens.

    Args:
        said: messages, a text, or an entry of a corpus.
        written: another template.
    """
    tokenizer = tokenizer_of(name)
    tokenizer.chat_template = written or tokenizer.chat_template
    template = ChatTemplate(tokenizer, add_generation_prompt=prompt, date=date, reproducible=True)
    if isinstance(said, Entry):
        entry = said
    else:
        chat = None if isinstance(said, str) else tuple(said)
        entry = Entry(said if chat is None else None, chat, {}, None, "row 1")
    text = entry.text or template.text(entry.messages or (), "row 1")
    (encoded,) = encode(tokenizer, [text], add_special=False)
    found = chosen_tokens(
        TokenChoice.parse(kind), entry, template,
        partial(ids_alone, tokenizer),
        text=text, encoded=encoded,
    )  # fmt: skip
    return text, found, encoded.spans


def covered(spans: list[tuple[int, int] | None], found: dict[int, Origin]) -> set[int]:
    return {c for t in found for c in range(*(spans[t] or (0, 0)))}
