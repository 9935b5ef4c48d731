"""datatrove: its four filters with their defaults, but for C4's thresholds, which are those of C4's code.

Each filter by itself, and one after the other on what the one before left, as a pipeline of it does. With
`words` at white space its word tokeniser (spaCy) is replaced by `str.split`, to see which verdicts differ
for another reason than the way to split words.
"""

from __future__ import annotations

from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)

from workflows.bench.peers.filter_task import GROUPS, WARM_UP, FilterTask, timed


def main() -> None:
    task = FilterTask.from_command_line()
    if task.words == "whitespace":
        for module in (fineweb_quality_filter, gopher_quality_filter, gopher_repetition_filter):
            module.split_into_words = lambda text, language: text.split()
    made = (
        GopherQualityFilter(),
        GopherRepetitionFilter(),
        C4QualityFilter(min_num_sentences=3, min_words_per_line=5),
        FineWebQualityFilter(),
    )
    filters = dict(zip(GROUPS, made, strict=True))
    texts = [text or "" for text in task.texts().to_pylist()]
    verdicts, cpu_s = {}, {}
    for name, own in filters.items():
        _judge({name: own}, texts[:WARM_UP])
        cpu_s[name], verdicts[name] = timed(lambda one={name: own}: _judge(one, texts))  # type: ignore[misc]
    cpu_s["all"], verdicts["all"] = timed(lambda: _judge(filters, texts))
    task.write(verdicts, cpu_s)


def _judge(filters: dict[str, Any], texts: list[str]) -> list[str | None]:
    """The reason of the first filter that drops a document; a filter may edit it for the next ones."""
    return [_reason(filters, Document(text=text, id=str(i))) for i, text in enumerate(texts)]


def _reason(filters: dict[str, Any], document: Document) -> str | None:
    for name, own in filters.items():
        # An empty document makes some of its filters divide by zero; its pipeline drops it before.
        verdict = own.filter(document) if document.text else (False, "empty")
        if verdict is not True:
            return f"{name}: {verdict[1] if isinstance(verdict, tuple) else verdict}"
    return None


if __name__ == "__main__":
    main()
