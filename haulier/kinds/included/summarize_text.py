"""summarize_text: picks the sentences with the most of a text's significant words, in order; no model, no network.

Source: H. P. Luhn, "The Automatic Creation of Literature Abstracts", IBM Journal, April 1958: a sentence counts by
        its densest cluster of significant words, (significant words)² / length of the cluster.
"""

from __future__ import annotations

import re
from collections import Counter

from marshmallow import fields, validate

from haulier.domain.job import Json
from haulier.domain.text import cut
from haulier.kinds.sdk.context import JobContext
from haulier.kinds.sdk.payload import PayloadSchema, Whole, free_text
from haulier.kinds.sdk.registry import kind

MAX_GAP = 4
MAX_SENTENCE = 1_000
MAX_SUMMARY = 12_000

# A sentence ends at an empty line, or at its mark (in quotes or not) when a space and then no small letter follow; the
# marks of Chinese and Japanese need no space. A single line break ends nothing: mails are wrapped.
_SENTENCE_END = re.compile(r"(?:(?<=[.!?…])|(?<=[.!?…][\"'”’»)\]]))\s++(?![a-zß-ÿ])|(?<=[。！？])|\n\s*\n")
# A word; scripts written without spaces count by the character.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:['’-][^\W_]+)*")

# The commonest words of each language, which say nothing of what a text is about.
STOP_WORDS = {
    "de": """
        aber als am an auch auf aus bei bin bis da das dass dem den der des die dies diese doch du durch ein eine
        einem einen einer er es für hat hatte ich ihr ihre im in ist ja kann man mit nach nicht noch nur ob oder
        ohne sein sich sie sind so über um und uns unter vom von vor war waren was wenn wer wie wir wird zu zum zur
    """,
    "en": """
        a about after all also an and any are as at be been but by can could did do for from had has have he her his
        how i if in into is it its just may more most no not of on one only or other our out over she should so some
        such than that the their them then there these they this to under up was we were what when which who will
        with would you
    """,
    "es": """
        a al algo como con de del desde donde el ella ellos en entre era es esta este fue ha hay la las le lo los
        más me mi muy no nos o para pero por porque que quien se ser si sin sobre son su sus también tiene un una
        uno y ya
    """,
    "fr": """
        à au aussi aux avec ce ces cette comme dans de des du elle elles en est et été être eux il ils je la le les
        leur lui mais même ne nous on ont ou où par pas plus pour qu que qui sa sans se ses si son sont sur un une
        vous y
    """,
    "it": """
        a al alla anche che chi ci come con da dal del della di e è era gli ha hanno i il in io la le lo loro ma mi
        nel nella non o per perché più quando questa questo se si sia sono su sua suo tra un una uno
    """,
    "nl": """
        aan als bij dat de deze die dit door dus een en er haar heeft het hij hoe hun ik in is je kan maar meer met
        naar niet nog nu of om ook op over te toen tot uit van voor want was wat we wel werd wie wij wordt ze zich
        zijn zo
    """,
    "pt": """
        a ao aos as até com como da das de depois do dos e é ela ele em entre era essa esse está eu foi há isso já
        mais mas me na não nas no nos o os ou para pela pelo por quando que quem se sem ser seu sua também um uma
    """,
}
_STOP_WORDS = {language: frozenset(words.split()) for language, words in STOP_WORDS.items()}


class SummarizeText(PayloadSchema):
    """The payload of summarize_text."""

    text = free_text(
        "The text to summarize.", required=True, least=1, example="The ship came in. It was late. Nobody minded."
    )
    sentences = Whole(1, 50, "Maximum number of sentences in the summary.", load_default=3)
    language = fields.String(
        validate=validate.OneOf(sorted(STOP_WORDS)),
        metadata={"description": "Language of the text. Absent: detected from its most common words."},
    )


@kind("summarize_text", schema=SummarizeText, timeout=30)
def summarize_text(context: JobContext, payload: dict[str, Json]) -> Json:
    """Return the summary and its number of sentences; the same text gives the same summary."""
    sentences = [" ".join(part.split()) for part in _SENTENCE_END.split(payload["text"]) if part.strip()]
    context.raise_if_cancelled()
    words = [[word.lower() for word in _WORD.findall(sentence)] for sentence in sentences]
    context.raise_if_cancelled()

    significant = _significant(words, payload.get("language"))
    context.raise_if_cancelled()
    scores = [_score(of_one, significant) for of_one in words]
    best = sorted(range(len(sentences)), key=lambda at: (-scores[at], at))[: payload["sentences"]]
    chosen = [cut(sentences[at], MAX_SENTENCE) for at in sorted(best)]
    while len(" ".join(chosen)) > MAX_SUMMARY:
        chosen.pop()
    return {"summary": " ".join(chosen), "sentences": len(chosen)}


def _significant(words: list[list[str]], language: str | None) -> frozenset[str]:
    """Return the words that the text repeats, or all of them if it repeats none, less stop words and numbers."""
    counts = Counter(word for of_one in words for word in of_one)
    if language is None:
        language = max(sorted(_STOP_WORDS), key=lambda name: sum(counts[word] for word in _STOP_WORDS[name]))
    telling = {
        word: count for word, count in counts.items() if word not in _STOP_WORDS[language] and not word.isdigit()
    }
    repeated = frozenset(word for word, count in telling.items() if count > 1)
    return repeated or frozenset(telling)


def _score(words: list[str], significant: frozenset[str]) -> float:
    """Return the weight of the sentence's best cluster: significant words with at most MAX_GAP others between two."""
    best, start, last, count = 0.0, 0, -1, 0
    for at, word in enumerate(words):
        if word not in significant:
            continue
        if count and at - last - 1 <= MAX_GAP:
            count += 1
        else:
            start, count = at, 1
        last = at
        best = max(best, count * count / (at - start + 1))
    return best
