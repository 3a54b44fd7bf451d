"""The words around table, notes, question and answer, in Chinese as the seed project has them and in English."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

SEPARATOR = " ; "  # between several spans: in no gold span of TAT-QA's dev and test_gold


@dataclass(frozen=True)
class Language:
    """One language's words."""

    instruction: str
    rules: dict[str, str]  # target -> how to write the answer, so that an untuned model can know it too
    table: str
    notes: str
    question: str
    scales: dict[str, str]  # TAT-QA's scale -> the word written after an answer, {currency} in it for the context's
    labels: dict[str, str]  # of the lines of the target "equation"
    types: dict[str, str]  # TAT-QA's answer_type -> the word written for it
    no_scale: str
    colon: str
    currencies: dict[str, str] = field(default_factory=dict)  # pattern of a currency in a context -> its word

    def currency(self, context: str) -> str:
        """The word for the currency that a context names most often; "" if it names none, or two equally often."""
        counts = sorted(
            ((len(re.findall(pattern, context)), word) for pattern, word in self.currencies.items()), reverse=True
        )
        if not counts or not counts[0][0] or (len(counts) > 1 and counts[0][0] == counts[1][0]):
            return ""
        return counts[0][1]

    def scale(self, name: str, currency: str) -> str:
        """The word for a scale in a context of this currency."""
        return self.scales[name].replace("{currency}", currency)

    def rule(self, target: str, currency: str) -> str:
        """How to write the answer, in a context of this currency."""
        return self.rules[target].replace("{currency}", currency)

    def scale_words(self) -> Iterator[tuple[str, str]]:
        """Each scale with every word for it, the longest word first."""
        words = ((name, self.scale(name, word)) for name in self.scales for word in {*self.currencies.values(), ""})
        yield from sorted(dict.fromkeys(words), key=lambda pair: -len(pair[1]))


LANGUAGES = {
    "zh": Language(
        instruction="根据表格和文字回答问题",
        rules={
            "answer": "只写答案，不要解释。原文中的词照抄；多个答案用“ ; ”隔开。"
            "需要计算时写出结果，四舍五入到两位小数，减少为负数。"
            "数值后面写单位：千{currency}、百万{currency}、十亿{currency}或 %；没有单位就不写。",
            "equation": "只写以下几行，不要解释：\n"
            "类型：单段、多段、计算或计数\n"
            "证据：照抄表格或文字中的原文，多个用“ ; ”隔开\n"
            "算式：只用数字、+ - * / 和括号，负数写作 (5)，求百分比要乘以 100（只有类型为计算时写这一行）\n"
            "单位：无、千{currency}、百万{currency}、十亿{currency}或 %",
        },
        table="表格：",
        notes="文字：",
        question="问题：",
        scales={
            "": "",
            "thousand": "千{currency}",
            "million": "百万{currency}",
            "billion": "十亿{currency}",
            "percent": "%",
        },
        labels={"type": "类型", "evidence": "证据", "equation": "算式", "scale": "单位"},
        types={"span": "单段", "multi-span": "多段", "arithmetic": "计算", "count": "计数"},
        no_scale="无",
        colon="：",
        currencies={
            r"人民币|RMB|CNY|(?<![美欧日港加澳镑])元": "元",
            r"美元|US\$|USD|(?<![A-Z])\$": "美元",
            r"欧元|€|EUR": "欧元",
            r"英镑|£|GBP": "英镑",
            r"日元|JPY": "日元",
            r"港元|港币|HK\$|HKD": "港元",
            r"卢比|₹|INR|Rs\.": "卢比",
        },
    ),
    "en": Language(
        instruction="Answer the question from the table and the text",
        rules={
            "answer": "Write the answer alone, without explanation. Copy words as they stand; put ' ; ' between "
            "several answers. Work out what has to be worked out and round it to two decimals; a decrease is negative. "
            "After a figure write its scale: thousand, million, billion or percent; nothing if it has none.",
            "equation": "Write only these lines:\n"
            "type: span, multi-span, arithmetic or count\n"
            "evidence: what the answer needs, copied, ' ; ' between several\n"
            "equation: for arithmetic only: numbers, a negative one as (5), + - * / ( ), * 100 for a percentage\n"
            "scale: none, thousand, million, billion or percent",
        },
        table="Table:",
        notes="Text:",
        question="Question: ",
        scales={"": "", "thousand": "thousand", "million": "million", "billion": "billion", "percent": "percent"},
        labels={"type": "type", "evidence": "evidence", "equation": "equation", "scale": "scale"},
        types={"span": "span", "multi-span": "multi-span", "arithmetic": "arithmetic", "count": "count"},
        no_scale="none",
        colon=": ",
    ),
}
