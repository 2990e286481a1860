"""This module corrects what Dagster's page shows of days that are not stored: it has the reason, and its scripts leave it out.

Dagster's page shows metadata of materialisations alone. A day that was never stored has none, so its page says "No metadata
entries", and a series of which one day is good looks green. The scripts are those of the pinned version; where a text is not found,
they are served as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Correction:
    """A text of a script, and what takes its place.

    Attributes:
        what: a user sees by it.
        found: pattern of the text, which Dagster's build has made short.
        replaced: the new text, with groups of the pattern.
    """

    what: str
    found: re.Pattern[str]
    replaced: str


CORRECTIONS = (
    Correction(
        "a day that was never stored shows the newest observation of it",
        re.compile(
            r"""(?P<start>"MaterializationEvent"===\(null==(?P<event>\w+)\?void 0:(?P=event)\.__typename\)\?|"""
            r"""\(null==(?P<event2>\w+)\?void 0:(?P=event2)\.__typename\)==="MaterializationEvent"\?)"""
            r"""(?P<group>\w+)\.all\.filter\((?P<newer>\w+=>"ObservationEvent"===\w+\.__typename"""
            r"""&&Number\(\w+\.timestamp\)>Number\(\w+\.timestamp\))\):\[\](?P<end>;return\(0,\w+\.jsxs\)\([\w.]+,"""
            r"""\{padding:\{horizontal:24,bottom:24\})"""
        ),
        r"""\g<start>\g<group>.all.filter(\g<newer>):\g<group>.latest?[]:\g<group>.all.filter("""
        r"""e=>"ObservationEvent"===e.__typename).slice(0,1)\g<end>""",
    ),
    Correction(
        "such an observation is not said to be later than nothing",
        re.compile(
            r"\{event:(?P<event>\w+),observations:(?P<seen>\w+),repoAddress:(?P<address>\w+),showDescriptions:!0\}"
        ),
        r"{event:\g<event>,observations:\g<seen>,repoAddress:\g<address>,showDescriptions:!!\g<event>}",
    ),
    Correction(
        "the overview of a series shows an observation that is newer than the last materialisation",
        re.compile(
            r"observations:\[\],(?P<rest>definitionMetadata:[^{}]{0,200}event:(?P<made>\w+)\|\|(?P<seen>\w+)\|\|null)"
        ),
        r"observations:\g<made>&&\g<seen>&&Number(\g<seen>.timestamp)>Number(\g<made>.timestamp)?[\g<seen>]:[],\g<rest>",
    ),
    Correction(
        "the overview of a series says how many of its partitions failed",
        re.compile(
            r"""let (?P<day>\w+)=\w+\?(?P<make>\(0,\w+\.jsx\))\((?P<tag>[\w.]+),\{intent:"none",children:\(0,\w+\.jsx\)\("""
            r"""(?P<link>[\w.]+),\{to:"\?view=partitions&partition=".{0,200}?;if\((?P<live>\w+)\.lastMaterialization\)"""
            r""".{0,200}?(?P=live)\.lastMaterialization\.stepKey\}\),(?P=day)(?=\]\}\))"""
        ),
        r"""\g<0>,\g<live>.partitionStats&&\g<live>.partitionStats.numFailed>0?\g<make>(\g<tag>,{intent:"danger","""
        r"""children:\g<make>(\g<link>,{to:"?view=partitions&status=FAILED","""
        r"""children:\g<live>.partitionStats.numFailed+" failed"})}):null""",
    ),
    Correction(
        "a long value beside a wide table is as wide as the page, not as the table",
        re.compile(
            r"""(?P<cell>\(0,\w+\.jsx\)\("td",\{children:\(0,\w+\.jsxs\)\([\w.]+,\{)(?P<rest>flex:\{direction:"row","""
            r"""justifyContent:"space-between",alignItems:"center",gap:8\},children:\[\(0,\w+\.jsx\)\([\w.]+,"""
            r"""\{size:14,family:"mono",children:\(0,\w+\.jsx\)\([\w.]+,\{entry:\w+,expandSmallValues:!0\}\)\}\))"""
        ),
        # What is left of the window beside the navigation, the list of days and the names.
        r"""\g<cell>style:{maxWidth:"max(300px, calc(100vw - 740px))",overflowX:"auto"},\g<rest>""",
    ),
)


def correct(script: str) -> tuple[str, list[Correction]]:
    """A script with what can be corrected in it, and which corrections that were."""
    made = []
    for correction in CORRECTIONS:
        script, count = correction.found.subn(correction.replaced, script)
        made += [correction] * bool(count)
    return script, made


def corrected_scripts(folder: Path) -> Iterator[tuple[str, str, list[Correction]]]:
    """The scripts of a built page that are corrected: their path below the folder, their new text, and the corrections.

    Args:
        folder: of the page, with its `index.html`.
    """
    for path in sorted(folder.rglob("*.js")):
        text = path.read_text(encoding="utf-8")
        new, made = correct(text)
        if made:
            yield path.relative_to(folder).as_posix(), new, made
