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


def test_a_warning_that_became_a_failure_is_told_again():
    news, broken = find_news({}, [seen("a", "warning: 3 GB free"), seen("a", "warning: 2 GB free")])
    assert [item.text for item in news] == ["warning: 3 GB free"]
    news, broken = find_news(broken, [seen("a", "0.1 GB free"), seen("a", "warning: 1 GB free")])
    assert ([item.text for item in news], broken) == (["0.1 GB free"], {"a": "0.1 GB free"})
    assert find_news(broken, [seen("a", "0.1 GB free"), seen("a"), seen("a", "warning: 2 GB free")]) == ([], broken)


LEVELS = {"": 0, "warning: x": 1, "y": 2, "z": 2}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(sorted(LEVELS))), max_size=12), st.integers(1, 5))
def test_whoever_reads_every_message_always_knows_what_is_broken(found, size):
    broken: dict[str, str] = {}
    known: dict[str, int] = {}
    for start in range(0, len(found), size):
        batch = found[start : start + size]
        news, broken = find_news(broken, [seen(*item) for item in batch])
        assert len({item.subject for item in news}) == len(news)
        for item in news:
            level = LEVELS[item.text] if item.failed else 0
            assert level > known.get(item.subject, 0) or (level == 0 and item.subject in known), "nothing is told twice"
            known = (
                {**known, item.subject: level} if level else {key: known[key] for key in known if key != item.subject}
            )
        assert known == {subject: LEVELS[problem] for subject, problem in broken.items()}
        last = dict(found[: start + size])
        assert set(known) == {subject for subject, problem in last.items() if problem}
        assert all(known[subject] >= LEVELS[last[subject]] for subject in known), "a failure is never told as a warning"
