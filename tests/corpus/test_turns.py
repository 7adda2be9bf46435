"""Which tokens of a chat are whose: templates of many families against marks made by hand."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest

from chat_templates import SMOLLM_2, chosen, covered, tokenizer_of
from geometry_of_trust import errors
from geometry_of_trust.corpus.chats import ChatTemplate

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "France?"},
    {"role": "assistant", "content": "Paris"},
    {"role": "user", "content": "user"},
    {"role": "assistant", "content": "It is Rome\n"},
]
MARKED = {
    "llama-3": (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\n"
        "Cutting Knowledge Date: December 2023\nToday Date: 01 Feb 2026\n\n"
        "[s:Be brief.]<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n[u:France?]<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n[a:Paris<|eot_id|>]"
        "<|start_header_id|>user<|end_header_id|>\n\n[u:user]<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n[a:It is Rome<|eot_id|>]"
    ),
    "qwen-3": (
        "<|im_start|>system\n[s:Be brief.]<|im_end|>\n"
        "<|im_start|>user\n[u:France?]<|im_end|>\n"
        "<|im_start|>assistant\n[a:Paris<|im_end|>]\n"
        "<|im_start|>user\n[u:user]<|im_end|>\n"
        "<|im_start|>assistant\n[a:<think>\n\n</think>\n\nIt is Rome\n<|im_end|>]\n"
    ),
    "gemma-3": (
        "<bos><start_of_turn>user\n[s:Be brief.]\n\n[u:France?]<end_of_turn>\n"
        "<start_of_turn>model\n[a:Paris<end_of_turn>]\n"
        "<start_of_turn>user\n[u:user]<end_of_turn>\n"
        "<start_of_turn>model\n[a:It is Rome<end_of_turn>]\n"
    ),
    "mistral": (
        "<s>[INST] [u:France?][/INST][a: Paris</s>][INST] [u:user][/INST][a: It is Rome</s>]"
    ),
    "smollm-2": (
        "<|im_start|>system\n[s:Be brief.]<|im_end|>\n"
        "<|im_start|>user\n[u:France?]<|im_end|>\n"
        "<|im_start|>assistant\n[a:Paris<|im_end|>]\n"
        "<|im_start|>user\n[u:user]<|im_end|>\n"
        "<|im_start|>assistant\n[a:It is Rome\n<|im_end|>]\n"
    ),
    "generation": (
        "<|im_start|>system\n[s:Be brief.]<|im_end|>\n"
        "<|im_start|>user\n[u:France?]<|im_end|>\n"
        "<|im_start|>assistant\n[a:Paris<|im_end|>]\n"
        "<|im_start|>user\n[u:user]<|im_end|>\n"
        "<|im_start|>assistant\n[a:It is Rome\n<|im_end|>]\n"
    ),
    "no-prompt": (
        "<|system|>\n[s:Be brief.]\n<|user|>\n[u:France?]\n<|assistant|>\n[a:Paris]\n"
        "<|user|>\n[u:user]\n<|assistant|>\n[a:It is Rome]\n\n"
    ),
}
"""The whole text of each, with what is the system's, the user's and the assistant's in brackets."""


def truth(marked: str, letters: str) -> tuple[str, set[int]]:
    """A text without its brackets, and the characters in brackets with one of some letters."""
    text, inside = "", set[int]()
    for part in re.split(r"(\[[suar]:[^\]]*\])", marked):
        plain = part[3:-1] if re.match(r"\[[suar]:", part) else part
        if plain != part and part[1] in letters:
            inside |= set(range(len(text), len(text) + len(plain)))
        text += plain
    return text, inside


@pytest.mark.parametrize("prompt", [False, True])
@pytest.mark.parametrize("name", MARKED)
def test_roles_are_those_marked_by_hand(name: str, prompt: bool) -> None:
    messages = CHAT[1:] if name == "mistral" else CHAT
    for letters, role in (("s", "system"), ("u", "user"), ("a", "assistant")):
        expected, marked = truth(MARKED[name], letters)
        if not marked:
            continue
        text, found, spans = chosen(name, role, messages, prompt=prompt)
        assert text.startswith(expected)
        assert covered(spans, found) == marked
        assert {origin.role for origin in found.values()} == {role}
        numbers = [n for n, message in enumerate(messages) if message["role"] == role]
        assert list(dict.fromkeys(origin.turn for origin in found.values())) == numbers
    text, found, spans = chosen(name, "last-assistant", messages, prompt=prompt)
    last = MARKED[name].rindex("[a:")
    before, _ = truth(MARKED[name][:last], "a")
    assert covered(spans, found) == {c for c in marked if c >= len(before)}


def test_a_system_message_that_stands_in_the_last_turn_of_the_user() -> None:
    """So no prefix of the chat begins its text; and no turn of the user last, no such message."""
    marked = "<s>[INST] [u:France?][/INST][a: Paris</s>][INST] [s:Be brief.]\n\n[u:user][/INST]"
    for letter, kind in (("s", "system"), ("u", "user"), ("a", "assistant")):
        expected, inside = truth(marked, letter)
        text, found, spans = chosen("mistral", kind, CHAT[:4])
        assert text == expected
        assert covered(spans, found) == inside
    with pytest.raises(errors.TokensMissing):
        chosen("mistral", "system", CHAT)


THOUGHT = "Which?\nParis."
TAGGED = f"<think>\n{THOUGHT}\n</think>\n\nIt is Paris"


@pytest.mark.parametrize("message", [
    {"content": "It is Paris", "reasoning_content": f"\n{THOUGHT}\n"},
    {"content": "It is Paris", "thinking": THOUGHT},
    {"content": TAGGED},
])  # fmt: skip
def test_thinking(message: dict[str, str]) -> None:
    """Of the last answer; the template leaves that of an earlier one out."""
    earlier = {"role": "assistant", **message}
    messages = [CHAT[1], earlier, CHAT[3], {"role": "assistant", **message}]
    expected, inside = truth(
        "<|im_start|>user\nFrance?<|im_end|>\n<|im_start|>assistant\nIt is Paris<|im_end|>\n"
        "<|im_start|>user\nuser<|im_end|>\n<|im_start|>assistant\n<think>\n"
        f"[r:{THOUGHT}]\n</think>\n\nIt is Paris<|im_end|>\n",
        "r",
    )
    text, found, spans = chosen("qwen-3", "thinking", messages)
    assert text == expected
    assert covered(spans, found) == inside
    assert {origin.turn for origin in found.values()} == {3}
    text, found, spans = chosen("qwen-3", "last-assistant", messages)
    answer = text[: -len("\n")].rindex("<think>")
    assert covered(spans, found) == set(range(answer, len(text) - 1))


@pytest.mark.parametrize("last", [{"content": TAGGED}, {"reasoning_content": THOUGHT}])
def test_a_template_that_asks_for_reasoning(last: dict[str, str]) -> None:
    """The opening tag is the template's, of the last answer; of an earlier one there is none."""
    final = {"role": "assistant", "content": "It is Paris", **last}
    messages = [*CHAT[:4], final]
    marked = (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nFrance?<|im_end|>\n"
        "<|im_start|>assistant\n[a:Paris<|im_end|>]\n<|im_start|>user\nuser<|im_end|>\n"
        f"<|im_start|>assistant\n<think>\n[a:{THOUGHT}\n</think>\n\nIt is Paris<|im_end|>]\n"
    )
    expected, inside = truth(marked, "a")
    text, found, spans = chosen("qwen-3-thinking", "assistant", messages)
    assert text == expected
    assert covered(spans, found) == inside
    text, found, spans = chosen("qwen-3-thinking", "thinking", messages)
    start = text.index(THOUGHT)
    assert covered(spans, found) == set(range(start, start + len(THOUGHT)))


@pytest.mark.parametrize("content", ["<|assistant|>", "<|assistant|>\n<|assistant|>\na"])
def test_an_answer_that_looks_like_its_head(content: str) -> None:
    text, found, spans = chosen(
        "no-prompt", "assistant", [CHAT[1], {"role": "assistant", "content": content}]
    )
    start = text.index("<|assistant|>\n") + len("<|assistant|>\n")
    assert covered(spans, found) == set(range(start, start + len(content)))


@pytest.mark.parametrize("name", ["smollm-2", "generation"])
def test_thinking_that_a_template_takes_for_content(name: str) -> None:
    messages = [CHAT[1], {"role": "assistant", "content": TAGGED}]
    text, found, spans = chosen(name, "thinking", messages)
    start = text.index(THOUGHT)
    assert covered(spans, found) == set(range(start, start + len(THOUGHT)))


@pytest.mark.parametrize(("name", "kind", "messages", "kinds"), [
    ("twice", "user", CHAT, errors.AmbiguousTurns),
    ("twice", "assistant", CHAT, errors.AmbiguousTurns),
    ("gemma-3", "thinking", CHAT, errors.TokensMissing),
    ("qwen-3", "thinking", CHAT, errors.TokensMissing),  # empty tags are no thinking
    ("smollm-2", "system", CHAT[1:], errors.TokensMissing),  # the template's own is no message
    ("smollm-2", "assistant", CHAT[:2], errors.TokensMissing),
    # An answer that was cut off in its reasoning.
    ("llama-3", "thinking", [CHAT[1], {"role": "assistant", "content": "<think>a"}],
     errors.AmbiguousTurns),
    # An answer that goes on where its head ended, in one token with it.
    ("smollm-2", "thinking",
     [CHAT[1], {"role": "assistant", "content": "<think>a</think></think>b"}],
     errors.AmbiguousTurns),
    # A tag that marks nothing: the answer has none.
    ("generation", "assistant", [CHAT[1], {"role": "assistant", "content": ""}, CHAT[3]], None),
    ("llama-3", "user", [{"role": "user", "content": "a"}, {"role": "user", "content": "a"}], None),
])  # fmt: skip
def test_what_cannot_be_told_is_refused(
    name: str, kind: str, messages: Any, kinds: type[errors.GotError] | None
) -> None:
    if kinds is None:
        assert chosen(name, kind, messages)[1]
        return
    with pytest.raises(kinds) as caught:
        chosen(name, kind, messages)
    assert caught.value.where.startswith("row 1")
    assert str(caught.value).count("\n") == 0


def test_an_answer_that_nothing_asks_for() -> None:
    text, found, spans = chosen("smollm-2", "assistant", [CHAT[2]])
    assert "".join(text[c] for c in sorted(covered(spans, found))) == "Paris<|im_end|>"


LAST_MARKED = (
    "{% for m in messages %}{{ m.role + ':' }}{% if loop.last %}"
    "{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}"
    "{{ '\n' }}{% endfor %}"
)
ONE_TOKEN = (
    "{% for m in messages %}{{ ' P' + m.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ ' P' }}{% endif %}"
)
REASONS_TWICE = (
    "{% for m in messages %}{{ m.role + ':' + m.content }}"
    "{{ m.thinking + m.thinking if m.thinking else '' }}{{ '\n' }}{% endfor %}"
)
USERS_MARKED = (
    "{% for m in messages %}{{ m.role + ':' }}{% if m.role == 'user' %}"
    "{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}"
    "{{ '\n' }}{% endfor %}"
)
LAST_MARKED_TWICE = (
    "{% for m in messages %}{{ m.role + ':' }}{% if loop.last %}"
    "{% generation %}{{ m.content[:2] }}{% endgeneration %}{{ '#' }}"
    "{% generation %}{{ m.content[2:] }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}"
    "{{ '\n' }}{% endfor %}"
)
BACKWARDS = SMOLLM_2.replace("in messages", "in messages|reverse")
UPPER = "{% for m in messages %}{{ m.role + ': ' + m.content | upper + '\n' }}{% endfor %}"


@pytest.mark.parametrize(("written", "kind", "messages"), [
    (LAST_MARKED, "assistant", CHAT[1:]),
    (USERS_MARKED, "assistant", CHAT[1:]),
    (LAST_MARKED_TWICE, "assistant", CHAT[1:]),  # as many as there are answers
    (BACKWARDS, "assistant", CHAT[1:3]),
    (ONE_TOKEN, "assistant", [CHAT[1], {"role": "assistant", "content": "aris"}]),
    (ONE_TOKEN, "user", [{"role": "user", "content": "aris"}]),
    (REASONS_TWICE, "thinking", [CHAT[1], {**CHAT[2], "thinking": "Hm"}]),
    (UPPER, "user", CHAT),
    (UPPER, "last-assistant", CHAT),
])  # fmt: skip
def test_templates_that_do_not_show_their_turns(written: str, kind: str, messages: Any) -> None:
    with pytest.raises(errors.AmbiguousTurns):
        chosen("smollm-2", kind, messages, written=written)


@pytest.mark.parametrize("later", [[], [{"role": "tool", "content": "7"}]])
def test_calls_of_tools_are_the_model_s(later: list[dict[str, str]]) -> None:
    written = SMOLLM_2.replace(
        "message['content'] +", "message['content'] + (message.tool_calls|string if "
        "message.tool_calls else '') +",
    )  # fmt: skip
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f"}}]}
    text, found, spans = chosen("smollm-2", "assistant", [CHAT[1], call, *later], written=written)
    said = "".join(text[c] for c in sorted(covered(spans, found)))
    assert said == "[{'function': {'name': 'f'}}]<|im_end|>"


def test_a_date_in_the_template() -> None:
    with pytest.raises(errors.BadOption) as caught:
        chosen("llama-3", "user", CHAT, date=None)
    assert caught.value.where == "--date"
    text, *_ = chosen("llama-3", "user", CHAT, date="2024-07-26")
    assert "Today Date: 26 Jul 2024\n" in text
    tokenizer = tokenizer_of("llama-3")
    today = ChatTemplate(tokenizer, add_generation_prompt=False, date=None, reproducible=False)
    before = tokenizer.apply_chat_template(CHAT, tokenize=False)
    text = today.text(CHAT, "row 1")
    assert text in (before, tokenizer.apply_chat_template(CHAT, tokenize=False))  # at midnight
    assert today.dated == 1
    other = ChatTemplate(
        tokenizer_of("qwen-3"), add_generation_prompt=False, date=None, reproducible=True
    )
    assert other.text(CHAT, "row 1")
    assert other.dated == 0
    tokenizer.chat_template = "{{ 'now' if strftime_now('%Y')|int > 2024 else 'before' }}"
    assert today.text(CHAT, "row 1") == "now"
    assert today.dated == 2


@pytest.mark.parametrize("form", ["%A %d %B %Y, %H:%M:%S", "%-d %b %y", "%e|%j|%D|%F|%T|%p|%R|%-j"])
def test_the_clock_is_that_of_the_library(form: str) -> None:
    tokenizer = tokenizer_of("qwen-3")
    tokenizer.chat_template = f"\n  {{% if 1 %}}\n{{{{ strftime_now({form!r}) }}}}\n{{% endif %}} x"
    day = "2024-02-03"
    made = ChatTemplate(tokenizer, add_generation_prompt=False, date=day, reproducible=True)
    fixed = datetime.fromisoformat(day).strftime(form)
    tokenizer.chat_template = tokenizer.chat_template.replace(
        f"strftime_now({form!r})", repr(fixed)
    )
    assert made.text(CHAT, "row 1") == tokenizer.apply_chat_template(CHAT, tokenize=False)


def test_a_clock_that_is_read_in_a_way_not_known() -> None:
    tokenizer = tokenizer_of("qwen-3")
    tokenizer.chat_template = "{{ strftime_now('%s') }}"
    made = ChatTemplate(
        tokenizer, add_generation_prompt=False, date="2024-02-03", reproducible=True
    )
    with pytest.raises(errors.BadChat) as caught:
        made.text(CHAT, "row 1")
    assert "%s" in str(caught.value)
