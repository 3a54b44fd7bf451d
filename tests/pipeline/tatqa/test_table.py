"""Tables as text, in each rendering."""

from __future__ import annotations

import csv
import html.parser
import io

from hypothesis import given
from hypothesis import strategies as st

from pipeline.tatqa import table

CELL = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=12)


def test_each_rendering_of_a_table() -> None:
    rows = (("", "2019 |", 'a "b", c'), ("Profit\n& loss", "(1,234)", "—"))
    assert table.pipe(rows) == ' | 2019 | | a "b", c\nProfit & loss | (1,234) | —'
    assert table.markdown(rows) == '|  | 2019 \\| | a "b", c |\n| --- | --- | --- |\n| Profit & loss | (1,234) | — |'
    assert table.comma_separated(rows) == ',2019 |,"a ""b"", c"\nProfit & loss,"(1,234)",—'
    assert table.hypertext(rows) == (
        '<table>\n<tr><td></td><td>2019 |</td><td>a "b", c</td></tr>\n'
        "<tr><td>Profit &amp; loss</td><td>(1,234)</td><td>—</td></tr>\n</table>"
    )


@given(st.lists(st.lists(CELL, min_size=2, max_size=2), min_size=1, max_size=4))
def test_the_standard_library_reads_csv_and_html_back(rows: list[list[str]]) -> None:
    tidy = [[" ".join(cell.split()) for cell in row] for row in rows]
    assert list(csv.reader(io.StringIO(table.comma_separated(rows)))) == tidy

    class Cells(html.parser.HTMLParser):
        cells: list[str]

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag == "td":
                self.cells.append("")

        def handle_data(self, data: str) -> None:
            if self.cells and data != "\n":
                self.cells[-1] += data

    reader = Cells()
    reader.cells = []
    reader.feed(table.hypertext(rows))
    reader.close()
    assert [cell.rstrip("\n") for cell in reader.cells] == [cell for row in tidy for cell in row]
