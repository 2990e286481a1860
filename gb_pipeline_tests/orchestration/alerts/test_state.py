"""What is news: the first failure, and its end; nothing twice, and nothing that nobody saw."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gb_pipeline.orchestration.alerts.state import Sighting, find_news


def seen(subject: str, problem: str = "") -> Sighting:
    return Sighting(subject, problem, "/runs/1")


def test_the_first_failure_is_told_once_and_its_end_too():
    news, broken = find_news({}, [seen("a", "no answer"), seen("a", "still none"), seen("b")])
    assert [(item.subject, item.text, item.failed) for item in news] == [("a", "no answer", True)]
    news, broken = find_news(broken, [seen("a", "still none")])
    assert (news, broken) == ([], {"a": "no answer"})
    news, broken = find_news(broken, [seen("a")])
    assert [(item.text, item.failed) for item in news] == [("works again; before: no answer", False)]
    assert find_news(broken, [seen("a")]) == ([], {})


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", "x", "y"])), max_size=12), st.integers(1, 5))
def test_whoever_reads_every_message_always_knows_what_is_broken(found, size):
    broken: dict[str, str] = {}
    known: set[str] = set()
    for start in range(0, len(found), size):
        news, broken = find_news(broken, [seen(*item) for item in found[start : start + size]])
        for item in news:
            assert (item.subject in known) is not item.failed, "no failure is told twice, no end without a failure"
            known = known | {item.subject} if item.failed else known - {item.subject}
        assert known == set(broken)
        last = dict(found[: start + size])
        assert known == {subject for subject, problem in last.items() if problem}
