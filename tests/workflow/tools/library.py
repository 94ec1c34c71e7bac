"""A searchable knowledge base: the articles of `articles.md`, in English, Chinese and Japanese."""

import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from langchain_core.tools import ToolException

_HEADING = re.compile(r"^## (?P<id>[a-z]+-[a-z0-9-]+) \| (?P<locale>[a-z]{2}) \| (?P<title>.+)$")
_WORD = re.compile(r"[a-z0-9]{3,}")
_WIDE_RUN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]+")
_EXCERPT = 160


@dataclass(frozen=True)
class Article:
    """One article; `body` is paragraphs separated by a newline."""

    id: str
    locale: str
    title: str
    body: str


def search_knowledge(query: str, limit: int = 3) -> list[dict[str, Any]]:
    """Search the knowledge base; returns the best articles with a score and an excerpt, or an empty list."""
    wanted = _terms(query)
    scored = [(_score(wanted, article), article) for article in articles()]
    best = sorted((pair for pair in scored if pair[0] > 0), key=lambda pair: (-pair[0], pair[1].id))
    return [
        {"id": one.id, "title": one.title, "score": round(score, 3), "excerpt": one.body[:_EXCERPT]}
        for score, one in best[:limit]
    ]


def read_article(article_id: str) -> dict[str, Any]:
    """Read one article of the knowledge base in full."""
    for article in articles():
        if article.id == article_id:
            return {"id": article.id, "title": article.title, "body": article.body}
    message = f"no article {article_id!r}"
    raise ToolException(message)


@cache
def articles() -> tuple[Article, ...]:
    """Return all articles, in the file's order; read once a process."""
    found: list[Article] = []
    for block in re.split(r"\n(?=## )", Path(__file__).with_name("articles.md").read_text(encoding="utf-8")):
        heading, _, body = block.partition("\n")
        if match := _HEADING.match(heading):
            found.append(Article(**match.groupdict(), body="\n".join(body.split("\n\n")).strip()))
    return tuple(found)


def _terms(text: str) -> Counter[str]:
    """Split into words, and wide text into overlapping pairs of characters, since it has no spaces."""
    pairs = (run[at : at + 2] for run in _WIDE_RUN.findall(text) for at in range(len(run) - 1))
    return Counter([*_WORD.findall(text.lower()), *pairs])


@cache
def _terms_of(article: Article) -> Counter[str]:
    return _terms(f"{article.title} {article.title} {article.body}")


def _score(wanted: Counter[str], article: Article) -> float:
    held = _terms_of(article)
    hits = math.fsum((1 + math.log(held[term])) * _rarity(term) for term in wanted if term in held)
    return hits / math.sqrt(sum(held.values()))


@cache
def _rarity(term: str) -> float:
    return math.log(1 + len(articles()) / sum(term in _terms_of(article) for article in articles()))
