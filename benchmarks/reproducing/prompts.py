"""Short English prompts, the same on every machine, made of templates and lists of words."""

from __future__ import annotations

import random

CITIES = (
    "Paris", "Lagos", "Quito", "Osaka", "Tromsø", "Kampala", "São Paulo", "Vilnius", "Adelaide",
    "Samarkand", "Montréal", "Zürich", "Hanoi", "Valparaíso", "Cork", "Izmir", "Tbilisi",
)  # fmt: skip
PEOPLE = (
    "Clara", "Mr. Okafor", "the old captain", "Florence", "Dr. Novak", "my neighbour", "Aiko",
    "Judge Washington", "a boy called Tobias", "nobody", "Ngũgĩ", "the twins",
)  # fmt: skip
THINGS = (
    "a map", "seven oranges", "the broken clock", "her passport", "an umbrella", "two violins",
    "the last letter", "some bread", "a box of nails", "the blue bicycle", "no money",
)  # fmt: skip
DEEDS = (
    "bought", "lost", "painted", "never found", "did not want", "sold", "hid", "carried home",
    "refused to repair", "dreamt of", "gave away",
)  # fmt: skip
WHEN = (
    "in 1848", "last Tuesday", "before dawn", "at 17:45", "on the 3rd of May", "twice a year",
    "during the war", "when it rained", "not long ago", "in the year 2071",
)  # fmt: skip
TEMPLATES = (
    "{city} is not far.",
    "Where is {city}, and who is {person}?",
    "{person} {deed} {thing}.",
    "{person} {deed} {thing} in {city} {when}.",
    "It is not true that {person} {deed} {thing} {when}.",
    "{number} + {small} = {sum}; {person} had said {wrong}.",
    "The train from {city} to {other} takes {small} hours and costs €{number}.50.",
    "{when_first}, {person} left {city} for {other} with {thing}, but {second} stayed behind.",
    '"No," said {person}, "I never {deed} {thing}. Ask {second}, who lives in {city}."',
    "if {person} == '{city}': return {number}  # {thing}",
    "Of the {number} people in {city}, {small} knew that {person} {deed} {thing} {when}, and the "
    "others did not want to hear about {second} and {other}.",
)


def make_prompts(count: int) -> list[str]:
    """The first `count` prompts; no two are equal."""
    draw = random.Random(20240601)  # noqa: S311 - not for secrets
    prompts: dict[str, None] = {}
    while len(prompts) < count:
        city, other = draw.sample(CITIES, 2)
        person, second = draw.sample(PEOPLE, 2)
        number, small, when = draw.randrange(100, 10_000), draw.randrange(2, 60), draw.choice(WHEN)
        text = draw.choice(TEMPLATES).format(
            city=city, other=other, person=person, second=second, number=number, small=small,
            sum=number + small, wrong=number - small, when=when, thing=draw.choice(THINGS),
            deed=draw.choice(DEEDS), when_first=when[0].upper() + when[1:],
        )  # fmt: skip
        prompts[text] = None
    return list(prompts)
