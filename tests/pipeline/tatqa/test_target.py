"""Targets: what a model is trained to write reads back as the gold answer."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.tatqa import prompt, schema, target
from pipeline.tatqa.equation import Unreadable
from pipeline.tatqa.metric import score
from pipeline.tatqa.prompt import Style
from pipeline.tatqa.schema import SCALES, Answer
from pipeline.tatqa.target import Said, Task

FIGURES: dict[Decimal, str] = {}


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("split", ["dev", "test_gold"])
def test_arithmetic_answers_round_trip_through_their_equations(
    mirror: Path, split: str, language: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The round trip of every arithmetic question: derivation -> equation -> text -> answer -> the authors' score."""
    sums, plain = 0, []
    for context in schema.read(mirror / f"tatqa_dataset_{split}.json"):
        context = prompt.in_plain_characters(context, Counter())
        for question, row in zip(
            context.questions, prompt.rows(context, Style(language, "pipe", "equation")), strict=True
        ):
            if question.answer_type != "arithmetic":
                continue
            sums += 1
            if row.plain_because:
                plain.append((question.uid, row.plain_because))
                continue
            parsed = target.read(row.fields["output"], language, row.fields["input"])
            scored = score(question.answer, "arithmetic", question.scale, parsed.answer, parsed.scale)
            assert (scored.em, scored.scale) == (1, 1), question
    with capsys.disabled():
        share = 100 * (1 - len(plain) / sums)
        print(f"\n{split} {language}: {sums - len(plain)} of {sums} sums ({share:.2f} %) round-trip as equations")
        for uid, because in plain:
            print(f"  as a plain answer: {uid}: {because}")
    assert sums == {"dev": 718, "test_gold": 699}[split]
    assert len(plain) <= 0.01 * sums


@pytest.mark.parametrize(("table", "style"), [("pipe", "answer"), ("pipe", "equation"), ("headings", "equation")])
@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_real_target_scores_full_marks(mirror: Path, language: str, table: str, style: str) -> None:
    """Spans, lists and counts too. An empty gold span cannot: the authors score an empty prediction 0."""
    lost = []
    for split in ("dev", "test_gold"):
        for context in schema.read(mirror / f"tatqa_dataset_{split}.json"):
            context = prompt.in_plain_characters(context, Counter())
            for question, row in zip(
                context.questions, prompt.rows(context, Style(language, table, style)), strict=True
            ):
                parsed = target.read(row.fields["output"], language, row.fields["input"])
                scored = score(question.answer, question.answer_type, question.scale, parsed.answer, parsed.scale)
                if (scored.em, scored.scale) != (1, 1) and question.answer != [""]:
                    lost.append((question.uid, question.answer, question.scale, parsed))
    assert len(lost) <= 0.005 * 3331, lost


@pytest.mark.parametrize("table", ["pipe", "headings"])
def test_the_evidence_of_arithmetic_answers_occurs_verbatim_in_the_context(mirror: Path, table: str) -> None:
    for context in schema.read(mirror / "tatqa_dataset_dev.json"):
        context = prompt.in_plain_characters(context, Counter())
        for question, row in zip(context.questions, prompt.rows(context, Style("en", table, "equation")), strict=True):
            line = next((line for line in row.fields["output"].splitlines() if line.startswith("evidence: ")), "")
            for item in (
                line.removeprefix("evidence: ").split(" ; ") if line and question.answer_type == "arithmetic" else ()
            ):
                assert " ".join(item.split()) in " ".join(row.fields["input"].split()), (question.uid, item)


@pytest.mark.parametrize(
    ("answer", "scale", "derivation", "wanted"),
    [
        (-12.6, "million", "44.1-56.7", "44.1 - 56.7"),
        (-22.22, "percent", "(44.1-56.7)/56.7", "(44.1 - 56.7) / 56.7 * 100"),
        (-22.22, "percent", "(44.1-56.7)/56.7*100", "(44.1 - 56.7) / 56.7 * 100"),
        (2.5, "percent", "12.5% - 10%", "12.5 - 10"),
        (1234.5, "thousand", "$1,000 + $469/2", "1000 + 469 / 2"),
        (-10, "", "(4) - 6", "(4) - 6"),
        (150, "", "(100+200)/2", "(100 + 200) / 2"),
    ],
)
def test_a_derivation_becomes_an_equation_whose_value_is_the_answer(
    answer: Answer, scale: str, derivation: str, wanted: str
) -> None:
    assert target.gold_equation(answer, scale, derivation) == wanted


def test_a_derivation_with_another_value_becomes_a_plain_answer() -> None:
    with pytest.raises(Unreadable, match="1 \\+ 1 = 2, not 3"):
        target.gold_equation(3, "", "1+1")
    text, because = target.write(Task(3, "arithmetic", "million", "1+1", FIGURES), "en", "equation")
    assert (text, because) == ("3 million", "1 + 1 = 2, not 3")


@pytest.mark.parametrize("language", ["zh", "en"])
@given(
    number=st.one_of(st.integers(-(10**15), 10**15), st.floats(allow_nan=False, allow_infinity=False, width=32)),
    scale=st.sampled_from(SCALES),
)
def test_a_number_with_its_scale_round_trips(language: str, number: float, scale: str) -> None:
    text = target.write_answer(number, scale, language)
    parsed = target.read(text, language, "")
    assert isinstance(parsed.answer, str)
    assert (float(parsed.answer), parsed.scale) == (float(number), scale)
    assert "e" not in parsed.answer


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("type: span\nevidence: $9.8 million\nscale: none", Said("$9.8 million", "")),
        ("Type: Multi-span\nEvidence: Leeds ; Lyon\nScale: none", Said(["Leeds", "Lyon"], "")),
        ("type: count\nevidence: a ; b ; c\nscale: none", Said("3", "")),
        ("type: arithmetic\nevidence: 4 ; 2\nequation: (4 - 2) / 2 * 100\nscale: percent", Said("100", "percent")),
        ("evidence: 4\nequation: 4 - 2\nscale: million", Said("2", "million")),
        (
            "type: arithmetic\nequation: 4 -\nscale: million",
            Said("", "million", "the equation: a number was expected, found 'the end'"),
        ),
        ("type: arithmetic\nequation: 4 / 0\nscale: million", Said("", "million", "the equation: a division by zero")),
        ("type: arithmetic\nevidence: 4\nscale: million", Said("", "million", "no equation")),
        ("type: span\nscale: none", Said("", "", "no evidence")),
        ("type: span\nevidence: x", Said("", "", "no scale: 'the line is missing'")),
        ("type: span\nevidence: x\nscale: dozen", Said("", "", "no scale: 'dozen'")),
        ("3.5 million", Said("3.5", "million")),
        ("", Said("", "", "an empty text")),
        ("Leeds ; Lyon", Said(["Leeds", "Lyon"], "")),
    ],
)
def test_a_text_is_read_as_answer_and_scale_or_as_a_problem(text: str, wanted: Said) -> None:
    assert target.read(text, "en", "") == wanted


def test_a_scale_word_inside_a_span_is_kept() -> None:
    assert target.read("$9.8 million", "en", "It paid $9.8 million for it.") == Said("$9.8 million", "")
    assert target.read("9.8 million", "en", "It paid $9.8 million for it.") == Said("9.8", "million")


@given(text=st.text(max_size=300), language=st.sampled_from(["zh", "en"]))
def test_any_text_is_read_without_an_exception(text: str, language: str) -> None:
    parsed = target.read(text, language, text)
    assert parsed.scale in SCALES
    assert parsed.answer or parsed.problem
